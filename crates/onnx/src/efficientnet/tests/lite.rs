//! EfficientNet-Lite2 against an ONNX file of the same network that others have made.
//!
//! The file's batch norms are folded into its convolutions, so its weights become those of a state
//! dict whose batch norms only add an offset. What is compared is everything else: shapes, strides,
//! padding, activations, and what is added to what.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::normalisation::Normalisation;
use ndarray::{ArrayD, IxDyn};
use prost::Message;

use super::parity::run;
use crate::backbone::Backbone;
use crate::efficientnet::{
    EfficientNet, GAIN, GraphOptions, MEAN, Naming, OFFSET, Padding, StateDict, VARIANCE, Variant,
};
use crate::proto::{ModelProto, TensorProto};

/// Beside the repository: lite2 up to stage 6, padded as in TensorFlow.
const REFERENCE: &str = "../../../shared/data/backbones/efficientnet_lite2_features.onnx";

/// Which of its outputs is which of ours.
const OUTPUTS: [(&str, &str); 3] = [
    ("features_s8", "stage3"),
    ("features_s16", "stage5"),
    ("features_s32", "stage6"),
];

const EPSILON: f32 = 1e-3;

/// The last stage that the file has.
const DEEPEST: usize = 6;

/// The weights of the file's convolutions, in the order of the data flow, under the names of
/// efficientnet_pytorch.
fn state_dict(reference: &[u8]) -> StateDict {
    let graph = ModelProto::decode(reference).expect("a model").graph;
    let graph = graph.expect("a graph");
    let constants: BTreeMap<&str, &TensorProto> = graph
        .initializer
        .iter()
        .map(|tensor| (tensor.name.as_deref().expect("a name"), tensor))
        .collect();
    let array = |name: &str| {
        let tensor = constants[name];
        let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
        ArrayD::from_shape_vec(shape, tensor.float_values().expect("floats")).expect("it fits")
    };
    let is_convolution = |node: &&crate::proto::NodeProto| node.op_type.as_deref() == Some("Conv");
    let theirs: Vec<_> = graph.node.iter().filter(is_convolution).collect();

    let naming = Naming::EfficientNetPytorch;
    let architecture = Variant::Lite2.architecture();
    let ours: Vec<_> = architecture.convolutions(DEEPEST).collect();
    assert_eq!(theirs.len(), ours.len());
    let mut tensors = StateDict::new();
    for (node, convolution) in theirs.into_iter().zip(ours) {
        let [_, weight, bias] = &node.input[..] else {
            panic!("a convolution without a bias");
        };
        let name = naming.convolution(&convolution);
        tensors.insert(format!("{name}.weight"), array(weight));
        let norm = naming.batch_norm(&convolution);
        let all = |value| ArrayD::from_elem(IxDyn(&[convolution.output]), value);
        for (part, numbers) in [
            (GAIN, all(1.0)),
            (OFFSET, array(bias)),
            (MEAN, all(0.0)),
            // Under the square root, epsilon makes it 1.
            (VARIANCE, all(1.0 - EPSILON)),
        ] {
            tensors.insert(format!("{norm}{part}"), numbers);
        }
    }
    tensors
}

#[test]
fn lite2_gives_the_features_of_a_file_that_others_made() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(REFERENCE);
    let Ok(reference) = std::fs::read(&path) else {
        println!("absent: {REFERENCE} is not here");
        return;
    };
    let network = EfficientNet::new(state_dict(&reference), None).expect("an EfficientNet");
    let padding = Padding::TensorFlow;
    assert_eq!(network.epsilon(padding), EPSILON);
    let backbone = Backbone::from_bytes(&path, &reference).expect("a backbone");
    let theirs = backbone.normalisation().expect("it is stated");
    let ours = network.normalisation(padding);
    for (a, b) in theirs
        .mean
        .into_iter()
        .chain(theirs.std)
        .zip(ours.mean.into_iter().chain(ours.std))
    {
        assert!((a - b).abs() < 1e-6, "{theirs:?} {ours:?}");
    }
    let graph = network
        .graph(&GraphOptions {
            padding,
            epsilon: EPSILON,
            stages: vec![3, 5, DEEPEST],
            normalisation: Normalisation::LITE,
            filters: false,
        })
        .expect("a graph");
    // Pixels of every value, normalised: sharper than any picture.
    let number = |index: usize| ((index * 7919) % 256) as f32 / 128.0 - 127.0 / 128.0;
    let image: Vec<f32> = (0..3 * 128 * 160).map(number).collect();
    let image = ArrayD::from_shape_vec(IxDyn(&[1, 3, 128, 160]), image).expect("it fits");
    let outputs = |graph: &[u8]| run(graph, &image).into_iter().collect::<BTreeMap<_, _>>();
    let (expected, found) = (outputs(&reference), outputs(&graph));
    for (theirs, ours) in OUTPUTS {
        let (expected, found) = (&expected[theirs], &found[ours]);
        assert_eq!(found.shape(), expected.shape(), "{ours}");
        let largest = |x: &ArrayD<f32>| x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let apart = largest(&(found - expected)) / largest(expected);
        println!("{ours}: {apart:e} of the largest");
        assert!(apart < 1e-5, "{ours}: {apart}");
    }
}
