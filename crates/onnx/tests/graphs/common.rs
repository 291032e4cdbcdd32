//! What several test files share: a small backbone, images, and the runtime.

use flawd_core::image::Size;
use flawd_onnx::builder::{Dimension, ElementType, GraphBuilder, Window};
use flawd_onnx::{Backbone, ChannelOrder, FeatureSpec, Normalisation, Runtime};
use std::path::Path;

/// The ONNX Runtime that this checkout holds.
pub(crate) fn runtime() -> Runtime {
    Runtime::load(None).unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers that look random and are the same everywhere, in `-1.0..1.0`.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn one(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32) / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.one()).collect()
    }
}

/// An RGB image with something everywhere.
pub(crate) fn image(size: Size, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    numbers
        .many(size.area() * 3)
        .iter()
        .map(|x| (x * 127.0 + 128.0) as u8)
        .collect()
}

/// A backbone of two convolutions: `fine` has 3 channels at stride 2, `coarse` 4 at stride 4.
/// A branch that leads to `unused` has nothing to do with either.
pub(crate) fn backbone_bytes(opset: i64) -> Vec<u8> {
    let mut builder = GraphBuilder::new("tiny backbone", opset);
    let any = |name: &str| Dimension::from(name);
    let shape = [any("n"), Dimension::Fixed(3), any("h"), any("w")];
    let image = builder.input("image", ElementType::Float32, &shape);
    let mut numbers = Numbers::new(7);
    let mut convolution =
        |builder: &mut GraphBuilder, name: &str, x, input: usize, output: usize| {
            let weight = numbers.many(output * input * 9);
            let bias = numbers.many(output);
            let weight = builder.floats(&format!("{name}.weight"), &[output, input, 3, 3], &weight);
            let bias = builder.floats(&format!("{name}.bias"), &[output], &bias);
            builder.convolution(name, x, &weight, Some(&bias), Window::same(3, 2))
        };
    let fine = convolution(&mut builder, "fine", &image, 3, 3);
    let active = builder.relu("fine.relu", &fine);
    let coarse = convolution(&mut builder, "coarse", &active, 3, 4);
    let unused = builder.exp("unused", &coarse);
    for (value, channels) in [(&fine, 3), (&coarse, 4), (&unused, 4)] {
        let shape = [any("n"), Dimension::Fixed(channels), any("h'"), any("w'")];
        builder.output(value, ElementType::Float32, &shape);
    }
    for (key, value) in NORMALISATION.to_properties() {
        builder.metadata(key, &value);
    }
    builder.encode().expect("a tiny file")
}

pub(crate) const NORMALISATION: Normalisation = Normalisation {
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.25, 0.3],
    channel_order: ChannelOrder::Rgb,
};

pub(crate) fn backbone(opset: i64) -> Backbone {
    Backbone::from_bytes(Path::new("tiny.onnx"), &backbone_bytes(opset)).expect("a backbone")
}

pub(crate) fn features(size: Size, outputs: &[&str]) -> FeatureSpec {
    FeatureSpec {
        size,
        outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
        normalisation: NORMALISATION,
    }
}
