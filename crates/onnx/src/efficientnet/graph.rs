//! Writes an EfficientNet as an ONNX graph.
//!
//! Only what the requested stages need is computed. Batch norm is folded into the convolution
//! before it in double precision, `x · sigmoid(x)` is a `Sigmoid` and a `Mul`, which ONNX Runtime
//! fuses into one operator, and squeeze and excite is a `GlobalAveragePool` and two convolutions of
//! one pixel. In a lite network, the activation is a `Clip`, which is fused into the convolution
//! before it.

use std::collections::BTreeSet;

use super::architecture::{Architecture, Block, Convolution, Family, Place};
use super::padding::Pads;
use super::{EfficientNet, FILTERS, GAIN, GraphOptions, MEAN, OFFSET, VARIANCE, output_name};
use crate::backbone::DEFAULT_OUTPUTS;
use crate::builder::{Dimension, ElementType, GraphBuilder, Value, Window};
use crate::filter_bank::{self, add_filter_bank};
use flawd_core::normalisation::Normalisation;

const OPSET: i64 = 17;

/// The largest value after an activation of a lite network.
const RELU6: f32 = 6.0;

/// Returns the graph of `network` as far as `options.stages`, which have to exist.
pub(super) fn write(network: &EfficientNet, options: &GraphOptions) -> GraphBuilder {
    let stages: BTreeSet<usize> = options.stages.iter().copied().collect();
    let deepest = stages.last().copied().unwrap_or_default();
    let mut writer = Writer {
        builder: GraphBuilder::new("EfficientNet", OPSET),
        network,
        epsilon: f64::from(options.epsilon),
        pads: options.padding.start(),
    };
    let shape = [Dimension::from("n"), 3.into(), "h".into(), "w".into()];
    let image = writer.builder.input("image", ElementType::Float32, &shape);

    let architecture = network.architecture();
    let mut outputs = vec![writer.stem(&image)];
    let blocks = architecture.blocks(deepest);
    for (stage, blocks) in (1..).zip(blocks.chunk_by(|a, b| a.place.stage == b.place.stage)) {
        let mut x = outputs[stage - 1].clone();
        for (block, left) in blocks.iter().zip((0..blocks.len()).rev()) {
            let name = match left {
                0 => output_name(stage),
                _ => block_name(block.place),
            };
            x = writer.block(&name, block, &x);
        }
        outputs.push(x);
    }
    let mut builder = writer.builder;
    for stage in stages {
        let stride = Architecture::stride(stage);
        let shape = [
            Dimension::from("n"),
            architecture.channels(stage).into(),
            format!("h/{stride}").as_str().into(),
            format!("w/{stride}").as_str().into(),
        ];
        builder.output(&outputs[stage], ElementType::Float32, &shape);
    }
    if options.filters {
        let pixels = renormalised(&mut builder, &image, options.normalisation);
        add_filter_bank(&mut builder, &pixels, FILTERS);
    }
    for (key, value) in options.normalisation.to_properties() {
        builder.metadata(key, &value);
    }
    builder.metadata(DEFAULT_OUTPUTS, &options.default_outputs().join(","));
    builder
}

/// Adds the pixels as the filter bank expects them, from those that the network expects.
fn renormalised(builder: &mut GraphBuilder, image: &Value, from: Normalisation) -> Value {
    let to = filter_bank::NORMALISATION;
    let shape = [1, 3, 1, 1];
    let gain: [f32; 3] = std::array::from_fn(|c| from.std[c] / to.std[c]);
    let offset: [f32; 3] = std::array::from_fn(|c| (from.mean[c] - to.mean[c]) / to.std[c]);
    let gain = builder.floats("filters.image.gain", &shape, &gain);
    let offset = builder.floats("filters.image.offset", &shape, &offset);
    let scaled = builder.multiply("filters.image.scaled", image, &gain);
    builder.add("filters.image", &scaled, &offset)
}

fn block_name(place: Place) -> String {
    format!("stage{}.{}", place.stage, place.index)
}

struct Writer<'a> {
    builder: GraphBuilder,
    network: &'a EfficientNet,
    epsilon: f64,
    pads: Pads,
}

impl Writer<'_> {
    fn stem(&mut self, image: &Value) -> Value {
        let stem = self.network.architecture().stem();
        let sum = self.convolution("stem.convolution", &stem, image);
        self.activation(&output_name(0), &sum)
    }

    fn block(&mut self, name: &str, block: &Block, input: &Value) -> Value {
        let inside = block_name(block.place);
        let mut x = input.clone();
        if let Some(expand) = &block.expand {
            let sum = self.convolution(&format!("{inside}.expand.convolution"), expand, &x);
            x = self.activation(&format!("{inside}.expand"), &sum);
        }
        let sum = self.convolution(
            &format!("{inside}.depthwise.convolution"),
            &block.depthwise,
            &x,
        );
        let mut x = self.activation(&format!("{inside}.depthwise"), &sum);
        if let Some(convolutions) = &block.squeeze_and_excite {
            x = self.squeeze_and_excite(&inside, convolutions, &x);
        }
        if !self.network.naming().has_residual(block) {
            return self.convolution(name, &block.project, &x);
        }
        let x = self.convolution(&format!("{inside}.project"), &block.project, &x);
        self.builder.add(name, &x, input)
    }

    fn squeeze_and_excite(
        &mut self,
        name: &str,
        [squeeze, excite]: &[Convolution; 2],
        x: &Value,
    ) -> Value {
        let means = self
            .builder
            .global_average_pool(&format!("{name}.means"), x);
        let sum = self.convolution(&format!("{name}.squeeze.convolution"), squeeze, &means);
        let squeezed = self.activation(&format!("{name}.squeeze"), &sum);
        let sum = self.convolution(&format!("{name}.excite.convolution"), excite, &squeezed);
        let gates = self.builder.sigmoid(&format!("{name}.gates"), &sum);
        self.builder.multiply(&format!("{name}.gated"), x, &gates)
    }

    /// Adds the activation: `x * sigmoid(x)`, or `x` clipped to 0 and 6.
    fn activation(&mut self, name: &str, x: &Value) -> Value {
        match self.network.architecture().family {
            Family::Standard => {
                let sigmoid = self.builder.sigmoid(&format!("{name}.sigmoid"), x);
                self.builder.multiply(name, x, &sigmoid)
            }
            Family::Lite => self.builder.clip(name, x, 0.0, RELU6),
        }
    }

    /// Adds a convolution with its batch norm folded in.
    fn convolution(&mut self, name: &str, convolution: &Convolution, x: &Value) -> Value {
        let (weight, bias) = self.folded(convolution);
        let shape = convolution.weight();
        let weight = self
            .builder
            .floats(&format!("{name}.weight"), &shape, &weight);
        let bias = self
            .builder
            .floats(&format!("{name}.bias"), &[convolution.output], &bias);
        let &Convolution {
            kernel,
            stride,
            groups,
            ..
        } = convolution;
        let window = Window {
            kernel,
            stride,
            // A kernel of one pixel sees no zeros.
            padding: match kernel {
                1 => [0; 2],
                _ => self.pads.next(kernel, stride),
            },
            groups,
        };
        self.builder
            .convolution(name, x, &weight, Some(&bias), window)
    }

    /// Returns weight and bias, in C order.
    fn folded(&self, convolution: &Convolution) -> (Vec<f32>, Vec<f32>) {
        let EfficientNet {
            tensors, naming, ..
        } = self.network;
        let numbers = |key: String| tensors[&key].iter().copied();
        let name = naming.convolution(convolution);
        let weight = numbers(format!("{name}.weight"));
        if !convolution.role.is_normalised() {
            return (weight.collect(), numbers(format!("{name}.bias")).collect());
        }
        let norm = naming.batch_norm(convolution);
        let part = |part: &str| numbers(format!("{norm}{part}")).map(f64::from);
        let gains: Vec<f64> = part(GAIN)
            .zip(part(VARIANCE))
            .map(|(gain, variance)| gain / (variance + self.epsilon).sqrt())
            .collect();
        let bias = part(OFFSET)
            .zip(part(MEAN))
            .zip(&gains)
            .map(|((offset, mean), gain)| (offset - mean * gain) as f32)
            .collect();
        let a_channel: usize = convolution.weight()[1..].iter().product();
        let weight = weight
            .enumerate()
            .map(|(place, weight)| (f64::from(weight) * gains[place / a_channel]) as f32)
            .collect();
        (weight, bias)
    }
}
