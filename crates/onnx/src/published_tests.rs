//! Graphs of imported checkpoints, in ONNX Runtime, against what the published implementations
//! computed with the same weights.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::anomaly::{MapKind, Readout};
use flawd_core::flow::SCALES;
use flawd_core::image::Size;
use flawd_core::normalisation::Normalisation;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_import::{Checkpoint, TensorFile};
use ndarray::{ArrayD, Axis};
use ort::session::Session;
use ort::value::Tensor;
use prost::Message;

use crate::backbone::Backbone;
use crate::builder::{ElementType, GraphBuilder, Value};
use crate::efficientnet::{EfficientNet, GraphOptions, Padding};
use crate::export::model_graph;
use crate::features::FeatureSpec;
use crate::flow::{add_flow, add_outputs};
use crate::names::{ANOMALY_MAP, SCORE};
use crate::proto::ModelProto;
use crate::runtime::Runtime;

fn folder(from_here: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(from_here)
}

/// Runs a graph on one sample; returns all outputs by name.
fn run(graph: &[u8], inputs: &[ArrayD<f32>]) -> BTreeMap<String, Vec<f32>> {
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(runtime.environment())
        .and_then(|mut builder| builder.commit_from_memory(graph))
        .expect("a session");
    let names: Vec<String> = session
        .inputs()
        .iter()
        .map(|input| input.name().to_owned())
        .collect();
    let inputs: Vec<_> = names
        .into_iter()
        .zip(inputs)
        .map(|(name, array)| (name, Tensor::from_array(array.clone()).expect("a tensor")))
        .collect();
    let outputs = session.run(inputs).expect("a run");
    let numbers = |value: ort::value::ValueRef<'_>| {
        value
            .try_extract_tensor::<f32>()
            .expect("floats")
            .1
            .to_vec()
    };
    outputs
        .iter()
        .map(|(name, value)| (name.to_owned(), numbers(value)))
        .collect()
}

/// Sample `number` of a batch, as a batch of one.
fn sample(batch: &ArrayD<f32>, number: usize) -> ArrayD<f32> {
    batch
        .index_axis(Axis(0), number)
        .insert_axis(Axis(0))
        .as_standard_layout()
        .into_owned()
}

/// The largest difference, relative to the largest number that is expected.
fn difference(found: impl IntoIterator<Item = f32>, expected: &ArrayD<f32>) -> f32 {
    let found: Vec<f32> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    apart.fold(0.0_f32, f32::max) / largest
}

/// Adds the latents to the outputs.
fn put_out(builder: &mut GraphBuilder, values: &[Value]) {
    for value in values {
        builder.output(value, ElementType::Float32, &vec!["any".into(); 4]);
    }
}

#[test]
fn imported_flows_score_as_both_publications_do() {
    for name in ["parity-original", "parity-anomalib"] {
        let fixture = folder("../../tests/data").join(name);
        let published = Checkpoint::read(&fixture.join("weights.safetensors"), None);
        let published = published.expect("a checkpoint");
        let io = TensorFile::open(&fixture.join("io.safetensors")).expect("it opens");
        let read = |name: &str| io.read(name).expect("it is there");
        let inputs: [ArrayD<f32>; SCALES] = std::array::from_fn(|s| read(&format!("x{s}")));

        let mut builder = GraphBuilder::new("published", 17);
        let features = std::array::from_fn(|scale| {
            let shape: Vec<usize> = inputs[scale].shape()[1..].to_vec();
            let shape = [1, shape[0], shape[1], shape[2]].map(Into::into);
            builder.input(&format!("x{scale}"), ElementType::Float32, &shape)
        });
        let latents = add_flow(
            &mut builder,
            features,
            &published.flow,
            &published.parameters,
        );
        let outputs = add_outputs(&mut builder, &latents, Readout::default(), Size::new(8, 8));
        builder.output(&outputs[0], ElementType::Float32, &["any".into()]);
        put_out(&mut builder, &outputs[1..]);
        put_out(&mut builder, &latents);
        let graph = builder.encode().expect("a small file");
        for number in 0..2 {
            let of = |name: &str| sample(&read(name), number);
            let found = run(&graph, &inputs.each_ref().map(|x| sample(x, number)));
            let score = difference(found[SCORE].clone(), &of("score"));
            assert!(score < 1e-5, "{name}: score {score:e}");
            for (scale, latents) in latents.iter().enumerate() {
                let z = difference(found[latents.name()].clone(), &of(&format!("z{scale}")));
                assert!(z < 1e-5, "{name}: scale {scale} {z:e}");
            }
            let map = difference(found[ANOMALY_MAP].clone(), &of("map_scale0"));
            assert!(map < 1e-5, "{name}: map {map:e}");
        }
    }
}

/// The published numbers begin with an image of any floats, so everything after the normalisation
/// is extracted unchanged from a shipped model.
fn behind_the_normalisation(model: &[u8], size: Size) -> (Vec<u8>, [Value; SCALES]) {
    const NORMALISED: &str = "image.normalised";
    let model = ModelProto::decode(model).expect("a model");
    let graph = model.graph.expect("a graph");
    let mut builder = GraphBuilder::new("behind the normalisation", 17);
    let shape = [1, 3, size.height, size.width].map(Into::into);
    let image = builder.input(NORMALISED, ElementType::Float32, &shape);
    assert_eq!(image.name(), NORMALISED);
    for constant in graph.initializer {
        let name = constant.name().to_owned();
        assert_eq!(builder.copied_constant(&name, constant).name(), name);
    }
    let normalised = |node: &crate::proto::NodeProto| node.output[0] == NORMALISED;
    let before = graph.node.iter().position(normalised).expect("it is there");
    let mut latents = [const { None }; SCALES];
    for node in graph.node.into_iter().skip(before + 1) {
        for (scale, latent) in latents.iter_mut().enumerate() {
            if node.output[0] == format!("latent.{scale}.squares") {
                *latent = Some(builder.copied_value(node.input[0].clone()));
            }
        }
        builder.copied_node(node);
    }
    let score = builder.copied_value(SCORE.to_owned());
    builder.output(&score, ElementType::Float32, &["any".into()]);
    let map = builder.copied_value(ANOMALY_MAP.to_owned());
    let latents = latents.map(|latent| latent.expect("every scale has latents"));
    put_out(&mut builder, &[map]);
    put_out(&mut builder, &latents);
    (builder.encode().expect("a small file"), latents)
}

#[test]
fn an_imported_checkpoint_of_anomalib_gives_anomalibs_scores_and_maps() {
    let fixture = folder("../../../shared/fixtures/anomalib-checkpoint");
    if !fixture.exists() {
        println!("absent: the fixture anomalib-checkpoint is not beside the repository");
        return;
    }
    let file = fixture.join("model.ckpt");
    let published = Checkpoint::read(&file, None).expect("a checkpoint");
    let extractor = published.extractor.expect("it is in the file");
    let network = EfficientNet::new(extractor.tensors, None).expect("an EfficientNet");
    let options = GraphOptions {
        padding: Padding::Symmetric,
        epsilon: network.epsilon(Padding::Symmetric),
        stages: vec![6],
        normalisation: Normalisation::IMAGENET,
        filters: false,
    };
    let backbone = network.graph(&options).expect("a graph");
    let backbone = Backbone::from_bytes(&file, &backbone).expect("a backbone");
    let features = FeatureSpec {
        size: Size::new(256, 256),
        outputs: vec!["stage6".to_owned()],
        normalisation: Normalisation::IMAGENET,
        light: None,
    };
    let transform = FeatureTransform {
        scales: vec![ChannelTransform::Identity; SCALES],
    };
    let model = |map| {
        let (flow, parameters) = (&published.flow, &published.parameters);
        let none = BTreeMap::new();
        let readout = Readout {
            map,
            ..Readout::default()
        };
        model_graph(
            &backbone, &features, &transform, flow, parameters, readout, &none,
        )
    };
    let io = TensorFile::open(&fixture.join("io.safetensors")).expect("it opens");
    let model = model(MapKind::Product).expect("a model");
    let (graph, latents) = behind_the_normalisation(&model, features.size);
    for number in 0..2 {
        let of = |name: &str| sample(&io.read(name).expect("it is there"), number);
        let found = run(&graph, &[of("image")]);
        for (scale, latents) in latents.iter().enumerate() {
            let z = difference(found[latents.name()].clone(), &of(&format!("z{scale}")));
            println!("image {number}, latents of scale {scale}: {z:.1e}");
            assert!(z < 1e-4, "scale {scale}: {z:e}");
        }
        let score = difference(found[SCORE].clone(), &of("score"));
        // anomalib's map is the product itself, and ours its cube root.
        let product = found[ANOMALY_MAP].iter().map(|value| value.powi(3));
        let map = difference(product, &of("map"));
        println!("image {number}, score: {score:.1e}, map: {map:.1e}");
        assert!(score < 1e-4 && map < 1e-4, "score {score:e}, map {map:e}");
    }
}
