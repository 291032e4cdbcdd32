//! Converted models: which types they state, and that they score as before.

use std::collections::HashMap;

use flawd_core::random::SplitMix64;
use ort::session::Session;
use ort::value::Tensor;

use super::*;
use crate::builder::{ElementType, GraphBuilder, Window};
use crate::kinds_tests::kinds;
use crate::runtime::Runtime;

/// The precision of every value of floating point, as the operators make it.
fn types(graph: &GraphProto) -> HashMap<String, DataType> {
    let of = |number: i32| DataType::try_from(number).expect("a type that is written");
    let mut types: HashMap<String, DataType> = (graph.initializer.iter())
        .map(|tensor| (tensor.name().to_owned(), of(tensor.data_type())))
        .collect();
    for input in &graph.input {
        let tensor = input.tensor_type().expect("a tensor");
        types.insert(input.name().to_owned(), of(tensor.elem_type()));
    }
    for node in &graph.node {
        let of_input = |place: usize| types[&node.input[place]];
        let made = match node.op_type() {
            "Cast" => of(node.int("to").expect("a type") as i32),
            "Constant" => of(node.tensor("value").expect("a tensor").data_type()),
            // The largest numbers, and where they are.
            _ => of_input(0),
        };
        for (place, output) in node.output.iter().enumerate() {
            let made = if place == 0 { made } else { DataType::Int64 };
            types.insert(output.clone(), made);
        }
    }
    types
}

/// A model of every kind, converted.
fn converted() -> Vec<(String, Vec<u8>, Vec<u8>, HalfCount)> {
    let mut all = Vec::new();
    for (name, model) in kinds() {
        let (half, count) = half_graph(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.push((name, model, half, count));
    }
    all
}

#[test]
fn convolutions_are_in_half_precision_and_what_grows_is_not() {
    for (name, _, half, count) in converted() {
        let model = ModelProto::decode(half.as_slice()).expect("a model");
        let graph = model.graph.expect("a graph");
        let types = types(&graph);
        let mut found = HalfCount::default();
        for node in &graph.node {
            let inputs = node.input.iter().filter(|input| !input.is_empty());
            let numbers: Vec<DataType> = inputs
                .map(|input| types[input])
                .filter(|kind| matches!(kind, DataType::Float | DataType::Float16))
                .collect();
            let is_half = numbers.first() == Some(&DataType::Float16);
            match node.op_type() {
                "Cast" => found.casts += 1,
                // Its factors are in single precision in any case.
                "Resize" => {}
                operator => {
                    let one = numbers.iter().all(|kind| Some(kind) == numbers.first());
                    assert!(one, "{name}: {operator} {:?} has {numbers:?}", node.name);
                    let is_single = ["Exp", "Log", "Atan", "Div", "ReduceMean", "TopK"];
                    assert!(
                        !(is_half && is_single.contains(&operator)),
                        "{name}: {operator}"
                    );
                    assert!(is_half || operator != "Conv", "{name}: {:?}", node.name);
                }
            }
        }
        for output in &graph.output {
            assert_eq!(types[output.name()], DataType::Float, "{name}");
        }
        // The image's bytes are cast in the original too.
        assert_eq!(found.casts, count.casts + 1, "{name}");
        assert!(count.half > count.casts, "{name}: {count:?}");
        let used: HashSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
        assert!(
            graph
                .initializer
                .iter()
                .all(|it| used.contains(&it.name().to_owned())),
            "{name}: a constant that nothing uses"
        );
    }
}

/// The outputs of a model for a picture, by name.
fn outputs(model: &[u8], picture: &[u8]) -> Vec<Vec<f32>> {
    let file = ModelProto::decode(model).expect("a model");
    let graph = file.graph.expect("a graph");
    let shape = graph.input[0].tensor_type().and_then(|it| it.shape.clone());
    let shape: Vec<i64> = (shape.expect("fixed").dim.iter())
        .map(|dimension| dimension.fixed().expect("fixed"))
        .collect();
    let area: i64 = shape.iter().product();
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(runtime.environment())
        .and_then(|mut builder| builder.commit_from_memory(model))
        .expect("a session");
    let pixels: Vec<u8> = picture
        .iter()
        .copied()
        .cycle()
        .take(area as usize)
        .collect();
    let picture = Tensor::from_array((shape, pixels)).expect("a tensor");
    let found = session.run(ort::inputs![picture]).expect("a run");
    let floats = |name: &str| {
        let (_, values) = found[name].try_extract_tensor::<f32>().expect("floats");
        values.to_vec()
    };
    graph
        .output
        .iter()
        .map(|output| floats(output.name()))
        .collect()
}

/// Random weights lose more than trained ones: nothing in them is small on purpose.
#[test]
fn what_a_converted_model_gives_is_near_what_it_gave() {
    let mut random = SplitMix64::new(11);
    let picture: Vec<u8> = (0..4999).map(|_| random.next_u64() as u8).collect();
    for (name, model, half, _) in converted() {
        let (before, after) = (outputs(&model, &picture), outputs(&half, &picture));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let largest = before.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            let difference = before.iter().zip(after).map(|(a, b)| (a - b).abs());
            let difference = difference.fold(0.0, f32::max);
            println!("{name}: {difference} of {largest}");
            assert!(
                difference <= 0.01 * largest,
                "{name}: {difference} of {largest}"
            );
            assert!(before != after, "{name} is not the same model");
        }
    }
}

/// A model with one convolution, whose weight is `weight`.
fn tiny(weight: f32) -> Vec<u8> {
    let mut builder = GraphBuilder::new("tiny", 17);
    let shape = [1.into(), 1.into(), 2.into(), 2.into()];
    let x = builder.input("x", ElementType::Float32, &shape);
    let weight = builder.floats("weight", &[1, 1, 1, 1], &[weight]);
    let y = builder.convolution("y", &x, &weight, None, Window::same(1, 1));
    let z = builder.exp("z", &y);
    builder.output(&z, ElementType::Float32, &shape);
    builder.encode().expect("a small file")
}

#[test]
fn what_half_precision_does_not_hold_is_refused_by_its_name() {
    let error = half_graph(&tiny(7e4)).expect_err("must be refused");
    assert_eq!(
        error,
        HalfError::TooLarge {
            name: "weight".to_owned(),
            value: 7e4
        }
    );
    assert!(half_graph(&tiny(6e4)).is_ok());
}

#[test]
fn what_is_no_model_or_in_half_precision_already_is_refused() {
    assert!(matches!(
        half_graph(b"\xff\xff"),
        Err(HalfError::Damaged(_))
    ));
    assert_eq!(half_graph(b""), Err(HalfError::NoGraph));
    let (half, _) = half_graph(&tiny(1.0)).expect("it can be converted");
    assert_eq!(half_graph(&half), Err(HalfError::AlreadyHalf));
}
