//! The coupling block: an invertible map in which each half of the channels rescales the other.
//!
//! With `(a, b)` the halves of the input at every scale, and `s2`, `s1` the cross-scale subnets,
//! each of which emits log-scales `s` and offsets `t`:
//!
//! ```text
//! a' = exp(e(s)) · a + t    with (s, t) = s2(b)
//! b' = exp(e(s)) · b + t    with (s, t) = s1(a')
//! ```
//!
//! `e(s) = clamp · 0.636 · atan(s / clamp)` bounds the log-scale. The log-determinant of the
//! Jacobian is the sum of all `e(s)`. The output is finally cut to ±10⁶, which is not part of the
//! log-determinant and passes no gradient where it applies.

use flawd_core::flow::{CouplingLayout, OUTPUT_LIMIT, SOFT_CLAMP_FACTOR};
use ndarray::{ArrayView4, Axis, Zip, concatenate};
use rayon::prelude::*;

use crate::maps::{Maps, Scales, each_scale, flat, split};
use crate::subnet::{Subnet, SubnetTrace};

/// A coupling block with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Coupling<'a> {
    pub(crate) layout: &'a CouplingLayout,
    pub(crate) parameters: &'a [f32],
    /// Channels of the first half.
    pub(crate) first: usize,
    pub(crate) clamp: f32,
}

/// What the backward pass needs from a forward pass.
pub(crate) struct CouplingTrace {
    input: Scales<Maps>,
    /// `a'` before the cut.
    first: Scales<Maps>,
    /// `b'` before the cut.
    second: Scales<Maps>,
    by_s2: AffineTrace,
    by_s1: AffineTrace,
}

/// The subnet's trace, and its effect on the half that it transformed.
struct AffineTrace {
    subnet: SubnetTrace,
    /// The subnet's output, `[s, t]` on channels.
    raw: Scales<Maps>,
    /// `exp(e(s))`.
    factor: Scales<Maps>,
}

impl Coupling<'_> {
    fn s1(&self) -> Subnet<'_> {
        Subnet {
            layout: &self.layout.s1,
            parameters: self.parameters,
        }
    }

    fn s2(&self) -> Subnet<'_> {
        Subnet {
            layout: &self.layout.s2,
            parameters: self.parameters,
        }
    }

    /// Transforms `input`; adds each sample's log-determinant to `log_det`.
    pub(crate) fn forward(
        &self,
        input: Scales<Maps>,
        log_det: &mut [f64],
    ) -> (Scales<Maps>, CouplingTrace) {
        let (a, b) = halves(&input, self.first);
        let (first, by_s2) = self.affine(self.s2(), &b, &a, log_det);
        let (second, by_s1) = self.affine(self.s1(), &views(&first), &b, log_det);
        let mut output = joined(&first, &second);
        for maps in &mut output {
            maps.par_mapv_inplace(|value| value.clamp(-OUTPUT_LIMIT, OUTPUT_LIMIT));
        }
        (
            output,
            CouplingTrace {
                input,
                first,
                second,
                by_s2,
                by_s1,
            },
        )
    }

    /// Rescales `target` by the output of `subnet` for `source`.
    fn affine(
        &self,
        subnet: Subnet,
        source: &Views,
        target: &Views,
        log_det: &mut [f64],
    ) -> (Scales<Maps>, AffineTrace) {
        let (raw, trace) = subnet.forward(source);
        let log_scale = |raw: &Maps| split(raw, raw.dim().0 / 2).0.to_owned();
        let mut factor: Scales<Maps> = raw.iter().map(log_scale).collect();
        let output = each_scale(raw.len(), |scale| {
            let (_, offset) = split(&raw[scale], raw[scale].dim().0 / 2);
            let factor = &mut factor[scale];
            factor.par_mapv_inplace(|s| self.soft_clamp(s));
            add_per_sample(factor, log_det);
            factor.par_mapv_inplace(f32::exp);
            let mut output = Maps::zeros(factor.raw_dim());
            Zip::from(&mut output)
                .and(&*factor)
                .and(&target[scale])
                .and(offset)
                .par_for_each(|output, factor, target, offset| *output = factor * target + offset);
            output
        });
        (
            output,
            AffineTrace {
                subnet: trace,
                raw,
                factor,
            },
        )
    }

    /// Given the loss gradient with respect to the output and to each sample's log-determinant (one
    /// number for all samples), adds the gradient with respect to the parameters to the flat
    /// `parameter_gradient` and returns that with respect to the input.
    pub(crate) fn backward(
        &self,
        trace: &CouplingTrace,
        output_gradient: Scales<Maps>,
        log_det_gradient: f32,
        parameter_gradient: &mut [f32],
    ) -> Scales<Maps> {
        let (a, b) = halves(&trace.input, self.first);
        let (by_first, by_second) = halves(&output_gradient, self.first);
        let mut by_first = uncut(by_first, &trace.first);
        let mut by_second = uncut(by_second, &trace.second);
        let by_raw = self.affine_backward(&trace.by_s1, &b, &mut by_second, log_det_gradient);
        self.s1().backward(
            &views(&trace.first),
            &trace.by_s1.subnet,
            by_raw,
            parameter_gradient,
            &mut by_first,
        );
        let by_raw = self.affine_backward(&trace.by_s2, &a, &mut by_first, log_det_gradient);
        self.s2().backward(
            &b,
            &trace.by_s2.subnet,
            by_raw,
            parameter_gradient,
            &mut by_second,
        );
        joined(&by_first, &by_second)
    }

    /// Turns `gradient` from that with respect to the rescaled half into that of the half itself,
    /// and returns the gradient with respect to the subnet's output.
    fn affine_backward(
        &self,
        trace: &AffineTrace,
        target: &Views,
        gradient: &mut Scales<Maps>,
        log_det_gradient: f32,
    ) -> Scales<Maps> {
        each_scale(trace.raw.len(), |scale| {
            let raw = &trace.raw[scale];
            let half = raw.dim().0 / 2;
            let mut by_raw = Maps::zeros(raw.raw_dim());
            let (mut by_s, mut by_t) = by_raw.view_mut().split_at(Axis(0), half);
            by_t.assign(&gradient[scale]);
            Zip::from(&mut gradient[scale])
                .and(&trace.factor[scale])
                .par_for_each(|gradient, factor| *gradient *= factor);
            Zip::from(&mut by_s)
                .and(split(raw, half).0)
                .and(&gradient[scale])
                .and(&target[scale])
                .par_for_each(|by_s, &s, gradient, target| {
                    *by_s = (gradient * target + log_det_gradient) * self.soft_clamp_slope(s);
                });
            by_raw
        })
    }

    /// Returns the input that [`Self::forward`] turned into `output`, as long as nothing was cut.
    pub(crate) fn inverse(&self, output: &Scales<Maps>) -> Scales<Maps> {
        let (first, second) = halves(output, self.first);
        let b = self.affine_inverse(self.s1(), &first, &second);
        let a = self.affine_inverse(self.s2(), &views(&b), &first);
        joined(&a, &b)
    }

    fn affine_inverse(&self, subnet: Subnet, source: &Views, rescaled: &Views) -> Scales<Maps> {
        let (raw, _) = subnet.forward(source);
        each_scale(raw.len(), |scale| {
            let (s, t) = split(&raw[scale], raw[scale].dim().0 / 2);
            Zip::from(&rescaled[scale])
                .and(s)
                .and(t)
                .par_map_collect(|value, &s, t| (value - t) / self.soft_clamp(s).exp())
        })
    }

    fn soft_clamp(&self, s: f32) -> f32 {
        if self.clamp <= 0.0 {
            return s;
        }
        self.clamp * SOFT_CLAMP_FACTOR * (s / self.clamp).atan()
    }

    fn soft_clamp_slope(&self, s: f32) -> f32 {
        if self.clamp <= 0.0 {
            return 1.0;
        }
        let ratio = s / self.clamp;
        SOFT_CLAMP_FACTOR / (1.0 + ratio * ratio)
    }
}

type Views<'a> = Scales<ArrayView4<'a, f32>>;

fn views(maps: &Scales<Maps>) -> Views<'_> {
    maps.iter().map(|maps| maps.view()).collect()
}

fn halves(maps: &Scales<Maps>, first: usize) -> (Views<'_>, Views<'_>) {
    maps.iter().map(|maps| split(maps, first)).unzip()
}

fn joined(first: &Scales<Maps>, second: &Scales<Maps>) -> Scales<Maps> {
    each_scale(first.len(), |scale| {
        concatenate(Axis(0), &[first[scale].view(), second[scale].view()])
            .expect("halves have the same map size")
    })
}

/// Returns the gradient with respect to a half before the cut: zero where the cut applied.
fn uncut(gradient: Views, half: &Scales<Maps>) -> Scales<Maps> {
    let passed = |(gradient, half): (ArrayView4<f32>, &Maps)| {
        Zip::from(gradient)
            .and(half)
            .par_map_collect(|&gradient, value| {
                if value.abs() <= OUTPUT_LIMIT {
                    gradient
                } else {
                    0.0
                }
            })
    };
    gradient.into_iter().zip(half).map(passed).collect()
}

/// Adds the sum of each sample's values to `sums`, in double precision and in a fixed order.
pub(crate) fn add_per_sample(maps: &Maps, sums: &mut [f64]) {
    add_per_sample_of(maps, sums, |value| value);
}

/// Like [`add_per_sample`], for a function of the values.
pub(crate) fn add_per_sample_of(maps: &Maps, sums: &mut [f64], value: impl Fn(f64) -> f64 + Sync) {
    let (_, samples, height, width) = maps.dim();
    let plane = height * width;
    let by_channel: Vec<Vec<f64>> = flat(&maps.view())
        .par_chunks(samples * plane)
        .map(|channel| {
            let sum = |plane: &[f32]| plane.iter().map(|&v| value(f64::from(v))).sum();
            channel.chunks(plane).map(sum).collect()
        })
        .collect();
    for channel in by_channel {
        for (sum, value) in sums.iter_mut().zip(channel) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use flawd_core::flow::FlowSpec;
    use flawd_core::permutation::PermutationKind;
    use ndarray::Array4;

    use super::*;

    /// Fills tensors from one running counter, as the golden values were made:
    /// `v(n) = 0.3 sin(0.7 n + 0.3)`.
    struct Counter(f64);

    impl Counter {
        fn next(&mut self) -> f32 {
            let value = 0.3 * (0.7 * self.0 + 0.3).sin();
            self.0 += 1.0;
            value as f32
        }
    }

    /// Reference values: one block of 4 channels, hidden 3, kernel 3, gains 0.5, 0.6, 0.7, maps of
    /// 4, 2 and 1, computed in numpy in double precision.
    #[test]
    fn a_block_gives_the_golden_values() {
        let spec = FlowSpec {
            channels: 4,
            hidden: 3,
            kernels: vec![3],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        };
        let layout = spec.layout();
        let mut parameters = vec![0.0; layout.len];
        let mut counter = Counter(0.0);
        for subnet in [&layout.blocks[0].s1, &layout.blocks[0].s2] {
            for (_, conv) in subnet.convolutions() {
                parameters[conv.weight.start..conv.bias.end].fill_with(|| counter.next());
            }
            parameters[subnet.gamma.clone()].copy_from_slice(&[0.5, 0.6, 0.7]);
        }
        let input: Scales<Maps> = [4, 2, 1]
            .map(|size| Array4::from_shape_simple_fn((4, 1, size, size), || 5.0 * counter.next()))
            .into();
        let close = |value: f32, expected: f64| {
            assert!(
                (f64::from(value) - expected).abs() < 2e-6,
                "{value} {expected}"
            );
        };
        close(input[0][[0, 0, 0, 3]], 1.32401656);
        close(input[2][[3, 0, 0, 0]], 0.76200068);

        let block = Coupling {
            layout: &layout.blocks[0],
            parameters: &parameters,
            first: 2,
            clamp: 3.0,
        };
        let mut log_det = [0.0];
        let (z, _) = block.forward(input.clone(), &mut log_det);
        for (x, expected) in [-1.42768648, 0.49937163, 3.62813823, 2.88049579]
            .iter()
            .enumerate()
        {
            close(z[0][[0, 0, 0, x]], *expected);
        }
        close(z[0][[3, 0, 3, 3]], -1.42624205);
        close(z[1][[2, 0, 1, 0]], -2.89685401);
        for (c, expected) in [-1.97659318, -1.45107802, -0.1426412, 0.71949707]
            .iter()
            .enumerate()
        {
            close(z[2][[c, 0, 0, 0]], *expected);
        }
        assert!((log_det[0] + 5.519157770848).abs() < 1e-5);

        let back = block.inverse(&z);
        for (back, input) in back.iter().zip(&input) {
            assert!((back - input).iter().all(|d| d.abs() < 1e-5));
        }
    }
}
