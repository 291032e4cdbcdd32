//! The reader of ONNX files: a backbone, its shapes, and the graph that is made around it.

use std::path::Path;

use flawd_core::image::Size;
use flawd_core::normalisation::Normalisation;
use flawd_onnx::{Backbone, FeatureChoice, feature_graph};

use super::{KIB, Limits, MIB, Target};

pub(super) const TARGET: Target = Target {
    name: "onnx",
    read,
    limits: Limits {
        peak: MIB,
        peak_per_byte: 512,
        total: 16 * MIB,
        total_per_byte: 4096,
    },
    longest: 64 * KIB,
    words: &[
        b"AveragePool",
        b"Concat",
        b"Constant",
        b"Conv",
        b"Flatten",
        b"Gemm",
        b"GlobalAveragePool",
        b"MatMul",
        b"Pad",
        b"ReduceMean",
        b"Relu",
        b"Reshape",
        b"Resize",
        b"Slice",
        b"Split",
        b"Squeeze",
        b"Transpose",
        b"Unsqueeze",
        b"axes",
        b"axis",
        b"auto_pad",
        b"SAME_UPPER",
        b"ceil_mode",
        b"dilations",
        b"kernel_shape",
        b"pads",
        b"perm",
        b"strides",
        b"mean",
        b"std",
    ],
};

fn read(input: &[u8]) {
    let Ok(backbone) = Backbone::from_bytes(Path::new("input"), input) else {
        return;
    };
    let outputs = backbone.outputs().into_iter().take(4);
    let outputs: Vec<String> = outputs.map(str::to_owned).collect();
    let each = outputs.iter().map(|output| vec![output.clone()]);
    for outputs in each.chain([Vec::new(), outputs.clone()]) {
        let choice = FeatureChoice {
            outputs,
            normalisation: Some(Normalisation::IMAGENET),
        };
        for size in [Size::new(64, 96), Size::new(256, 256)] {
            if let Ok(spec) = choice.complete(&backbone, size)
                && let Ok(shape) = spec.shape(&backbone)
            {
                assert!(shape.channels > 0 && shape.maps.iter().all(|map| map.area() > 0));
                feature_graph(&backbone, &spec).expect("the shapes fit, so the graph can be made");
            }
        }
    }
}
