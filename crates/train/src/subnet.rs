//! The cross-scale subnet: two layers of convolutions that let neighbouring scales see each other.
//!
//! ```text
//! y_s = leaky_relu(conv_scale{s}_0(x_s))
//! o_0 = gamma0 · (conv_scale0_1(y_0) + up_conv10(up(y_1)))
//! o_1 = gamma1 · (conv_scale1_1(y_1) + down_conv01(y_0) + up_conv21(up(y_2)))
//! o_2 = gamma2 · (conv_scale2_1(y_2) + down_conv12(y_1))
//! ```
//!
//! `up` doubles bilinearly before the convolution; the down convolutions have stride 2.

use flawd_core::flow::{ConvLayout, LEAKY_SLOPE, SubnetLayout};
use ndarray::{ArrayView4, Zip};

use crate::convolution::Convolution;
use crate::maps::{Maps, Scales};
use crate::upsample::{upsample, upsample_adjoint};

/// A subnet with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Subnet<'a> {
    pub(crate) layout: &'a SubnetLayout,
    pub(crate) parameters: &'a [f32],
}

/// What the backward pass needs of a forward pass.
pub(crate) struct SubnetTrace {
    /// `y_s`.
    hidden: Scales<Maps>,
    /// `up(y_1)` and `up(y_2)`.
    upsampled: [Maps; 2],
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

    /// The outputs, and the trace for [`Self::backward`].
    pub(crate) fn forward(&self, input: &Scales<ArrayView4<f32>>) -> (Scales<Maps>, SubnetTrace) {
        let layout = self.layout;
        let hidden: Scales<Maps> = std::array::from_fn(|scale| {
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
        let upsampled = [upsample(hidden[1].view()), upsample(hidden[2].view())];
        let mut ungained: Scales<Maps> = std::array::from_fn(|scale| {
            self.conv(&layout.conv_1[scale], 1)
                .apply(hidden[scale].view())
        });
        let [out_0, out_1, out_2] = ungained.each_mut().map(|maps| maps.view_mut());
        self.conv(&layout.up_10, 1)
            .add_to(upsampled[0].view(), out_0);
        let mut out_1 = out_1;
        self.conv(&layout.down_01, 2)
            .add_to(hidden[0].view(), out_1.view_mut());
        self.conv(&layout.up_21, 1)
            .add_to(upsampled[1].view(), out_1);
        self.conv(&layout.down_12, 2)
            .add_to(hidden[1].view(), out_2);
        let output = std::array::from_fn(|scale| {
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

    /// Given the loss gradient by the outputs, adds the gradient by the parameters to the flat
    /// `parameter_gradient` and the gradient by the inputs to `input_gradient`.
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
        let [by_out_0, by_out_1, by_out_2] = &output_gradient;
        let [y_0, y_1, y_2] = &trace.hidden;

        let mut back = |conv: Convolution, input: &Maps, by_output: &Maps, by_input: &mut Maps| {
            let by_input = Some(by_input.view_mut());
            conv.backward(input.view(), by_output.view(), parameter_gradient, by_input);
        };
        let mut by_hidden = trace
            .hidden
            .each_ref()
            .map(|maps| Maps::zeros(maps.raw_dim()));
        let [by_y_0, by_y_1, by_y_2] = &mut by_hidden;
        let mut by_upsampled = trace
            .upsampled
            .each_ref()
            .map(|maps| Maps::zeros(maps.raw_dim()));
        back(self.conv(&layout.conv_1[0], 1), y_0, by_out_0, by_y_0);
        back(self.conv(&layout.conv_1[1], 1), y_1, by_out_1, by_y_1);
        back(self.conv(&layout.conv_1[2], 1), y_2, by_out_2, by_y_2);
        back(self.conv(&layout.down_01, 2), y_0, by_out_1, by_y_0);
        back(self.conv(&layout.down_12, 2), y_1, by_out_2, by_y_1);
        back(
            self.conv(&layout.up_10, 1),
            &trace.upsampled[0],
            by_out_0,
            &mut by_upsampled[0],
        );
        back(
            self.conv(&layout.up_21, 1),
            &trace.upsampled[1],
            by_out_1,
            &mut by_upsampled[1],
        );
        *by_y_1 += &upsample_adjoint(by_upsampled[0].view());
        *by_y_2 += &upsample_adjoint(by_upsampled[1].view());

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
}

/// `Σ a·b` over whole maps, in double precision: a gain's gradient sums hundreds of thousands of
/// terms of both signs.
fn inner_product(a: &Maps, b: &Maps) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}
