//! The graphs, run by ONNX Runtime, against the libraries that their weights come from.

use flawd_core::normalisation::Normalisation;
use ndarray::ArrayD;
use ort::session::Session;
use ort::value::{TensorRef, ValueRef};

use super::{EFFICIENTNET_PYTORCH, TORCHVISION, tensors, weights};
use crate::efficientnet::{EfficientNet, GraphOptions, Padding};
use crate::runtime::Runtime;

const PADDED_FOR_B5: Padding = Padding::Same { resolution: 456 };

const OUTPUTS: [&str; 7] = [
    "stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6",
];

/// The outputs of a graph for a normalised image.
pub(super) fn run(graph: &[u8], image: &ArrayD<f32>) -> Vec<(String, ArrayD<f32>)> {
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(runtime.environment())
        .and_then(|mut builder| builder.commit_from_memory(graph))
        .expect("a session");
    let image = TensorRef::from_array_view(image.view()).expect("a tensor");
    let outputs = session.run(ort::inputs![image]).expect("a run");
    let array = |value: ValueRef<'_>| {
        let (shape, numbers) = value.try_extract_tensor::<f32>().expect("floats");
        let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        ArrayD::from_shape_vec(shape, numbers.to_vec()).expect("as many as the shape says")
    };
    let outputs = outputs.iter();
    outputs
        .map(|(name, value)| (name.to_owned(), array(value)))
        .collect()
}

/// The largest difference of each output from the library's, relative to its largest number.
fn differences(folder: &str, padding: Padding) -> Vec<f64> {
    let network = EfficientNet::new(weights(folder), None).expect("an EfficientNet");
    let options = GraphOptions {
        padding,
        epsilon: network.epsilon(padding),
        stages: (0..OUTPUTS.len()).collect(),
        normalisation: Normalisation::IMAGENET,
        filters: false,
    };
    let graph = network.graph(&options).expect("a graph");
    let io = tensors(folder, "io.safetensors");
    let found = run(&graph, &io["image"]);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, OUTPUTS);
    let apart = |(name, found): &(String, ArrayD<f32>)| {
        let expected = &io[name];
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let largest = |x: &ArrayD<f32>| x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        f64::from(largest(&(found - expected)) / largest(expected))
    };
    found.iter().map(apart).collect()
}

#[test]
fn stem_and_stages_are_those_of_each_library() {
    for (folder, padding) in [
        (TORCHVISION, Padding::Symmetric),
        (EFFICIENTNET_PYTORCH, PADDED_FOR_B5),
    ] {
        let differences = differences(folder, padding);
        println!("{folder}: {differences:?}");
        assert!(
            differences.iter().all(|&apart| apart < 1e-4),
            "{folder}: {differences:?}"
        );
    }
}

/// The two libraries' paddings differ by up to a pixel, at strides up to 32.
#[test]
fn the_wrong_padding_shows_from_the_stem_on() {
    for (folder, padding) in [
        (TORCHVISION, PADDED_FOR_B5),
        (EFFICIENTNET_PYTORCH, Padding::Symmetric),
        (EFFICIENTNET_PYTORCH, Padding::TensorFlow),
    ] {
        let differences = differences(folder, padding);
        let deepest = differences.last().expect("stage 6");
        assert!(*deepest > 1e-2, "{folder}: {differences:?}");
    }
}
