//! A model of each kind that flawd writes, with random weights, for `cargo xtask tensorrt`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_core::anomaly::{MapKind, Readout, ScoreKind};
use flawd_core::flow::{FlowSpec, SCALES};
use flawd_core::image::Size;
use flawd_core::light::LightNormalisation;
use flawd_core::normalisation::{ChannelOrder, Normalisation};
use flawd_core::permutation::PermutationKind;
use flawd_core::random::SplitMix64;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use ndarray::ArrayD;

use crate::backbone::Backbone;
use crate::efficientnet::{
    EfficientNet, GraphOptions, Naming, Padding, StateDict, Variant, output_name,
};
use crate::export::{feature_graph, model_graph};
use crate::features::FeatureSpec;
use crate::filter_bank::{DEFAULT_OUTPUT, filter_bank};
use crate::half::half_graph;
use crate::upsampled;

/// Names the folder that the models are written to.
const FOLDER_VARIABLE: &str = "FLAWD_MODELS_OUT";

/// Backbones that others made, beside the repository.
const FOREIGN: [(&str, &str); 2] = [
    ("mobilenet_v2_features", "features_s32"),
    ("efficientnet_lite2_features", "features_s16"),
];

/// Random weights of a whole network, whose layers keep what they are given about as large.
fn weights(naming: Naming, variant: Variant) -> StateDict {
    let mut random = SplitMix64::new(7);
    let mut one = || (random.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let tensors = naming.tensors(&variant.architecture()).into_iter();
    tensors
        .map(|(key, shape)| {
            let fan_in: usize = shape.iter().skip(1).product();
            let spread = (3.0 / fan_in.max(1) as f32).sqrt();
            let middle = f32::from(u8::from(shape.len() == 1 && !key.ends_with("bias")));
            let array = ArrayD::from_shape_fn(shape, |_| match middle {
                0.0 => one() * spread,
                _ => 1.0 + 0.1 * one(),
            });
            (key, array)
        })
        .collect()
}

fn network(naming: Naming, variant: Variant, padding: Padding, filters: bool) -> Backbone {
    let network = EfficientNet::new(weights(naming, variant), None).expect("a network");
    let options = GraphOptions {
        padding,
        epsilon: network.epsilon(padding),
        stages: vec![5, 6],
        normalisation: network.normalisation(padding),
        filters,
    };
    let graph = network.graph(&options).expect("a graph");
    Backbone::from_bytes(Path::new("network.onnx"), &graph).expect("a backbone")
}

/// What a model is made of, apart from its backbone.
struct Kind {
    size: Size,
    readout: Readout,
    is_lit: bool,
    is_affine: bool,
    clamp: f32,
    hidden: usize,
    order: ChannelOrder,
}

/// What `flawd train` writes.
const TRAINED: Kind = Kind {
    size: Size::new(128, 128),
    readout: Readout {
        score: ScoreKind::PowerMean,
        map: MapKind::Finest,
    },
    is_lit: true,
    is_affine: true,
    clamp: 3.0,
    hidden: 16,
    order: ChannelOrder::Rgb,
};

/// What `flawd model import` writes.
const IMPORTED: Kind = Kind {
    readout: Readout {
        score: ScoreKind::Mean,
        map: MapKind::Product,
    },
    is_lit: false,
    is_affine: false,
    clamp: 1.9,
    ..TRAINED
};

impl Kind {
    fn features(&self, outputs: &[&str], normalisation: Normalisation) -> FeatureSpec {
        FeatureSpec {
            size: self.size,
            outputs: outputs.iter().map(|&name| name.to_owned()).collect(),
            normalisation: Normalisation {
                channel_order: self.order,
                ..normalisation
            },
            light: self.is_lit.then_some(LightNormalisation {
                reference: 120.0,
                limit: LightNormalisation::LIMIT,
            }),
        }
    }

    fn graph(&self, backbone: &Backbone, outputs: &[&str]) -> Vec<u8> {
        let features = self.features(outputs, Normalisation::IMAGENET);
        let channels = features.shape(backbone).expect("features").channels;
        let flow = FlowSpec {
            channels,
            hidden: self.hidden,
            kernels: vec![3, 5],
            clamp: self.clamp,
            permutation: PermutationKind::NumpyLegacy,
            scales: 3,
            cross_scale: true,
        };
        let mut random = SplitMix64::new(9);
        let mut one = || (random.next_u64() >> 40) as f32 / (1 << 24) as f32 - 0.5;
        let parameters: Vec<f32> = (0..flow.layout().len).map(|_| 0.05 * one()).collect();
        let transform = match self.is_affine {
            false => ChannelTransform::Identity,
            true => ChannelTransform::Affine {
                mean: (0..channels).map(|_| one()).collect(),
                scale: (0..channels).map(|_| 1.5 + one()).collect(),
            },
        };
        let transform = FeatureTransform {
            scales: vec![transform; SCALES],
        };
        let none = BTreeMap::new();
        let model = model_graph(
            backbone,
            &features,
            &transform,
            &flow,
            &parameters,
            self.readout,
            &none,
        );
        model.expect("a model")
    }
}

/// The models that differ in what is around the flow, and in the flow, by name.
pub(crate) fn kinds() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    write_kinds(&mut |name, model| all.push((name.to_owned(), model)));
    all
}

/// Writes the models that differ in what is around the flow, and in the flow.
fn write_kinds(write: &mut dyn FnMut(&str, Vec<u8>)) {
    let filters = Backbone::from_bytes(Path::new("filters.onnx"), &filter_bank());
    let filters = filters.expect("a backbone");
    let outputs = [DEFAULT_OUTPUT];
    write("trained", TRAINED.graph(&filters, &outputs));
    write("imported", IMPORTED.graph(&filters, &outputs));
    let product = Kind {
        readout: Readout {
            map: MapKind::Product,
            ..TRAINED.readout
        },
        size: Size::new(128, 256),
        order: ChannelOrder::Bgr,
        ..TRAINED
    };
    write("product-map-bgr", product.graph(&filters, &outputs));
    let wide = Kind {
        hidden: upsampled::WORTH_FROM,
        ..TRAINED
    };
    write("wide-flow", wide.graph(&filters, &outputs));
    for clamp in [0.0, 0.2, 8.0] {
        let kind = Kind { clamp, ..TRAINED };
        write(&format!("clamp-{clamp}"), kind.graph(&filters, &outputs));
    }
    let both = ["features_s16", DEFAULT_OUTPUT];
    write("two-outputs", TRAINED.graph(&filters, &both));
    let features = TRAINED.features(&outputs, Normalisation::INCEPTION);
    let graph = feature_graph(&filters, &features);
    write("features-alone", graph.expect("a graph"));
}

/// Writes a model on each backbone that flawd writes, and on those beside the repository.
fn write_backbones(write: &mut dyn FnMut(&str, Vec<u8>)) {
    for (name, naming, variant, padding, filters) in [
        (
            "b0-torchvision",
            Naming::Torchvision,
            Variant::B0,
            Padding::Symmetric,
            false,
        ),
        (
            "b0-timm",
            Naming::Timm,
            Variant::B0,
            Padding::TensorFlow,
            false,
        ),
        (
            "b1-efficientnet-pytorch",
            Naming::EfficientNetPytorch,
            Variant::B1,
            Padding::Same { resolution: 240 },
            true,
        ),
        (
            "lite0",
            Naming::EfficientNetPytorch,
            Variant::Lite0,
            Padding::TensorFlow,
            true,
        ),
        (
            "lite2",
            Naming::Timm,
            Variant::Lite2,
            Padding::TensorFlow,
            false,
        ),
    ] {
        let backbone = network(naming, variant, padding, filters);
        let (fine, coarse) = (output_name(5), output_name(6));
        let outputs = [fine.as_str(), &coarse, "filters_s32"];
        let count = 2 + usize::from(filters);
        write(name, TRAINED.graph(&backbone, &outputs[..count]));
        write(
            &format!("{name}-imported"),
            IMPORTED.graph(&backbone, &outputs[1..2]),
        );
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/backbones");
    for (name, output) in FOREIGN {
        let file = beside.join(format!("{name}.onnx"));
        match Backbone::open(&file) {
            Ok(backbone) => write(name, TRAINED.graph(&backbone, &[output])),
            Err(_) => println!("absent: {name}.onnx is not beside the repository"),
        }
    }
}

#[test]
#[ignore = "run by cargo xtask tensorrt"]
fn writes_a_model_of_each_kind() {
    let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| panic!("{FOLDER_VARIABLE} names no folder"));
    let file = |name: &str, model: Vec<u8>| {
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, model).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    };
    // And as `flawd model convert --half` makes it.
    let mut write = |name: &str, model: Vec<u8>| {
        let (half, _) = half_graph(&model).unwrap_or_else(|error| panic!("{name}: {error}"));
        file(&format!("{name}-half"), half);
        file(name, model);
    };
    write_kinds(&mut write);
    write_backbones(&mut write);
}
