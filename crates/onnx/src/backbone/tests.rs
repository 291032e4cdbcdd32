//! Which files are accepted as backbones, and the errors for the others.

use std::path::Path;

use flawd_core::normalisation::{ChannelOrder, Normalisation};
use prost::Message;

use super::{Backbone, BackboneError};
use crate::builder::{Dimension, ElementType, GraphBuilder};
use crate::proto::{
    AttributeProto, AttributeType, DataLocation, ModelProto, NodeProto, TensorProto,
};

/// A model of one node, `y = |x|`.
fn model(opset: i64, element: ElementType, shape: &[Dimension]) -> ModelProto {
    let mut builder = GraphBuilder::new("abs", opset);
    let x = builder.input("x", element, shape);
    let y = builder.abs("y", &x);
    builder.output(&y, element, shape);
    let bytes = builder.encode().expect("a small file");
    ModelProto::decode(bytes.as_slice()).expect("what was encoded")
}

fn image() -> [Dimension; 4] {
    ["n".into(), 3.into(), "h".into(), "w".into()]
}

fn open(model: &ModelProto) -> Result<Backbone, BackboneError> {
    Backbone::from_bytes(Path::new("some.onnx"), &model.encode_to_vec())
}

fn changed(change: impl Fn(&mut ModelProto)) -> Result<Backbone, BackboneError> {
    let mut model = model(17, ElementType::Float32, &image());
    change(&mut model);
    open(&model)
}

#[test]
fn a_plain_model_is_taken() {
    let backbone = changed(|_| {}).expect("a backbone");
    assert_eq!(backbone.outputs(), ["y"]);
    assert_eq!(backbone.normalisation(), None);
}

#[test]
fn an_output_that_nothing_computes_is_named() {
    for name in ["z", ""] {
        let outcome = changed(|model| {
            let graph = model.graph.as_mut().expect("a graph");
            graph.output[0].name = Some(name.to_owned());
        });
        match outcome {
            Err(BackboneError::NotComputed { output, .. }) => assert_eq!(output, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Backbone::open(Path::new("/nowhere/b.onnx")).expect_err("must be refused");
    assert_eq!(
        error.to_string(),
        "cannot read the backbone /nowhere/b.onnx; give an ONNX file"
    );
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let whole = model(17, ElementType::Float32, &image()).encode_to_vec();
    let read = |bytes: &[u8]| Backbone::from_bytes(Path::new("some.onnx"), bytes);
    for cut in [whole.len() / 2, whole.len() - 1] {
        assert!(matches!(
            read(&whole[..cut]),
            Err(BackboneError::Damaged { .. })
        ));
    }
    assert!(matches!(
        read(b"not a model"),
        Err(BackboneError::Damaged { .. })
    ));
    assert!(matches!(read(b""), Err(BackboneError::NoGraph { .. })));
}

#[test]
fn an_operator_set_that_is_too_old_is_refused_with_the_way_out() {
    let error = open(&model(12, ElementType::Float32, &image())).expect_err("must be refused");
    assert!(matches!(
        error,
        BackboneError::OpsetTooOld { found: 12, .. }
    ));
    assert!(error.to_string().contains("version_converter"), "{error}");
    let error = changed(|model| model.opset_import.clear()).expect_err("must be refused");
    assert!(matches!(error, BackboneError::OpsetTooOld { found: 0, .. }));
}

#[test]
fn weights_in_another_file_are_refused_with_the_tensor() {
    let error = changed(|model| {
        let graph = model.graph.as_mut().expect("a graph");
        graph.initializer.push(TensorProto {
            name: Some("w".to_owned()),
            data_location: Some(DataLocation::External as i32),
            ..Default::default()
        });
    });
    match error {
        Err(BackboneError::ExternalData { tensor, .. }) => assert_eq!(tensor, "w"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn anything_but_one_image_of_three_channels_is_refused_with_what_is_there() {
    let refused = |element, shape: &[Dimension]| {
        let error = open(&model(17, element, shape)).expect_err("must be refused");
        assert!(matches!(error, BackboneError::NotOneImage { .. }));
        error.to_string()
    };
    let grey = ["n".into(), 1.into(), "h".into(), "w".into()];
    assert!(refused(ElementType::Float32, &grey).contains("`x`, which is [?, 1, ?, ?]"));
    let channels_last = [1.into(), "h".into(), "w".into(), 3.into()];
    assert!(refused(ElementType::Float32, &channels_last).contains("[1, ?, ?, 3]"));
    let batch = [8.into(), 3.into(), "h".into(), "w".into()];
    assert!(refused(ElementType::Float32, &batch).contains("[8, 3, ?, ?]"));
    assert!(refused(ElementType::Uint8, &image()).contains("not float32"));

    let error = changed(|model| {
        let graph = model.graph.as_mut().expect("a graph");
        let mut second = graph.input[0].clone();
        second.name = Some("mask".to_owned());
        graph.input.push(second);
    });
    let error = error.expect_err("must be refused").to_string();
    assert!(error.contains("2 inputs (x, mask)"), "{error}");
}

#[test]
fn branches_are_refused_with_the_node() {
    let error = changed(|model| {
        let graph = model.graph.as_mut().expect("a graph");
        let inner = graph.clone();
        graph.node.push(NodeProto {
            op_type: Some("If".to_owned()),
            output: vec!["z".to_owned()],
            attribute: vec![AttributeProto {
                name: Some("then_branch".to_owned()),
                g: Some(inner),
                r#type: Some(AttributeType::Graph as i32),
                ..Default::default()
            }],
            ..Default::default()
        });
    });
    match error {
        Err(BackboneError::ControlFlow { node, operator, .. }) => {
            assert_eq!((node.as_str(), operator.as_str()), ("z", "If"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_constant_among_the_inputs_is_no_second_image() {
    let backbone = changed(|model| {
        let graph = model.graph.as_mut().expect("a graph");
        let mut constant = graph.input[0].clone();
        constant.name = Some("w".to_owned());
        graph.input.insert(0, constant);
        graph.initializer.push(TensorProto {
            name: Some("w".to_owned()),
            ..Default::default()
        });
    });
    assert_eq!(backbone.expect("a backbone").input(), "x");
}

#[test]
fn the_normalisation_is_read_and_a_broken_one_is_refused() {
    let with = |properties: &[(&str, &str)]| {
        let mut builder = GraphBuilder::new("abs", 17);
        let x = builder.input("x", ElementType::Float32, &image());
        let y = builder.abs("y", &x);
        builder.output(&y, ElementType::Float32, &image());
        for (key, value) in properties {
            builder.metadata(key, value);
        }
        let bytes = builder.encode().expect("a small file");
        Backbone::from_bytes(Path::new("some.onnx"), &bytes)
    };
    let backbone = with(&[
        ("mean", "0.1,0.2,0.3"),
        ("std", "1,1,0.5"),
        ("channel_order", "bgr"),
    ]);
    let expected = Normalisation {
        mean: [0.1, 0.2, 0.3],
        std: [1.0, 1.0, 0.5],
        channel_order: ChannelOrder::Bgr,
    };
    assert_eq!(
        backbone.expect("a backbone").normalisation(),
        Some(expected)
    );
    // Too few numbers, and one for values from 0 to 255.
    for std in ["1,1", "58.4,57.1,57.4"] {
        let broken = with(&[("mean", "0.1,0.2,0.3"), ("std", std)]);
        assert!(matches!(broken, Err(BackboneError::Normalisation { .. })));
    }
}
