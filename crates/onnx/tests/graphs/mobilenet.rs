//! A real pretrained backbone, if available.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::anomaly::Readout;
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::permutation::PermutationKind;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_onnx::{
    Backbone, FeatureExtractor, FeatureSpec, Model, SessionOptions, feature_graph, model_graph,
};

use crate::common::{Numbers, image, runtime};

fn backbone() -> Option<Backbone> {
    let file = "../../../shared/data/backbones/mobilenet_v2_features.onnx";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if !path.exists() {
        println!("absent: {file} is not here");
        return None;
    }
    Some(Backbone::open(&path).expect("a backbone"))
}

fn spec(backbone: &Backbone, side: usize, outputs: &[&str]) -> FeatureSpec {
    FeatureSpec {
        size: Size::new(side, side),
        outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
        normalisation: backbone.normalisation().expect("the file says it"),
        light: None,
    }
}

#[test]
fn its_outputs_normalisation_and_shapes_are_read() {
    let Some(backbone) = backbone() else { return };
    assert_eq!(
        backbone.outputs(),
        ["features_s8", "features_s16", "features_s32"]
    );
    let normalisation = backbone.normalisation().expect("the file says it");
    assert_eq!(
        (normalisation.mean, normalisation.std),
        ([0.5; 3], [0.5; 3])
    );
    for (outputs, channels, stride) in [
        (vec!["features_s8"], 32, 8),
        (vec!["features_s16"], 96, 16),
        (vec!["features_s32"], 320, 32),
        (vec!["features_s16", "features_s32"], 416, 32),
    ] {
        let shape = spec(&backbone, 384, &outputs)
            .shape(&backbone)
            .expect("a shape");
        assert_eq!((shape.channels, shape.stride), (channels, stride));
        assert_eq!(shape.maps[0], Size::new(384 / stride, 384 / stride));
    }
    let error = spec(&backbone, 416, &["features_s32"]).shape(&backbone);
    let error = error.expect_err("must be refused").to_string();
    assert!(error.contains("384x384, 512x512"), "{error}");
}

#[test]
fn a_flow_that_changes_nothing_scores_the_features_themselves() {
    let Some(backbone) = backbone() else { return };
    let spec = spec(&backbone, 128, &["features_s32"]);
    let image = image(spec.size, 9);
    let options = SessionOptions::default();
    let graph = feature_graph(&backbone, &spec).expect("a graph");
    let mut extractor =
        FeatureExtractor::load(runtime().with(&options), &graph).expect("a session");
    let features = extractor.run(&image).expect("features");
    let all = || features.iter().flatten().map(|&x| f64::from(x));
    let expected = all().map(|x| x * x / 2.0).sum::<f64>() / all().count() as f64;

    let flow = FlowSpec {
        channels: 320,
        hidden: 2,
        kernels: vec![3, 3],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    };
    let layout = flow.layout();
    let mut parameters = Numbers(1).many(layout.len);
    for subnet in layout
        .blocks
        .iter()
        .flat_map(|block| [&block.s1, &block.s2])
    {
        parameters[subnet.gamma.clone()].fill(0.0);
    }
    let transform = FeatureTransform {
        scales: vec![ChannelTransform::Identity; 3],
    };
    let model = model_graph(
        &backbone,
        &spec,
        &transform,
        &flow,
        &parameters,
        Readout::default(),
        &BTreeMap::new(),
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.expect("a graph")).expect("a file");
    let mut model = Model::load(runtime().with(&options), &path).expect("a model");
    let found = f64::from(model.run(&image).expect("a prediction").score);
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
}
