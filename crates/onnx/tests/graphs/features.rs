//! The feature graph: the right pixels reach the backbone, and its maps come out in order.

use std::path::Path;

use flawd_core::image::Size;
use flawd_onnx::builder::{Dimension, ElementType, GraphBuilder, Value, Window};
use flawd_onnx::{
    Backbone, ChannelOrder, FeatureChoice, FeatureError, FeatureExtractor, FeatureSpec, ModelError,
    Normalisation, SessionOptions, feature_graph,
};
use ndarray::{Array3, Axis, concatenate};

use crate::common::{
    COARSE, FINE, backbone, difference, features, image, reference_features, runtime,
};
use crate::reference::average_pool;

fn extractor(spec: &FeatureSpec, opset: i64) -> FeatureExtractor {
    let graph = feature_graph(&backbone(opset), spec).expect("a graph");
    FeatureExtractor::load(runtime().with(&SessionOptions::default()), &graph).expect("a session")
}

fn check(spec: &FeatureSpec, expected: impl Fn(&[Array3<f64>; 2]) -> Array3<f64>) {
    let image = image(spec.size, 1);
    let mut extractor = extractor(spec, 17);
    let found = extractor.run(&image).expect("features");
    for (found, expected_outputs) in found.iter().zip(&reference_features(spec, &image)) {
        let expected = expected(expected_outputs);
        assert_eq!(found.shape(), expected.shape());
        assert!(difference(found, expected) < 1e-6);
    }
}

#[test]
fn features_are_those_of_the_normalised_image_and_its_strided_slices() {
    check(&features(Size::new(32, 32), &[COARSE.0]), |[_, coarse]| {
        coarse.clone()
    });
}

#[test]
fn an_image_need_not_be_square() {
    check(&features(Size::new(32, 80), &[COARSE.0]), |[_, coarse]| {
        coarse.clone()
    });
}

#[test]
fn a_backbone_may_want_blue_first() {
    let mut spec = features(Size::new(16, 32), &[FINE.0]);
    spec.normalisation.channel_order = ChannelOrder::Bgr;
    check(&spec, |[fine, _]| fine.clone());
}

#[test]
fn finer_outputs_are_averaged_to_the_coarsest_grid_and_joined_in_the_order_asked() {
    let joined = |parts: [Array3<f64>; 2]| {
        concatenate(Axis(0), &parts.each_ref().map(|part| part.view())).expect("one grid")
    };
    let size = Size::new(48, 32);
    check(&features(size, &[FINE.0, COARSE.0]), |[fine, coarse]| {
        joined([average_pool(fine, 2), coarse.clone()])
    });
    check(&features(size, &[COARSE.0, FINE.0]), |[fine, coarse]| {
        joined([coarse.clone(), average_pool(fine, 2)])
    });
}

#[test]
fn the_shape_is_known_before_anything_runs() {
    for (outputs, channels, stride) in [
        (vec![FINE.0], FINE.1, FINE.2),
        (vec![COARSE.0], COARSE.1, COARSE.2),
        (vec![FINE.0, COARSE.0], FINE.1 + COARSE.1, COARSE.2),
    ] {
        let spec = features(Size::new(32, 48), &outputs);
        let shape = spec.shape(&backbone(17)).expect("a shape");
        assert_eq!((shape.channels, shape.stride), (channels, stride));
        let extractor = extractor(&spec, 17);
        assert_eq!(extractor.input_size(), spec.size);
        let maps = shape.maps.map(|map| [channels, map.height, map.width]);
        assert_eq!(extractor.shapes(), maps);
    }
}

#[test]
fn a_size_that_the_scales_cannot_divide_is_refused_with_sizes_that_work() {
    let refused = |size| {
        let spec = features(size, &[COARSE.0]);
        spec.shape(&backbone(17)).expect_err("must be refused")
    };
    let error = refused(Size::new(40, 100));
    let expected = vec![Size::new(32, 96), Size::new(48, 112)];
    match &error {
        FeatureError::SizeDoesNotDivide {
            unit: 16,
            stride: 4,
            nearest,
            ..
        } => {
            assert_eq!(*nearest, expected);
        }
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("32x96, 48x112"), "{error}");
    match refused(Size::new(3, 32)) {
        FeatureError::SizeDoesNotDivide { nearest, .. } => {
            assert_eq!(nearest, [Size::new(16, 32)]);
        }
        other => panic!("{other}"),
    }
    assert!(refused(Size::new(0, 0)).to_string().contains("16x16"));
}

/// The error for a backbone that `build` makes, with its outputs `a` and `b`, at 48x48.
fn refused(build: impl Fn(&mut GraphBuilder, &Value) -> Vec<Value>) -> FeatureError {
    let mut builder = GraphBuilder::new("backbone", 17);
    let any: [Dimension; 4] = ["n".into(), 3.into(), "h".into(), "w".into()];
    let image = builder.input("image", ElementType::Float32, &any);
    let outputs = build(&mut builder, &image);
    for output in &outputs {
        builder.output(output, ElementType::Float32, &any);
    }
    let bytes = builder.encode().expect("a small file");
    let backbone = Backbone::from_bytes(Path::new("backbone.onnx"), &bytes).expect("a backbone");
    let spec = features(Size::new(48, 48), &backbone.outputs());
    spec.shape(&backbone).expect_err("must be refused")
}

fn layer(builder: &mut GraphBuilder, name: &str, x: &Value, window: Window) -> Value {
    let shape = [1, 3, window.kernel, window.kernel];
    let weight = vec![1.0; shape.iter().product()];
    let weight = builder.floats(&format!("{name}.weight"), &shape, &weight);
    builder.convolution(name, x, &weight, None, window)
}

#[test]
fn maps_that_do_not_halve_are_refused() {
    let unpadded = Window {
        padding: [0; 2],
        ..Window::same(3, 2)
    };
    let error = refused(|builder, image| vec![layer(builder, "a", image, unpadded)]);
    assert!(matches!(error, FeatureError::MapsDoNotHalve { .. }));
    assert!(error.to_string().contains("23x23, 11x11, 5x5"), "{error}");
}

/// As a vision transformer with its embedding of places: made for one size.
#[test]
fn a_backbone_that_takes_one_size_alone_is_refused_with_the_size_that_it_does_not_take() {
    let error = refused(|builder, image| {
        let places = builder.floats("places", &[1, 3, 48, 48], &[0.5; 3 * 48 * 48]);
        let placed = builder.add("placed", image, &places);
        vec![layer(builder, "a", &placed, Window::same(3, 2))]
    });
    assert!(matches!(error, FeatureError::OneSize { .. }), "{error}");
    let said = error.to_string();
    for part in [
        "backbone.onnx takes 48x48, and not 24x24",
        "any height and width",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn grids_that_do_not_nest_are_refused() {
    let error = refused(|builder, image| {
        [("a", 2), ("b", 3)]
            .map(|(name, stride)| layer(builder, name, image, Window::same(1, stride)))
            .to_vec()
    });
    match error {
        FeatureError::GridsDoNotNest { coarse, fine } => {
            assert_eq!((coarse.as_str(), fine.as_str()), ("b", "a"));
        }
        other => panic!("{other}"),
    }
}

/// 48x48 does not divide by four times 5 either; but at 60x60 they would not nest.
#[test]
fn grids_that_nest_at_no_size_are_refused_and_no_size_is_proposed() {
    let error = refused(|builder, image| {
        [("a", 3), ("b", 5)]
            .map(|(name, stride)| layer(builder, name, image, Window::same(1, stride)))
            .to_vec()
    });
    assert!(
        matches!(error, FeatureError::GridsDoNotNest { .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(
        said.contains("one cell of `b`") && said.contains("--feature"),
        "{said}"
    );
}

#[test]
fn an_output_that_is_no_map_is_refused() {
    let error = refused(|builder, image| vec![builder.mean("a", image, &[2, 3], false)]);
    match error {
        FeatureError::NotAMap { output, shape, .. } => {
            assert_eq!((output.as_str(), shape), ("a", vec![1, 3]));
        }
        other => panic!("{other}"),
    }
}

/// Without this, its stride would be that of the size at which strides are probed.
#[test]
fn an_output_that_is_pooled_is_refused_and_not_the_size() {
    let error = refused(|builder, image| vec![builder.mean("a", image, &[2, 3], true)]);
    let said = error.to_string();
    assert!(matches!(error, FeatureError::Pooled { .. }), "{said}");
    for part in [
        "`a` of the backbone backbone.onnx",
        "1x1 cells",
        "--feature",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// A file may state any default. Each of these is said to be the file's, with the way out.
#[test]
fn a_default_that_the_file_cannot_keep_is_refused_with_the_way_out() {
    let with_default = |default: &str| {
        let mut builder = GraphBuilder::new("backbone", 17);
        let any: [Dimension; 4] = ["n".into(), 3.into(), "h".into(), "w".into()];
        let image = builder.input("image", ElementType::Float32, &any);
        for (name, stride) in [("a", 2), ("b", 4)] {
            let output = layer(&mut builder, name, &image, Window::same(1, stride));
            builder.output(&output, ElementType::Float32, &any);
        }
        builder.metadata("default_outputs", default);
        let bytes = builder.encode().expect("a small file");
        let backbone = Backbone::from_bytes(Path::new("b.onnx"), &bytes).expect("a backbone");
        let choice = FeatureChoice {
            outputs: Vec::new(),
            normalisation: Some(Normalisation::IMAGENET),
        };
        let spec = choice.complete(&backbone, Size::new(48, 48));
        spec.map(|spec| spec.outputs)
    };
    assert_eq!(with_default(" b , a,").expect("both are there"), ["b", "a"]);
    let many = (0..20_000).map(|number| format!("o{number},")).collect();
    let (twice, long) = ("a,".repeat(20_000), "x".repeat(1_000_000));
    for (default, named) in [
        (
            "a,c".to_owned(),
            "names `c`, which is not one of its outputs",
        ),
        ("A".to_owned(), "names `A`"),
        ("a;b".to_owned(), "names `a;b`"),
        ("\u{1b}[31ma\n".to_owned(), r"names `\u{1b}[31ma`"),
        ("a,b,a".to_owned(), "names `a`, which is named twice"),
        (twice, "names `a`, which is named twice"),
        (many, "names `o0`"),
        (long, "xxx…`"),
    ] {
        let error = with_default(&default).expect_err("must be refused");
        let said = error.to_string();
        assert!(said.contains(named) && said.len() < 300, "{said}");
        for part in [
            "default_outputs of the backbone b.onnx",
            "--feature from a, b",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    // As if the file stated none.
    let error = with_default(" , ,").expect_err("must be refused");
    assert!(
        matches!(error, FeatureError::ChooseOutput { .. }),
        "{error}"
    );
}

#[test]
fn an_output_that_is_chosen_twice_is_refused() {
    let spec = features(Size::new(32, 32), &[COARSE.0, FINE.0, COARSE.0]);
    let error = spec.shape(&backbone(17)).expect_err("must be refused");
    assert!(
        error.to_string().contains("`coarse` of the backbone"),
        "{error}"
    );
}

#[test]
fn an_output_that_is_not_there_is_refused_with_those_that_are() {
    let spec = features(Size::new(32, 32), &[COARSE.0, "layer4"]);
    let error = feature_graph(&backbone(17), &spec)
        .expect_err("must be refused")
        .to_string();
    assert_eq!(
        error,
        "the backbone tiny.onnx has no output `layer4`; it has fine, coarse, unused"
    );
    let spec = features(Size::new(32, 32), &[]);
    let error = feature_graph(&backbone(17), &spec)
        .expect_err("must be refused")
        .to_string();
    assert!(error.contains("fine, coarse, unused"), "{error}");
}

#[test]
fn an_image_of_another_size_is_refused() {
    let mut extractor = extractor(&features(Size::new(32, 32), &[COARSE.0]), 17);
    match extractor.run(&[0; 100]) {
        Err(ModelError::WrongInput {
            expected: 3072,
            found: 100,
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn runs_do_not_disturb_each_other() {
    let spec = features(Size::new(32, 32), &[COARSE.0]);
    let mut extractor = extractor(&spec, 17);
    let first = extractor.run(&image(spec.size, 1)).expect("features");
    let second = extractor.run(&image(spec.size, 2)).expect("features");
    assert_ne!(first, second);
    assert_eq!(
        extractor.run(&image(spec.size, 1)).expect("features"),
        first
    );
}
