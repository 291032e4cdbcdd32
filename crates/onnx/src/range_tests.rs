//! Every number of exported models on pictures that no camera of a line should see.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::anomaly::{MapKind, Readout, ScoreKind};
use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::light::LightNormalisation;
use flawd_core::normalisation::Normalisation;
use flawd_core::permutation::PermutationKind;
use flawd_core::random::SplitMix64;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use prost::Message;

use crate::backbone::Backbone;
use crate::builder::{Dimension, ElementType, GraphBuilder, Window};
use crate::export::model_graph;
use crate::features::FeatureSpec;
use crate::filter_bank::{CHANNELS, DEFAULT_OUTPUT, filter_bank};
use crate::proto::{DataType, ModelProto, TensorType, TypeProto, TypeValue, ValueInfoProto};
use crate::range::LARGEST;
use crate::runtime::Runtime;

/// Numbers from -1 to 1, the same everywhere.
fn many(random: &mut SplitMix64, count: usize) -> Vec<f32> {
    let mut one = || (random.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..count).map(|_| one()).collect()
}

/// A backbone whose features of a white picture are some thousand.
fn steep(channels: usize) -> Backbone {
    let mut builder = GraphBuilder::new("steep", 17);
    let shape = [Dimension::from("n"), 3.into(), "h".into(), "w".into()];
    let image = builder.input("image", ElementType::Float32, &shape);
    let weight = many(&mut SplitMix64::new(5), channels * 27);
    let weight: Vec<f32> = weight.iter().map(|w| 200.0 * w).collect();
    let weight = builder.floats("weight", &[channels, 3, 3, 3], &weight);
    let map = builder.convolution("map", &image, &weight, None, Window::same(3, 2));
    builder.output(&map, ElementType::Float32, &shape);
    let bytes = builder.encode().expect("a small file");
    Backbone::from_bytes(Path::new("steep.onnx"), &bytes).expect("a backbone")
}

/// Three affine maps with scales around `gain`, or none.
fn transform(channels: usize, gain: Option<f32>, random: &mut SplitMix64) -> FeatureTransform {
    let mut one = |_| match gain {
        None => ChannelTransform::Identity,
        Some(gain) => ChannelTransform::Affine {
            mean: many(random, channels),
            scale: many(random, channels).iter().map(|x| x * gain).collect(),
        },
    };
    FeatureTransform {
        scales: (0..3).map(&mut one).collect(),
    }
}

/// A model with random parameters: `spread` is their deviation, relative to the one that keeps a
/// layer's output as large as its input.
struct Case {
    backbone: Backbone,
    output: &'static str,
    channels: usize,
    size: Size,
    hidden: usize,
    clamp: f32,
    spread: f32,
    gain: Option<f32>,
}

impl Case {
    fn graph(&self, readout: Readout) -> ModelProto {
        let mut random = SplitMix64::new(3);
        let flow = FlowSpec {
            channels: self.channels,
            hidden: self.hidden,
            kernels: vec![3, 1, 3],
            clamp: self.clamp,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        };
        let width = ((self.channels * 9) as f32).sqrt();
        let parameters = many(&mut random, flow.layout().len);
        let parameters: Vec<f32> = (parameters.iter())
            .map(|x| self.spread * x / width)
            .collect();
        let features = FeatureSpec {
            size: self.size,
            outputs: vec![self.output.to_owned()],
            normalisation: Normalisation::INCEPTION,
            light: Some(LightNormalisation {
                reference: 128.0,
                limit: LightNormalisation::LIMIT,
            }),
        };
        let transform = transform(self.channels, self.gain, &mut random);
        let metadata = BTreeMap::new();
        let bytes = model_graph(
            &self.backbone,
            &features,
            &transform,
            &flow,
            &parameters,
            readout,
            &metadata,
        );
        ModelProto::decode(bytes.expect("a graph").as_slice()).expect("a model")
    }
}

/// Makes every number that the graph computes an output; returns their names.
fn expose(model: &mut ModelProto) -> Vec<String> {
    let graph = model.graph.as_mut().expect("a graph");
    let floats = |name: &&String| !name.ends_with(".places");
    let names: Vec<String> = (graph.node.iter().flat_map(|node| &node.output))
        .filter(floats)
        .cloned()
        .collect();
    let known: Vec<String> = graph.output.iter().map(|x| x.name().to_owned()).collect();
    for name in names.iter().filter(|name| !known.contains(name)) {
        let tensor = TensorType {
            elem_type: Some(DataType::Float as i32),
            shape: None,
        };
        graph.output.push(ValueInfoProto {
            name: Some(name.clone()),
            r#type: Some(TypeProto {
                value: Some(TypeValue::Tensor(tensor)),
                denotation: None,
            }),
            ..ValueInfoProto::default()
        });
    }
    names
}

/// A picture of blocks, stripes or single pixels in colours from a small or the whole palette.
fn extreme(number: u64, size: Size) -> Vec<u8> {
    let mut random = SplitMix64::new(number);
    let mut draw = |most: u64| random.next_u64() % most;
    let flat = [[0; 3], [255; 3], [128; 3], [255, 0, 0], [0, 0, 255]];
    if let Some(colour) = flat.get(number as usize) {
        return colour.repeat(size.area());
    }
    let block = 1 << draw(6);
    let [rows, columns] = [1 << draw(6), 1 << draw(6)].map(|side| block.min(side) as usize);
    let palette: Vec<[u8; 3]> = (0..2 + draw(6))
        .map(|_| [0; 3].map(|_| [0, 255, draw(256) as u8][draw(3) as usize]))
        .collect();
    let colours: Vec<[u8; 3]> = (0..size.area())
        .map(|_| palette[draw(palette.len() as u64) as usize])
        .collect();
    (0..size.area())
        .flat_map(|place| {
            let (row, column) = (place / size.width, place % size.width);
            colours[row / rows * rows * size.width + column / columns * columns]
        })
        .collect()
}

/// Checks every number on these pictures; returns the largest score.
fn check(case: &Case, readout: Readout, pictures: std::ops::Range<u64>) -> f32 {
    let mut model = case.graph(readout);
    let constants = &model.graph.as_ref().expect("a graph").initializer;
    for constant in constants
        .iter()
        .filter(|x| x.data_type == Some(DataType::Float as i32))
    {
        let raw = constant.raw_data().as_chunks::<4>().0;
        let fits = |x: &[u8; 4]| f32::from_le_bytes(*x).abs() <= LARGEST;
        assert!(raw.iter().all(fits), "{}", constant.name());
    }
    let names = expose(&mut model);
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut session = Session::builder(runtime.environment())
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?))
        .and_then(|mut builder| builder.commit_from_memory(&model.encode_to_vec()))
        .expect("a session");
    let mut most = 0.0_f32;
    for number in pictures {
        let shape = [1, case.size.height, case.size.width, 3];
        let picture = Tensor::from_array((shape, extreme(number, case.size))).expect("a tensor");
        let found = session.run(ort::inputs![picture]).expect("a run");
        for name in &names {
            let (_, values) = found[name.as_str()].try_extract_tensor().expect("floats");
            let largest = values
                .iter()
                .fold(0.0_f32, |most, x: &f32| match x.is_nan() {
                    true => f32::INFINITY,
                    false => most.max(x.abs()),
                });
            assert!(largest <= LARGEST, "{name}: {largest} of picture {number}");
        }
        let (_, score) = found["score"].try_extract_tensor::<f32>().expect("floats");
        most = most.max(score[0]);
    }
    most
}

const READOUTS: [Readout; 2] = [
    Readout {
        score: ScoreKind::Mean,
        map: MapKind::Finest,
    },
    Readout {
        score: ScoreKind::PowerMean,
        map: MapKind::Product,
    },
];

/// From flows that change hardly anything to flows whose every layer multiplies by a thousand.
#[test]
fn no_picture_brings_a_number_beyond_half_precision() {
    let mut pictures = 0;
    for (hidden, clamp, spread, gain) in [
        (6, 3.0, 0.1, None),
        (6, 3.0, 1.0, Some(1e3)),
        (6, 3.0, 10.0, Some(1.0)),
        (6, 3.0, 1e3, Some(1.0)),
        (6, 1.9, 30.0, Some(1e4)),
        (6, 0.1, 100.0, None),
        (6, 8.0, 3.0, Some(10.0)),
        (6, 0.0, 3.0, None),
        (6, 0.0, 300.0, Some(1.0)),
        (256, 3.0, 3.0, Some(10.0)),
    ] {
        let case = Case {
            backbone: steep(5),
            output: "map",
            channels: 5,
            size: Size::new(32, 32),
            hidden,
            clamp,
            spread,
            gain,
        };
        for readout in READOUTS {
            let most = check(&case, readout, pictures..pictures + 50);
            pictures += 50;
            assert!(
                most > 50.0,
                "{spread}: a picture is far from normal: {most}"
            );
        }
    }
    assert_eq!(pictures, 1000);
}

#[test]
fn no_picture_brings_a_number_of_the_filter_bank_beyond_half_precision() {
    let backbone = Backbone::from_bytes(Path::new("filters.onnx"), &filter_bank());
    let case = Case {
        backbone: backbone.expect("a backbone"),
        output: DEFAULT_OUTPUT,
        channels: CHANNELS,
        size: Size::new(128, 128),
        hidden: 8,
        clamp: 3.0,
        spread: 2.0,
        gain: Some(10.0),
    };
    check(&case, READOUTS[1], 0..40);
}
