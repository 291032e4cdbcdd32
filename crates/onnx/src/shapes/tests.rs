//! The rules agree with what ONNX Runtime computes when it runs the node. (Its own prediction is
//! not a measure: up to operator set 21 it is one too many for some pools that round up.)

use std::collections::HashMap;

use ort::session::Session;
use ort::value::Tensor;
use prost::Message;

use super::{ShapeError, infer};
use crate::builder::{ElementType, GraphBuilder};
use crate::proto::{AttributeProto, AttributeType, ModelProto, NodeProto, TensorProto};
use crate::runtime::Runtime;

const INPUT: [usize; 4] = [1, 6, 13, 17];

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        ints: values.to_vec(),
        r#type: Some(AttributeType::Ints as i32),
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        i: Some(value),
        r#type: Some(AttributeType::Int as i32),
        ..Default::default()
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        s: Some(value.as_bytes().to_vec()),
        r#type: Some(AttributeType::String as i32),
        ..Default::default()
    }
}

/// A constant input of the node under test.
enum Constant {
    Integers(&'static [i64]),
    /// Zeros of this shape.
    Floats(&'static [usize]),
    Scales(&'static [f32]),
    LeftOut,
}
use Constant::{Floats, Integers, LeftOut, Scales};

/// A model of one node, whose first input is the image and whose others are `constants`.
fn model(
    operator: &str,
    constants: &[Constant],
    attributes: Vec<AttributeProto>,
    outputs: usize,
) -> ModelProto {
    let mut builder = GraphBuilder::new("one node", 17);
    let x = builder.input("x", ElementType::Float32, &INPUT.map(Into::into));
    let mut input = vec![x.name().to_owned()];
    for constant in constants {
        input.push(match constant {
            Integers(values) => builder.integers("c", values).name().to_owned(),
            Floats(shape) => {
                let zeros = vec![0.0; shape.iter().product()];
                builder.floats("c", shape, &zeros).name().to_owned()
            }
            Scales(scales) => builder
                .floats("c", &[scales.len()], scales)
                .name()
                .to_owned(),
            LeftOut => String::new(),
        });
    }
    let bytes = builder.encode().expect("a small file");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("what was encoded");
    let graph = model.graph.as_mut().expect("a graph");
    let output: Vec<String> = (0..outputs).map(|index| format!("y{index}")).collect();
    for name in &output {
        let mut value = graph.input[0].clone();
        value.name = Some(name.clone());
        if let Some(crate::proto::TypeValue::Tensor(tensor)) =
            value.r#type.as_mut().and_then(|of| of.value.as_mut())
        {
            tensor.shape = None;
        }
        graph.output.push(value);
    }
    graph.node.push(NodeProto {
        input,
        output,
        op_type: Some(operator.to_owned()),
        attribute: attributes,
        ..Default::default()
    });
    model
}

fn inferred(model: &ModelProto) -> Result<Vec<Vec<usize>>, ShapeError> {
    let graph = model.graph.as_ref().expect("a graph");
    let constants: HashMap<&str, &TensorProto> = graph
        .initializer
        .iter()
        .map(|tensor| (tensor.name(), tensor))
        .collect();
    let nodes: Vec<&NodeProto> = graph.node.iter().collect();
    let shapes = infer(&nodes, &constants, "x", &INPUT)?;
    Ok(graph
        .output
        .iter()
        .map(|output| shapes[output.name()].clone())
        .collect())
}

fn check(operator: &str, constants: &[Constant], attributes: Vec<AttributeProto>, outputs: usize) {
    let model = model(operator, constants, attributes, outputs);
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(runtime.environment())
        .and_then(|mut builder| builder.commit_from_memory(&model.encode_to_vec()))
        .unwrap_or_else(|error| panic!("{operator}: {error}"));
    let zeros = vec![0.0_f32; INPUT.iter().product()];
    let image = Tensor::from_array((INPUT, zeros)).expect("a tensor");
    let found = session.run(ort::inputs![&image]).expect("a run");
    let shape = |output: usize| -> Vec<usize> {
        let (shape, _) = found[output].try_extract_tensor::<f32>().expect("floats");
        shape.iter().map(|&size| size as usize).collect()
    };
    let expected: Vec<_> = (0..outputs).map(shape).collect();
    assert_eq!(inferred(&model), Ok(expected), "{operator}");
}

#[test]
fn windows_slide_as_in_onnx_runtime() {
    let weight: &'static [usize] = &[4, 6, 3, 5];
    check("Conv", &[Floats(weight)], vec![], 1);
    check(
        "Conv",
        &[Floats(weight)],
        vec![ints("strides", &[2, 3]), ints("pads", &[1, 2, 0, 1])],
        1,
    );
    check(
        "Conv",
        &[Floats(weight)],
        vec![ints("dilations", &[2, 2])],
        1,
    );
    for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let attributes = vec![ints("strides", &[2, 2]), text("auto_pad", auto_pad)];
        check("Conv", &[Floats(weight)], attributes, 1);
    }
    let grouped = vec![int("group", 6)];
    check("Conv", &[Floats(&[6, 1, 3, 3])], grouped, 1);
    for operator in ["AveragePool", "MaxPool"] {
        for ceil_mode in [0, 1] {
            for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 1), (2, 3, 1), (3, 4, 0)] {
                let attributes = vec![
                    ints("kernel_shape", &[kernel; 2]),
                    ints("strides", &[stride; 2]),
                    ints("pads", &[pad; 4]),
                    int("ceil_mode", ceil_mode),
                ];
                check(operator, &[], attributes, 1);
            }
        }
    }
}

#[test]
fn reductions_and_global_pools_agree() {
    check("GlobalAveragePool", &[], vec![], 1);
    check("GlobalMaxPool", &[], vec![], 1);
    check("ReduceMean", &[], vec![ints("axes", &[2, -1])], 1);
    check(
        "ReduceMean",
        &[],
        vec![ints("axes", &[1]), int("keepdims", 0)],
        1,
    );
    check("ReduceMean", &[], vec![], 1);
    check("ReduceSum", &[Integers(&[2, 3])], vec![], 1);
    check("ReduceSum", &[], vec![int("noop_with_empty_axes", 1)], 1);
}

#[test]
fn elementwise_operators_agree() {
    check("Relu", &[], vec![], 1);
    check("HardSwish", &[], vec![], 1);
    check("PRelu", &[Floats(&[6, 1, 1])], vec![], 1);
    let statistics = || [Floats(&[6]), Floats(&[6]), Floats(&[6]), Floats(&[6])];
    check("BatchNormalization", &statistics(), vec![], 1);
    check("Add", &[Floats(&[6, 1, 1])], vec![], 1);
    check("Mul", &[Floats(&[])], vec![], 1);
    check("Div", &[Floats(&[2, 1, 6, 1, 17])], vec![], 1);
    check("Max", &[Floats(&[17]), Floats(&[13, 1])], vec![], 1);
}

#[test]
fn operators_that_move_elements_agree() {
    check(
        "Concat",
        &[Floats(&[1, 2, 13, 17])],
        vec![int("axis", 1)],
        1,
    );
    check(
        "Concat",
        &[Floats(&[1, 6, 13, 1])],
        vec![int("axis", -1)],
        1,
    );
    check("Split", &[Integers(&[2, 4])], vec![int("axis", 1)], 2);
    check("Split", &[], vec![int("axis", 1)], 3);
    check("Flatten", &[], vec![], 1);
    check("Flatten", &[], vec![int("axis", -2)], 1);
    check("Transpose", &[], vec![ints("perm", &[0, 2, 3, 1])], 1);
    check("Transpose", &[], vec![], 1);
    check("Reshape", &[Integers(&[0, 3, 2, -1])], vec![], 1);
    check("Reshape", &[Integers(&[6, 221])], vec![], 1);
    check("Unsqueeze", &[Integers(&[0, -1])], vec![], 1);
    check("Squeeze", &[Integers(&[0])], vec![], 1);
    check("Squeeze", &[], vec![], 1);
    check("Pad", &[Integers(&[0, 0, 1, 2, 0, 0, 3, 4])], vec![], 1);
    check(
        "Slice",
        &[Integers(&[1]), Integers(&[-1]), Integers(&[2])],
        vec![],
        1,
    );
    let backwards = [
        Integers(&[-1, 0]),
        Integers(&[i64::MIN, 9]),
        Integers(&[3, 2]),
        Integers(&[-2, 4]),
    ];
    check("Slice", &backwards, vec![], 1);
    check("Slice", &[Integers(&[0]), Integers(&[i64::MAX])], vec![], 1);
    check(
        "Resize",
        &[LeftOut, Scales(&[1.0, 1.0, 2.0, 1.5])],
        vec![],
        1,
    );
    check(
        "Resize",
        &[LeftOut, LeftOut, Integers(&[1, 6, 20, 20])],
        vec![],
        1,
    );
}

#[test]
fn matrix_products_agree() {
    check("MatMul", &[Floats(&[17, 9])], vec![], 1);
    check("MatMul", &[Floats(&[6, 17, 2])], vec![], 1);
}

#[test]
fn what_is_not_known_is_an_error_that_names_the_node() {
    let unknown = inferred(&model("Det", &[], vec![], 1)).expect_err("must be refused");
    assert_eq!(
        (unknown.node.as_str(), unknown.operator.as_str()),
        ("y0", "Det")
    );
    let too_small = model("Conv", &[Floats(&[4, 6, 15, 15])], vec![], 1);
    assert!(inferred(&too_small).is_err());
    let no_fit = model("Add", &[Floats(&[5])], vec![], 1);
    assert!(inferred(&no_fit).is_err());
}

#[test]
fn sizes_beyond_counting_are_refused_and_never_overflow() {
    let far = i64::MAX;
    let constant = |name: &str, values: &[i64]| TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(crate::proto::DataType::Int64 as i32),
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..TensorProto::default()
    };
    let huge = TensorProto {
        name: Some("huge".to_owned()),
        dims: vec![far, far, far, far],
        ..TensorProto::default()
    };
    let large = constant("large", &[0, 0, far, far, 0, 0, far, far]);
    let sizes = constant("sizes", &[far, far, far, far]);
    let least = constant("least", &[i64::MIN]);
    // Axis by axis, that would be 10^12 steps.
    let many = constant("many", &(0..1_000_000).collect::<Vec<i64>>());
    let constants = [&huge, &large, &sizes, &least, &many].map(|tensor| (tensor.name(), tensor));
    let constants = HashMap::from(constants);
    for (operator, inputs) in [
        ("Conv", &["image", "huge"][..]),
        ("Pad", &["image", "large"]),
        ("Reshape", &["image", "sizes"]),
        ("Resize", &["image", "", "", "sizes"]),
        ("Slice", &["image", "least", "least", "", "least"]),
        ("Unsqueeze", &["image", "least"]),
        ("Unsqueeze", &["image", "many"]),
        ("Concat", &["huge", "huge"]),
        ("Flatten", &["huge"]),
        ("Split", &["image"]),
    ] {
        let node = NodeProto {
            op_type: Some(operator.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: Vec::new(),
            ..NodeProto::default()
        };
        // A slice backwards by the least step has a shape.
        let outcome = infer(&[&node], &constants, "image", &[1, 3, 8, 8]);
        assert!(
            outcome.is_err() || operator == "Slice",
            "{operator}: {outcome:?}"
        );
    }
    let far = 1 << 40;
    assert!(infer(&[], &HashMap::new(), "image", &[1, 3, far, far]).is_err());
}
