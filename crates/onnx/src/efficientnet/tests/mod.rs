//! What the tests of EfficientNet share: tensors from files.

mod lite;
mod parity;
mod weights;

use std::fs;
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::StateDict;

/// Random weights of a small network (the layout of B5 at width 0.2 and depth 0.6), a normalised
/// picture, and what the library computes of it, by torchvision.
const TORCHVISION: &str = "efficientnet-torchvision";

/// The same by efficientnet_pytorch, padded for B5's own 456 pixels.
const EFFICIENTNET_PYTORCH: &str = "efficientnet-lukemelas";

/// The tensors of a file below `tests/data`.
fn tensors(folder: &str, file: &str) -> StateDict {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let bytes = fs::read(path.join(folder).join(file)).expect("it is in the repository");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let array = |view: TensorView<'_>| {
        let numbers = view.data().chunks_exact(4);
        let numbers = numbers.map(|x| f32::from_le_bytes(x.try_into().expect("chunks of 4")));
        ArrayD::from_shape_vec(IxDyn(view.shape()), numbers.collect()).expect("all are float32")
    };
    let all = file.tensors().into_iter();
    all.map(|(name, view)| (name, array(view))).collect()
}

fn weights(folder: &str) -> StateDict {
    tensors(folder, "weights.safetensors")
}
