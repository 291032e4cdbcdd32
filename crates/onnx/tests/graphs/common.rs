//! What the tests share: a small backbone, its features by plain loops, images, the runtime.

use std::path::Path;

use flawd_core::image::Size;
use flawd_onnx::builder::{Dimension, ElementType, GraphBuilder, Window};
use flawd_onnx::{Backbone, ChannelOrder, FeatureSpec, Normalisation, Runtime};
use ndarray::Array3;

use crate::reference::{self, Maps};

/// The ONNX Runtime of this checkout.
pub(crate) fn runtime() -> Runtime {
    Runtime::load(None).unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers that look random and are the same everywhere, in `-1.0..1.0`.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn many(&mut self, count: usize) -> Vec<f32> {
        let one = |_| {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 40) as f32) / (1 << 23) as f32 - 1.0
        };
        (0..count).map(one).collect()
    }
}

/// An RGB image with something everywhere.
pub(crate) fn image(size: Size, seed: u64) -> Vec<u8> {
    let numbers = Numbers(seed).many(size.area() * 3);
    numbers.iter().map(|x| (x * 127.0 + 128.0) as u8).collect()
}

pub(crate) const NORMALISATION: Normalisation = Normalisation {
    mean: [0.5, 0.4, 0.3],
    std: [0.2, 0.25, 0.3],
    channel_order: ChannelOrder::Rgb,
};

/// The outputs of [`backbone`]: name, channels, stride.
pub(crate) const FINE: (&str, usize, usize) = ("fine", 3, 2);
pub(crate) const COARSE: (&str, usize, usize) = ("coarse", 4, 4);

/// Input and output channels of the backbone's two 3x3 convolutions of stride 2.
const LAYERS: [(&str, usize, usize); 2] = [("fine", 3, 3), ("coarse", 3, 4)];

fn layer(index: usize) -> (Vec<f32>, Vec<f32>) {
    let (_, input, output) = LAYERS[index];
    let mut numbers = Numbers(7 + index as u64);
    let weight = numbers
        .many(output * input * 9)
        .iter()
        .map(|w| w / 3.0)
        .collect();
    (weight, numbers.many(output))
}

/// A backbone of two convolutions with a ReLU between them, and a branch called `unused`.
pub(crate) fn backbone_bytes(opset: i64) -> Vec<u8> {
    let mut builder = GraphBuilder::new("tiny backbone", opset);
    let shape = [Dimension::from("n"), 3.into(), "h".into(), "w".into()];
    let mut x = builder.input("pixels", ElementType::Float32, &shape);
    let mut outputs = Vec::new();
    for (index, (name, input, output)) in LAYERS.into_iter().enumerate() {
        let (weight, bias) = layer(index);
        let weight = builder.floats(&format!("{name}.weight"), &[output, input, 3, 3], &weight);
        let bias = builder.floats(&format!("{name}.bias"), &[output], &bias);
        let map = builder.convolution(name, &x, &weight, Some(&bias), Window::same(3, 2));
        x = builder.relu(&format!("{name}.relu"), &map);
        outputs.push((map, output));
    }
    outputs.push((builder.exp("unused", &x), 4));
    for (value, channels) in &outputs {
        let shape = [
            Dimension::from("n"),
            (*channels).into(),
            "h'".into(),
            "w'".into(),
        ];
        builder.output(value, ElementType::Float32, &shape);
    }
    for (key, value) in NORMALISATION.to_properties() {
        builder.metadata(key, &value);
    }
    builder.encode().expect("a small file")
}

pub(crate) fn backbone(opset: i64) -> Backbone {
    Backbone::from_bytes(Path::new("tiny.onnx"), &backbone_bytes(opset)).expect("a backbone")
}

/// The outputs `fine` and `coarse` of the backbone at each scale, by plain loops.
pub(crate) fn reference_features(spec: &FeatureSpec, image: &[u8]) -> [[Array3<f64>; 2]; 3] {
    let source_channel = match spec.normalisation.channel_order {
        ChannelOrder::Rgb => [0, 1, 2],
        ChannelOrder::Bgr => [2, 1, 0],
    };
    let size = [spec.size.height, spec.size.width];
    let images: Maps = reference::pyramid(image, size, &spec.normalisation, source_channel);
    images.map(|image| {
        let apply = |index: usize, x: &Array3<f64>| {
            let (weight, bias) = layer(index);
            reference::convolution(x, &weight, &bias, 3, 2)
        };
        let fine = apply(0, &image);
        let coarse = apply(1, &fine.mapv(|y| y.max(0.0)));
        [fine, coarse]
    })
}

pub(crate) fn features(size: Size, outputs: &[&str]) -> FeatureSpec {
    FeatureSpec {
        size,
        outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
        normalisation: NORMALISATION,
        light: None,
    }
}

/// The largest difference between two lists, relative to the largest number among the second.
pub(crate) fn difference<'a>(
    found: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = f64>,
) -> f64 {
    let mut found = found.into_iter();
    let (mut largest, mut apart) = (0.0_f64, 0.0_f64);
    for expected in expected {
        let found = found.next().expect("as many as expected");
        largest = largest.max(expected.abs());
        apart = apart.max((f64::from(*found) - expected).abs());
    }
    assert!(found.next().is_none(), "no more than expected");
    apart / largest
}
