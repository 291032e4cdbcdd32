//! Writes the two ONNX files of a model's life: the feature graph that training runs, and the
//! shipped model.
//!
//! Both begin with the same nodes, so the flow is trained on the same features that the shipped
//! model computes. All shapes are fixed, and only operators that TensorRT's ONNX parser supports
//! are added to those of the backbone.

use std::collections::BTreeMap;

use flawd_core::anomaly::{MapKind, Readout};
use flawd_core::flow::{FlowSpec, FlowSpecError, SCALES};
use flawd_core::transform::{ChannelTransform, FeatureTransform};

use crate::backbone::Backbone;
use crate::builder::{Dimension, ElementType, GraphBuilder, ModelTooLarge};
use crate::features::{FeatureError, FeatureSpec, add_features};
use crate::flow::{add_flow, add_outputs, add_transform};

/// Why a graph cannot be written.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ExportError {
    /// The backbone does not give the requested features.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The flow's numbers do not make a flow.
    #[error(transparent)]
    Flow(#[from] FlowSpecError),
    /// A variant of the flow, which is for comparing and not for shipping.
    #[error(
        "only the published flow can be exported, three scales that see each other; this one has \
         {scales}, {}",
        if *cross_scale { "linked" } else { "not linked" }
    )]
    Variant {
        /// Its scales.
        scales: usize,
        /// Whether they see each other.
        cross_scale: bool,
    },
    /// The number of the flow's parameters does not match its shape.
    #[error("the flow has {expected} parameters, and {found} were given")]
    WrongParameterCount {
        /// The number that the shape requires.
        expected: usize,
        /// The number that was given.
        found: usize,
    },
    /// A parameter that cannot be used to compute a score.
    #[error("parameter {index} of the flow is {value}")]
    BadParameter {
        /// Its index.
        index: usize,
        /// Not a number, or infinite.
        value: f32,
    },
    /// The transform is for another number of scales.
    #[error("the feature transform is for {0} scales, and the flow has {SCALES}")]
    WrongTransformCount(usize),
    /// The transform of a scale does not fit between backbone and flow.
    #[error(
        "the feature transform of scale {scale} maps {inputs} to {outputs} channels, but the \
         backbone gives {features} and the flow takes {flow}"
    )]
    TransformDoesNotFit {
        /// The scale, 0 the finest.
        scale: usize,
        /// Channels that it takes.
        inputs: usize,
        /// Channels that it gives.
        outputs: usize,
        /// Channels that the backbone gives.
        features: usize,
        /// Channels that the flow takes.
        flow: usize,
    },
    /// The file would be too large.
    #[error(transparent)]
    TooLarge(#[from] ModelTooLarge),
}

/// Returns the graph from an image to the raw features of the three scales.
///
/// Input `image` is `uint8` `[1, H, W, 3]`, RGB; the outputs are `float32` `[1, C, h, w]`, finest
/// first. [`FeatureExtractor`](crate::FeatureExtractor) runs it.
///
/// # Errors
/// If the backbone does not give the requested features at this size.
pub fn feature_graph(backbone: &Backbone, spec: &FeatureSpec) -> Result<Vec<u8>, ExportError> {
    let shape = spec.shape(backbone)?;
    let mut builder = GraphBuilder::new("flawd features", backbone.opset());
    let features = add_features(&mut builder, backbone, spec)?;
    for (features, map) in features.iter().zip(shape.maps) {
        let shape = [1, shape.channels, map.height, map.width].map(Dimension::Fixed);
        builder.output(features, ElementType::Float32, &shape);
    }
    Ok(builder.encode()?)
}

/// Returns the shipped model: the graph from an image to score and anomaly map.
///
/// Input `image` is `uint8` `[1, H, W, 3]`, RGB. Outputs are `score`, `float32` `[1]`, in units of half
/// the mean of z²; and `anomaly_map`, `float32` `[1, 1, h, w]`, in units of the mean of z²; both as
/// `readout` says. `parameters` are laid out as in [`FlowSpec::layout`];
/// `metadata` becomes the file's properties. [`Model`](crate::Model) runs it.
///
/// # Errors
/// If backbone, transform, flow and parameters do not fit together.
pub fn model_graph(
    backbone: &Backbone,
    features: &FeatureSpec,
    transform: &FeatureTransform,
    flow: &FlowSpec,
    parameters: &[f32],
    readout: Readout,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ExportError> {
    let shape = features.shape(backbone)?;
    check_flow(flow, parameters)?;
    check_transform(transform, shape.channels, flow.channels)?;
    let mut builder = GraphBuilder::new("flawd", backbone.opset());
    let raw = add_features(&mut builder, backbone, features)?;
    let transformed = add_transform(&mut builder, raw, transform);
    let latents = add_flow(&mut builder, transformed, flow, parameters);
    let map_size = match readout.map {
        MapKind::Finest => shape.maps[0],
        MapKind::Product => features.size,
    };
    let [score, map] = add_outputs(&mut builder, &latents, readout, features.size);
    builder.output(&score, ElementType::Float32, &[Dimension::Fixed(1)]);
    let map_size = [1, 1, map_size.height, map_size.width].map(Dimension::Fixed);
    builder.output(&map, ElementType::Float32, &map_size);
    for (key, value) in metadata {
        builder.metadata(key, value);
    }
    Ok(builder.encode()?)
}

fn check_flow(flow: &FlowSpec, parameters: &[f32]) -> Result<(), ExportError> {
    flow.validate()?;
    if !flow.is_published() {
        let FlowSpec {
            scales,
            cross_scale,
            ..
        } = *flow;
        return Err(ExportError::Variant {
            scales,
            cross_scale,
        });
    }
    let expected = flow.layout().len;
    if parameters.len() != expected {
        let found = parameters.len();
        return Err(ExportError::WrongParameterCount { expected, found });
    }
    match parameters.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ExportError::BadParameter {
            index,
            value: parameters[index],
        }),
    }
}

fn check_transform(
    transform: &FeatureTransform,
    features: usize,
    flow: usize,
) -> Result<(), ExportError> {
    if transform.scales.len() != SCALES {
        return Err(ExportError::WrongTransformCount(transform.scales.len()));
    }
    for (scale, transform) in transform.scales.iter().enumerate() {
        let (inputs, outputs) = match transform {
            ChannelTransform::Identity => (features, features),
            ChannelTransform::Affine { mean, scale } => (mean.len(), scale.len()),
        };
        // A transform keeps the number of channels.
        if (inputs, outputs) != (features, flow) || inputs != outputs {
            return Err(ExportError::TransformDoesNotFit {
                scale,
                inputs,
                outputs,
                features,
                flow,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use flawd_core::anomaly::ScoreKind;
    use flawd_core::image::Size;
    use flawd_core::light::LightNormalisation;
    use flawd_core::normalisation::{ChannelOrder, Normalisation};
    use flawd_core::permutation::PermutationKind;
    use prost::Message;

    use super::*;
    use crate::builder::Window;
    use crate::proto::ModelProto;
    use crate::upsampled;

    /// What the exporter may add to a backbone: operators that TensorRT's ONNX parser supports.
    /// `cargo xtask tensorrt` has it parse them.
    ///
    /// Those of the product map, in the table of operators of TensorRT's parser: `Log` and `Exp`
    /// in FP32 and FP16; `Resize` with mode `linear` and `half_pixel`. That of wide flows:
    /// `Sum` of float tensors. That of the power mean: `GlobalMaxPool`. Those of the light: `Div`,
    /// `Reshape`, and `TopK` of at most 3840 entries. Those of the limits: `Min` and `Max` of
    /// two float tensors.
    const ALLOWED: [&str; 25] = [
        "Add",
        "Atan",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Exp",
        "Gather",
        "GlobalMaxPool",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mul",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "Sub",
        "Sum",
        "TopK",
        "Transpose",
    ];

    /// A backbone with two outputs, `fine` of stride 1 and `coarse` of stride 2, one channel each.
    fn backbone() -> Backbone {
        let mut builder = GraphBuilder::new("backbone", 17);
        let shape = [1.into(), 3.into(), "h".into(), "w".into()];
        let image = builder.input("image", ElementType::Float32, &shape);
        for (name, stride) in [("fine", 1), ("coarse", 2)] {
            let weight = builder.floats(&format!("{name}.weight"), &[1, 3, 1, 1], &[1.0; 3]);
            let map = builder.convolution(name, &image, &weight, None, Window::same(1, stride));
            builder.output(&map, ElementType::Float32, &shape);
        }
        let bytes = builder.encode().expect("a small file");
        Backbone::from_bytes(Path::new("backbone.onnx"), &bytes).expect("a backbone")
    }

    const LIGHT: LightNormalisation = LightNormalisation {
        reference: 128.0,
        limit: LightNormalisation::LIMIT,
    };

    /// A model that uses everything the exporter can write.
    fn model() -> ModelProto {
        let features = FeatureSpec {
            size: Size::new(16, 16),
            outputs: vec!["fine".to_owned(), "coarse".to_owned()],
            normalisation: Normalisation {
                channel_order: ChannelOrder::Bgr,
                ..Normalisation::IMAGENET
            },
            light: Some(LIGHT),
        };
        let (mean, ones) = (vec![0.0; 2], vec![1.0; 2]);
        let affine = ChannelTransform::Affine { mean, scale: ones };
        let transform = FeatureTransform {
            scales: vec![affine.clone(), affine, ChannelTransform::Identity],
        };
        let flow = FlowSpec {
            channels: 2,
            hidden: upsampled::WORTH_FROM,
            kernels: vec![3],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        };
        let parameters = vec![0.5; flow.layout().len];
        let metadata = BTreeMap::new();
        let bytes = model_graph(
            &backbone(),
            &features,
            &transform,
            &flow,
            &parameters,
            Readout {
                score: ScoreKind::PowerMean,
                map: MapKind::Product,
            },
            &metadata,
        );
        ModelProto::decode(bytes.expect("a graph").as_slice()).expect("a model")
    }

    #[test]
    fn only_operators_that_tensorrt_parses_are_written() {
        let model = model();
        let graph = model.graph.as_ref().expect("a graph");
        let written: BTreeSet<&str> = graph.node.iter().map(|node| node.op_type()).collect();
        let allowed = BTreeSet::from(ALLOWED);
        assert!(written.is_subset(&allowed), "{written:?}");
    }

    /// TensorRT takes bytes as the input of a network and nowhere inside it: `legalUINT8` in its
    /// parser, and "use a cast to convert uint8 network-level inputs" in its documentation.
    #[test]
    fn the_images_bytes_are_cast_before_anything_else() {
        let model = model();
        let graph = model.graph.as_ref().expect("a graph");
        let image = graph.input[0].name();
        let takes_image = |node: &&crate::proto::NodeProto| node.input.iter().any(|x| x == image);
        let readers: Vec<_> = graph.node.iter().filter(takes_image).collect();
        assert_eq!(readers.len(), 1);
        assert_eq!(readers[0].op_type(), "Cast");
        let casts = graph.node.iter().filter(|node| node.op_type() == "Cast");
        assert_eq!(casts.count(), 1, "and nothing is cast back to bytes");
    }

    #[test]
    fn shapes_are_fixed_and_weights_are_shared_by_the_scales() {
        let model = model();
        let graph = model.graph.as_ref().expect("a graph");
        for value in graph.input.iter().chain(&graph.output) {
            let shape = value.tensor_type().and_then(|tensor| tensor.shape.as_ref());
            let fixed =
                shape.is_some_and(|shape| shape.dim.iter().all(|dim| dim.fixed().is_some()));
            assert!(fixed, "{}", value.name());
        }
        let named = |end: &str| {
            graph
                .initializer
                .iter()
                .filter(|x| x.name().ends_with(end))
                .count()
        };
        assert_eq!(named("fine.weight"), 1);
        assert_eq!(
            graph
                .node
                .iter()
                .filter(|node| node.name().ends_with("/fine"))
                .count(),
            3
        );
    }
}
