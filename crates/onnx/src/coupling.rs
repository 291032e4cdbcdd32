//! One coupling block of the flow, with the limits that keep it within half precision (`range.rs`).

use std::ops::Range;

use flawd_core::flow::{
    ConvLayout, CouplingLayout, FlowSpec, LEAKY_SLOPE, SCALES, SOFT_CLAMP_FACTOR, SubnetLayout,
};

use crate::builder::{GraphBuilder, Value, Window};
use crate::maps::{Maps, each_scale};
use crate::range;
use crate::upsampled::{self, Taps};

/// Writes one coupling block.
pub(crate) struct Coupling<'a> {
    pub(crate) builder: &'a mut GraphBuilder,
    /// What the names of its values begin with.
    pub(crate) name: String,
    pub(crate) spec: &'a FlowSpec,
    /// The parameters of the whole flow.
    pub(crate) parameters: &'a [f32],
}

/// What the numbers of a convolution are multiplied by.
#[derive(Clone, Copy)]
struct Gain {
    weight: f32,
    bias: f32,
}

impl Coupling<'_> {
    /// `s2` reads the second halves and moves the first; then `s1` reads the moved first halves and
    /// moves the second.
    pub(crate) fn add(&mut self, layout: &CouplingLayout, halves: [[Value; 2]; SCALES]) -> Maps {
        let [first, second] = self.spec.halves();
        let x1 = each_scale(|scale| halves[scale][0].clone());
        let x2 = each_scale(|scale| halves[scale][1].clone());
        let moves = self.subnet("s2", &layout.s2, &x2);
        let y1 = self.moved("y1", &x1, &moves, first);
        let moves = self.subnet("s1", &layout.s1, &y1);
        let y2 = self.moved("y2", &x2, &moves, second);
        each_scale(|scale| {
            let halves = [y1[scale].clone(), y2[scale].clone()];
            let name = format!("{}.y.{scale}", self.name);
            self.builder.concat(&name, &halves, 1)
        })
    }

    /// Adds `x * exp(e(s)) + t` at every scale, within `±STATE`.
    fn moved(&mut self, name: &str, x: &Maps, moves: &Maps, channels: usize) -> Maps {
        each_scale(|scale| {
            let name = format!("{}.{name}.{scale}", self.name);
            let moved = self.affine(&name, &x[scale], &moves[scale], channels);
            self.builder
                .clip(&name, &moved, -range::STATE, range::STATE)
        })
    }

    /// Adds `x * exp(e(s)) + t`, where `moves` holds `s` in its first `channels` channels and `t`
    /// in the others.
    fn affine(&mut self, name: &str, x: &Value, moves: &Value, channels: usize) -> Value {
        let builder = &mut *self.builder;
        let s = builder.slice(&format!("{name}.s"), moves, 1, 0, channels);
        let t = builder.slice(&format!("{name}.t"), moves, 1, channels, 2 * channels);
        let log_scale = self.log_scale(name, s);
        let builder = &mut *self.builder;
        let scale = builder.exp(&format!("{name}.scale"), &log_scale);
        let scaled = builder.multiply(&format!("{name}.scaled"), x, &scale);
        builder.add(&format!("{name}.moved"), &scaled, &t)
    }

    /// Adds the soft clamp of `s`, at most `LOG_SCALE`.
    fn log_scale(&mut self, name: &str, mut s: Value) -> Value {
        let clamp = self.spec.clamp;
        let builder = &mut *self.builder;
        if clamp > 0.0 {
            // An arc tangent of more than that is as good as that of infinity.
            let most = range::ROOM * clamp;
            if most < range::MOVES {
                s = builder.clip(&format!("{name}.s.clipped"), &s, -most, most);
            }
            let ratio = builder.scale(&format!("{name}.ratio"), &s, 1.0 / clamp);
            let bounded = builder.atan(&format!("{name}.atan"), &ratio);
            let factor = clamp * SOFT_CLAMP_FACTOR;
            s = builder.scale(&format!("{name}.log_scale"), &bounded, factor);
        }
        // The arc tangent is at most 1.571, so the log-scale is at most 0.999 times the clamp.
        if clamp > 0.0 && clamp <= range::LOG_SCALE {
            return s;
        }
        let name = format!("{name}.log_scale.clipped");
        builder.clip(&name, &s, range::LOG_ZERO, range::LOG_SCALE)
    }

    /// Adds a cross-scale subnet: one hidden layer at each scale; neighbouring scales are mixed in
    /// the second.
    fn subnet(&mut self, name: &str, layout: &SubnetLayout, x: &Maps) -> Maps {
        let name = format!("{}.{name}", self.name);
        let [first, second] = self.shrunk(layout);
        let hidden = each_scale(|scale| {
            let name = format!("{name}.conv_scale{scale}_0");
            let gain = Gain {
                weight: first,
                bias: first,
            };
            let sum = self.convolution(&name, &layout.conv_0[scale], &x[scale], 1, gain);
            let leaky = format!("{name}.leaky");
            let leaky = self.builder.leaky_relu(&leaky, &sum, LEAKY_SLOPE);
            let clipped = format!("{name}.clipped");
            self.builder
                .clip(&clipped, &leaky, -range::HIDDEN, range::HIDDEN)
        });
        let sums = self.second_layer(&name, layout, &hidden, [first, second]);
        each_scale(|scale| self.whole(&sums[scale], second))
    }

    /// Adds what `x` was before it was multiplied by `shrunk`, within `±MOVES`.
    fn whole(&mut self, x: &Value, shrunk: f32) -> Value {
        if shrunk == 1.0 {
            return x.clone();
        }
        let (name, most) = (x.name(), range::MOVES * shrunk);
        let mut whole = self
            .builder
            .clip(&format!("{name}.clipped"), x, -most, most);
        let mut left = 1.0 / shrunk;
        while left > 1.0 {
            let factor = left.min(range::FACTOR);
            whole = self.builder.scale(&format!("{name}.whole"), &whole, factor);
            left /= factor;
        }
        whole
    }

    /// Returns the powers of two by which the two layers of a subnet are multiplied.
    fn shrunk(&self, layout: &SubnetLayout) -> [f32; 2] {
        let worst = |layout: &ConvLayout, input: f64| {
            let part = |range: &Range<usize>| &self.parameters[range.clone()];
            range::worst(part(&layout.weight), part(&layout.bias), input)
        };
        let most = |sums: [f64; SCALES]| sums.into_iter().fold(0.0, f64::max);
        let first = most(each_scale(|scale| {
            worst(&layout.conv_0[scale], range::STATE.into())
        }));
        let first = range::shrink(first, range::ROOM);
        let gamma = &self.parameters[layout.gamma.clone()];
        let second = most(each_scale(|scale| {
            let up = layout.up.get(scale);
            let down = scale.checked_sub(1).map(|finer| &layout.down[finer]);
            let terms = [Some(&layout.conv_1[scale]), up, down];
            let sum: f64 = (terms.into_iter().flatten())
                .map(|layout| worst(layout, f64::from(range::HIDDEN) / f64::from(first)))
                .sum();
            sum * f64::from(gamma[scale]).abs()
        }));
        [first, range::shrink(second, range::MOVES)]
    }

    /// Adds the second layer: at every scale the sum of its own hidden layer and of its neighbours'.
    fn second_layer(
        &mut self,
        name: &str,
        layout: &SubnetLayout,
        hidden: &Maps,
        [first, second]: [f32; 2],
    ) -> Maps {
        let gamma = &self.parameters[layout.gamma.clone()];
        let gain = |scale: usize| Gain {
            weight: gamma[scale] * second / first,
            bias: gamma[scale] * second,
        };
        let [fine, middle, coarse] = hidden;
        let own = each_scale(|scale| {
            let name = format!("{name}.conv_scale{scale}_1");
            self.convolution(&name, &layout.conv_1[scale], &hidden[scale], 1, gain(scale))
        });
        let mut up = |part: &str, layout: &ConvLayout, x: &Value, scale: usize| {
            self.of_upsampled(&format!("{name}.{part}"), layout, x, gain(scale))
        };
        let up_10 = up("up_conv10", &layout.up[0], middle, 0);
        let up_21 = up("up_conv21", &layout.up[1], coarse, 1);
        let mut down = |part: &str, layout: &ConvLayout, x: &Value, scale: usize| {
            self.convolution(&format!("{name}.{part}"), layout, x, 2, gain(scale))
        };
        let down_01 = down("down_conv01", &layout.down[0], fine, 1);
        let down_12 = down("down_conv12", &layout.down[1], middle, 2);
        let mut sum = |part: &str, terms: &[&Value]| {
            let terms = terms.iter().map(|&term| term.clone());
            terms
                .reduce(|sum, term| self.builder.add(&format!("{name}.{part}"), &sum, &term))
                .expect("every scale has terms")
        };
        [
            sum("out0", &[&own[0], &up_10]),
            sum("out1", &[&own[1], &down_01, &up_21]),
            sum("out2", &[&own[2], &down_12]),
        ]
    }

    /// Adds a convolution of `x` upsampled, with its weight and bias multiplied by `gain`.
    fn of_upsampled(&mut self, name: &str, layout: &ConvLayout, x: &Value, gain: Gain) -> Value {
        if layout.input < upsampled::WORTH_FROM {
            let wide = self.builder.upsample_twice(&format!("{name}.wide"), x);
            return self.convolution(name, layout, &wide, 1, gain);
        }
        let taps = Taps {
            output: layout.output,
            input: layout.input,
            kernel: layout.kernel,
            weight: &self.scaled(&layout.weight, gain.weight),
        };
        let sum = upsampled::add(self.builder, &format!("{name}.sum"), &taps, x);
        let bias = self.scaled(&layout.bias, gain.bias);
        let shape = [1, layout.output, 1, 1];
        let bias = self.builder.floats(&format!("{name}.bias"), &shape, &bias);
        self.builder.add(name, &sum, &bias)
    }

    /// Returns parameters multiplied by `gain`.
    fn scaled(&self, range: &Range<usize>, gain: f32) -> Vec<f32> {
        let parameters = self.parameters[range.clone()].iter();
        parameters.map(|x| x * gain).collect()
    }

    /// Adds a convolution with its weight and bias multiplied by `gain`.
    fn convolution(
        &mut self,
        name: &str,
        layout: &ConvLayout,
        x: &Value,
        stride: usize,
        gain: Gain,
    ) -> Value {
        let &ConvLayout {
            input,
            output,
            kernel,
            ..
        } = layout;
        let weight = self.scaled(&layout.weight, gain.weight);
        let bias = self.scaled(&layout.bias, gain.bias);
        let shape = [output, input, kernel, kernel];
        let weight = self
            .builder
            .floats(&format!("{name}.weight"), &shape, &weight);
        let bias = self
            .builder
            .floats(&format!("{name}.bias"), &[output], &bias);
        let window = Window::same(kernel, stride);
        self.builder
            .convolution(name, x, &weight, Some(&bias), window)
    }
}
