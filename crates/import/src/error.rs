//! Why a checkpoint cannot be imported.

use std::path::PathBuf;

use flawd_core::flow::FlowSpecError;

use crate::tensors::TensorError;

/// Why a file is not a checkpoint that can be imported. Every variant names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read, or lacks a tensor.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// It contains no flow.
    #[error(
        "{} holds no CS-Flow: no key is like `module_list.4.s1.conv_scale0_0.weight` (the original \
         code) or `model.graph.graph.module_list.1.cross_convolution1.conv_scale0_0.weight` \
         (anomalib), the first is {found}; give the state dict or the checkpoint of a trained CS-Flow",
        path.display()
    )]
    NoFlow {
        /// The file.
        path: PathBuf,
        /// The first key, in backquotes, or that there is none.
        found: String,
    },
    /// Flows under two names.
    #[error(
        "{} holds more than one flow: `{key}` belongs to another one than the keys before it",
        path.display()
    )]
    TwoFlows {
        /// The file.
        path: PathBuf,
        /// The first key of the second one.
        key: String,
    },
    /// A tensor that no CS-Flow has.
    #[error(
        "`{key}` in {} belongs to no CS-Flow that flawd knows: the model was changed, and would \
         not compute here what it computes there", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its name.
        key: String,
    },
    /// A tensor of another shape than the others require.
    #[error("`{key}` in {} has shape {found:?}, and {expected:?} fits the others", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name.
        key: String,
        /// The shape that follows from other tensors.
        expected: Vec<usize>,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// A first convolution whose shape is not that of a convolution.
    #[error(
        "`{key}` in {} has shape {found:?}, and [hidden, channels, kernel, kernel] is needed",
        path.display()
    )]
    NoConvolution {
        /// The file.
        path: PathBuf,
        /// Its name.
        key: String,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// The shapes do not make a flow.
    #[error("the shapes in {} make no flow", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FlowSpecError,
    },
}
