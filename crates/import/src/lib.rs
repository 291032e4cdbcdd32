//! Reads checkpoints of CS-Flow that others have published or trained, and executes nothing of
//! them.
//!
//! ```text
//! .safetensors ─┐
//! .pth, .pt     ├─► TensorFile: tensors by name ─► Checkpoint: flow, extractor, what else it says
//! .ckpt         ─┘
//! ```
//! A [`TensorFile`] knows nothing of what its tensors mean, so that it serves weights of any
//! network; a [`Checkpoint`] finds the flow in it and brings its parameters into the order of
//! [`FlowSpec::layout`](flawd_core::flow::FlowSpec::layout). Nothing here knows of ONNX, images or
//! bundles.

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

pub use checkpoint::Checkpoint;
pub use error::CheckpointError;
pub use extractor::Extractor;
pub use tensors::{TensorError, TensorFile};
