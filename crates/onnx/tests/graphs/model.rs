//! The shipped model: its score and map are those of the flow's formulas.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flawd_core::anomaly::{MapKind, Readout};
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::permutation::PermutationKind;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_onnx::{ExportError, FeatureSpec, Model, ModelError, SessionOptions, model_graph};
use tempfile::TempDir;

use crate::common::{
    COARSE, FINE, Numbers, backbone, difference, features, image, reference_features, runtime,
};
use crate::reference::{self, Maps};

fn identity() -> FeatureTransform {
    FeatureTransform {
        scales: vec![ChannelTransform::Identity; 3],
    }
}

fn flow(channels: usize) -> FlowSpec {
    FlowSpec {
        channels,
        hidden: 6,
        kernels: vec![3, 5],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    }
}

/// Parameters with which every part of the flow matters: no gain is zero.
fn parameters(flow: &FlowSpec) -> Vec<f32> {
    // A sum over more channels is kept as large.
    let width = (flow.hidden as f32 / 6.0).sqrt();
    Numbers(3)
        .many(flow.layout().len)
        .iter()
        .map(|x| (x * 0.4 + 0.05) / width)
        .collect()
}

/// A model file, deleted with the value.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

fn file(bytes: &[u8]) -> File {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).expect("a file");
    File {
        path,
        _folder: folder,
    }
}

fn export(
    spec: &FeatureSpec,
    transform: &FeatureTransform,
    flow: &FlowSpec,
    opset: i64,
) -> Result<Vec<u8>, ExportError> {
    export_with(spec, transform, flow, MapKind::Finest, opset)
}

fn export_with(
    spec: &FeatureSpec,
    transform: &FeatureTransform,
    flow: &FlowSpec,
    map: MapKind,
    opset: i64,
) -> Result<Vec<u8>, ExportError> {
    let readout = Readout {
        map,
        ..Readout::default()
    };
    let metadata = BTreeMap::from([("part".to_owned(), "gear".to_owned())]);
    model_graph(
        &backbone(opset),
        spec,
        transform,
        flow,
        &parameters(flow),
        readout,
        &metadata,
    )
}

fn load(bytes: &[u8]) -> Result<Model, ModelError> {
    Model::load(
        runtime().with(&SessionOptions::default()),
        &file(bytes).path,
    )
}

/// Compares the exported model with the reference on one image.
fn check(spec: &FeatureSpec, transform: &FeatureTransform, flow: &FlowSpec, opset: i64) {
    let image = image(spec.size, 5);
    let run = |map| {
        let graph = export_with(spec, transform, flow, map, opset).expect("a graph");
        let mut model = load(&graph).expect("a model");
        let found = model.run(&image).expect("a prediction");
        assert_eq!(found.anomaly_map.size(), model.map_size());
        found
    };
    let found = run(MapKind::Finest);

    let features: Maps = reference_features(spec, &image).map(|[fine, coarse]| {
        if spec.outputs == [FINE.0] {
            fine
        } else {
            coarse
        }
    });
    let transformed = reference::transformed(transform, &features);
    let latents = reference::latents(flow, &parameters(flow), &transformed);

    assert!(difference(&[found.score], [reference::score(&latents)]) < 1e-5);
    let expected = reference::anomaly_map(&latents);
    assert!(difference(found.anomaly_map.values(), expected) < 1e-5);

    let product = run(MapKind::Product);
    assert_eq!(product.score, found.score);
    assert_eq!(product.anomaly_map.size(), spec.size);
    let expected = reference::product_map(&latents, [spec.size.height, spec.size.width]);
    assert!(difference(product.anomaly_map.values(), expected) < 1e-5);
}

#[test]
fn score_and_map_are_those_of_the_formulas() {
    check(
        &features(Size::new(64, 64), &[COARSE.0]),
        &identity(),
        &flow(4),
        17,
    );
}

#[test]
fn a_wide_flow_gives_the_same_numbers_by_another_order_of_additions() {
    let wide = FlowSpec {
        hidden: 256,
        kernels: vec![1, 3, 5],
        ..flow(4)
    };
    check(
        &features(Size::new(32, 48), &[COARSE.0]),
        &identity(),
        &wide,
        17,
    );
}

#[test]
fn an_odd_number_of_channels_splits_into_a_smaller_first_half() {
    check(
        &features(Size::new(32, 32), &[FINE.0]),
        &identity(),
        &flow(3),
        17,
    );
}

#[test]
fn an_image_need_not_be_square() {
    check(
        &features(Size::new(32, 80), &[COARSE.0]),
        &identity(),
        &flow(4),
        17,
    );
}

#[test]
fn the_clamp_can_be_off_and_permutations_of_either_kind() {
    let flow = FlowSpec {
        clamp: 0.0,
        kernels: vec![1, 3],
        permutation: PermutationKind::NumpyPcg64,
        ..flow(4)
    };
    check(
        &features(Size::new(32, 32), &[COARSE.0]),
        &identity(),
        &flow,
        17,
    );
}

#[test]
fn every_operator_set_gives_the_same_numbers() {
    for opset in 13..=21 {
        check(
            &features(Size::new(16, 32), &[COARSE.0]),
            &identity(),
            &flow(4),
            opset,
        );
    }
}

#[test]
fn transforms_stand_between_backbone_and_flow() {
    let mut numbers = Numbers(11);
    let affine = |numbers: &mut Numbers| ChannelTransform::Affine {
        mean: numbers.many(4),
        scale: numbers.many(4),
    };
    let transform = FeatureTransform {
        scales: (0..3).map(|_| affine(&mut numbers)).collect(),
    };
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    check(&spec, &transform, &flow(4), 17);
}

#[test]
fn a_model_says_what_it_takes_and_gives() {
    let spec = features(Size::new(32, 48), &[COARSE.0]);
    let model = load(&export(&spec, &identity(), &flow(4), 17).expect("a graph")).expect("a model");
    assert_eq!(model.input_size(), Size::new(32, 48));
    assert_eq!(model.map_size(), Size::new(8, 12));
    assert_eq!(model.metadata("part"), Some("gear"));
    assert_eq!(model.metadata("colour"), None);
    assert_eq!(model.provider(), "cpu");
}

#[test]
fn the_same_model_is_the_same_file() {
    let spec = features(Size::new(32, 32), &[FINE.0, COARSE.0]);
    let export = || export(&spec, &identity(), &flow(7), 17).expect("a graph");
    assert_eq!(export(), export());
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let refused = |transform: &FeatureTransform, flow: &FlowSpec| {
        export(&spec, transform, flow, 17).expect_err("must be refused")
    };
    assert!(matches!(
        refused(&identity(), &flow(3)),
        ExportError::TransformDoesNotFit {
            scale: 0,
            features: 4,
            flow: 3,
            ..
        }
    ));
    let ragged = ChannelTransform::Affine {
        mean: vec![0.0; 4],
        scale: vec![1.0; 3],
    };
    let transform = FeatureTransform {
        scales: vec![ragged; 3],
    };
    assert!(matches!(
        refused(&transform, &flow(3)),
        ExportError::TransformDoesNotFit { .. }
    ));
    let transform = FeatureTransform {
        scales: vec![ChannelTransform::Identity; 2],
    };
    assert_eq!(
        refused(&transform, &flow(4)),
        ExportError::WrongTransformCount(2)
    );
    for (scales, cross_scale) in [(2, true), (3, false)] {
        let variant = FlowSpec {
            scales,
            cross_scale,
            ..flow(4)
        };
        let expected = ExportError::Variant {
            scales,
            cross_scale,
        };
        assert_eq!(refused(&identity(), &variant), expected);
    }
    let no_blocks = FlowSpec {
        kernels: vec![],
        ..flow(4)
    };
    assert!(matches!(
        refused(&identity(), &no_blocks),
        ExportError::Flow(_)
    ));

    let with = |parameters: &[f32]| {
        model_graph(
            &backbone(17),
            &spec,
            &identity(),
            &flow(4),
            parameters,
            Readout::default(),
            &BTreeMap::new(),
        )
        .expect_err("must be refused")
    };
    assert!(matches!(
        with(&[0.0; 3]),
        ExportError::WrongParameterCount { found: 3, .. }
    ));
    let mut bad = parameters(&flow(4));
    bad[8] = f32::NAN;
    assert!(matches!(
        with(&bad),
        ExportError::BadParameter { index: 8, .. }
    ));
}

#[test]
fn a_file_that_is_cut_short_is_said_to_be_damaged() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let whole = export(&spec, &identity(), &flow(4), 17).expect("a graph");
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 200] {
        let Err(error) = load(&whole[..length]) else {
            panic!("{length} bytes were taken")
        };
        assert!(
            matches!(error, ModelError::Damaged { .. }),
            "{length}: {error:?}"
        );
        assert!(error.to_string().contains("model.onnx"), "{error}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let graph = flawd_onnx::feature_graph(&backbone(17), &spec).expect("a graph");
    assert!(matches!(load(&graph), Err(ModelError::WrongKind { .. })));
    let backbone = crate::common::backbone_bytes(17);
    assert!(matches!(load(&backbone), Err(ModelError::WrongKind { .. })));
    assert!(matches!(
        load(b"{\"not\": \"a model\"}"),
        Err(ModelError::Damaged { .. })
    ));
    let nowhere = Model::load(
        runtime().with(&SessionOptions::default()),
        "/nowhere/m.onnx".as_ref(),
    );
    assert!(matches!(nowhere, Err(ModelError::Unreadable { .. })));
}

#[test]
fn a_score_that_is_no_number_is_an_error() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    // The limits of the graph hold back what is too large, and do not hide what is no number.
    let without_a_mean = ChannelTransform::Affine {
        mean: vec![f32::NAN; 4],
        scale: vec![1.0; 4],
    };
    let transform = FeatureTransform {
        scales: vec![without_a_mean; 3],
    };
    let mut model =
        load(&export(&spec, &transform, &flow(4), 17).expect("a graph")).expect("a model");
    match model.run(&image(spec.size, 5)) {
        Err(ModelError::NotFinite(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// The most that a model can say is that of latents at their limit, half of 250².
#[test]
fn features_beyond_all_measure_have_a_finite_score() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let huge = ChannelTransform::Affine {
        mean: vec![0.0; 4],
        scale: vec![f32::MAX; 4],
    };
    let transform = FeatureTransform {
        scales: vec![huge; 3],
    };
    let graph = export(&spec, &transform, &flow(4), 17).expect("a graph");
    let found = load(&graph).expect("a model").run(&image(spec.size, 5));
    let score = found.expect("a prediction").score;
    assert!((1000.0..=31_250.0).contains(&score), "{score}");
}

#[test]
fn a_provider_that_cannot_be_had_is_an_error_that_names_it() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let model = file(&export(&spec, &identity(), &flow(4), 17).expect("a graph"));
    let with = |providers: &[&str]| {
        let providers = providers
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect();
        let options = SessionOptions {
            providers,
            ..SessionOptions::default()
        };
        Model::load(runtime().with(&options), &model.path)
    };
    assert!(matches!(with(&[]), Err(ModelError::NoProvider)));
    for name in ["cuda", "tensorrt", "openvino"] {
        // The CPU behind it does not hide the failure.
        match with(&[name, "cpu"]) {
            Err(ModelError::Provider { provider, .. }) => assert_eq!(provider, name),
            Err(error) => panic!("{error:?}"),
            Ok(_) => println!("this machine has {name}: nothing to refuse"),
        }
    }
}
