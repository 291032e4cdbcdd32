//! The cross-scale subnet: two layers of convolutions that let neighbouring scales see each other.
//!
//! ```text
//! y_s = leaky_relu(conv_scale{s}_0(x_s))
//! o_0 = gamma0 · (conv_scale0_1(y_0) + up_conv10(up(y_1)))
//! o_1 = gamma1 · (conv_scale1_1(y_1) + down_conv01(y_0) + up_conv21(up(y_2)))
//! o_2 = gamma2 · (conv_scale2_1(y_2) + down_conv12(y_1))
//! ```
//!
//! `up` doubles bilinearly before the convolution; the down convolutions have stride 2. A variant
//! with fewer scales, or without links, has the remaining terms.

use flawd_core::flow::{ConvLayout, LEAKY_SLOPE, SubnetLayout};
use ndarray::{ArrayView4, Zip};

use crate::convolution::Convolution;
use crate::maps::{Maps, Scales, each_scale};
use crate::upsample::{upsample, upsample_adjoint};

/// A subnet with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Subnet<'a> {
    pub(crate) layout: &'a SubnetLayout,
    pub(crate) parameters: &'a [f32],
}

/// What the backward pass needs from a forward pass.
pub(crate) struct SubnetTrace {
    /// `y_s`.
    hidden: Scales<Maps>,
    /// `up(y_1)` and `up(y_2)`, as far as they are linked.
    upsampled: Vec<Maps>,
    /// The outputs before their gain.
    ungained: Scales<Maps>,
}

impl Subnet<'_> {
    fn conv<'b>(&'b self, layout: &'b ConvLayout, stride: usize) -> Convolution<'b> {
        Convolution::new(layout, self.parameters, stride)
    }

    fn gamma(&self, scale: usize) -> f32 {
        self.parameters[self.layout.gamma.start + scale]
    }

    /// Returns the outputs, and the trace for [`Self::backward`].
    pub(crate) fn forward(&self, input: &Scales<ArrayView4<f32>>) -> (Scales<Maps>, SubnetTrace) {
        let layout = self.layout;
        let hidden = each_scale(input.len(), |scale| {
            let mut maps = self
                .conv(&layout.conv_0[scale], 1)
                .apply(input[scale].view());
            maps.par_mapv_inplace(|value| {
                if value < 0.0 {
                    LEAKY_SLOPE * value
                } else {
                    value
                }
            });
            maps
        });
        let linked = &hidden[1..][..layout.up.len()];
        let upsampled: Vec<Maps> = linked.iter().map(|maps| upsample(maps.view())).collect();
        let mut ungained = each_scale(hidden.len(), |scale| {
            self.conv(&layout.conv_1[scale], 1)
                .apply(hidden[scale].view())
        });
        for (scale, down) in layout.down.iter().enumerate() {
            self.conv(down, 2)
                .add_to(hidden[scale].view(), ungained[scale + 1].view_mut());
        }
        for (scale, up) in layout.up.iter().enumerate() {
            self.conv(up, 1)
                .add_to(upsampled[scale].view(), ungained[scale].view_mut());
        }
        let output = each_scale(ungained.len(), |scale| {
            let gamma = self.gamma(scale);
            ungained[scale].mapv(|value| gamma * value)
        });
        (
            output,
            SubnetTrace {
                hidden,
                upsampled,
                ungained,
            },
        )
    }

    /// Given the loss gradient with respect to the outputs, adds the gradient with respect to the
    /// parameters to the flat `parameter_gradient` and that with respect to the inputs to
    /// `input_gradient`.
    pub(crate) fn backward(
        &self,
        input: &Scales<ArrayView4<f32>>,
        trace: &SubnetTrace,
        mut output_gradient: Scales<Maps>,
        parameter_gradient: &mut [f32],
        input_gradient: &mut Scales<Maps>,
    ) {
        let layout = self.layout;
        for (scale, gradient) in output_gradient.iter_mut().enumerate() {
            parameter_gradient[layout.gamma.start + scale] +=
                inner_product(gradient, &trace.ungained[scale]) as f32;
            let gamma = self.gamma(scale);
            gradient.par_mapv_inplace(|value| gamma * value);
        }
        let mut by_hidden = self.backward_to_hidden(trace, &output_gradient, parameter_gradient);
        for scale in 0..by_hidden.len() {
            let gradient = &mut by_hidden[scale];
            Zip::from(&mut *gradient)
                .and(&trace.hidden[scale])
                .par_for_each(|gradient, &y| {
                    if y < 0.0 {
                        *gradient *= LEAKY_SLOPE;
                    }
                });
            self.conv(&layout.conv_0[scale], 1).backward(
                input[scale].view(),
                gradient.view(),
                parameter_gradient,
                Some(input_gradient[scale].view_mut()),
            );
        }
    }

    /// Given the loss gradient with respect to the outputs before their gain, returns the gradient
    /// with respect to the hidden maps `y_s`, and adds that with respect to the parameters of the
    /// second layer.
    fn backward_to_hidden(
        &self,
        trace: &SubnetTrace,
        output_gradient: &Scales<Maps>,
        parameter_gradient: &mut [f32],
    ) -> Scales<Maps> {
        let layout = self.layout;
        let mut back = |conv: Convolution, input: &Maps, by_output: &Maps, by_input: &mut Maps| {
            let by_input = Some(by_input.view_mut());
            conv.backward(input.view(), by_output.view(), parameter_gradient, by_input);
        };
        let hidden = &trace.hidden;
        let zeros = |maps: &Maps| Maps::zeros(maps.raw_dim());
        let mut by_hidden: Scales<Maps> = hidden.iter().map(zeros).collect();
        for (scale, conv) in layout.conv_1.iter().enumerate() {
            let by_output = &output_gradient[scale];
            back(
                self.conv(conv, 1),
                &hidden[scale],
                by_output,
                &mut by_hidden[scale],
            );
        }
        for (scale, down) in layout.down.iter().enumerate() {
            let by_output = &output_gradient[scale + 1];
            back(
                self.conv(down, 2),
                &hidden[scale],
                by_output,
                &mut by_hidden[scale],
            );
        }
        for (scale, up) in layout.up.iter().enumerate() {
            let upsampled = &trace.upsampled[scale];
            let mut by_upsampled = zeros(upsampled);
            let by_output = &output_gradient[scale];
            back(self.conv(up, 1), upsampled, by_output, &mut by_upsampled);
            by_hidden[scale + 1] += &upsample_adjoint(by_upsampled.view());
        }
        by_hidden
    }
}

/// Returns `Σ a·b` over whole maps, in double precision: a gain's gradient sums hundreds of
/// thousands of terms of both signs.
fn inner_product(a: &Maps, b: &Maps) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}
