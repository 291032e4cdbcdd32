//! Errors in the weights of an EfficientNet, or in what is asked of them.

use super::architecture::{Architecture, STAGES};
use crate::builder::ModelTooLarge;

/// Why a state dict cannot be made into a graph. Tensors are named as the state dict names them.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EfficientNetError {
    /// None of the known names of the first tensor is present.
    #[error(
        "these are not the weights of an EfficientNet: none of {stems} is there, and {first}. Take \
         a state dict of efficientnet-b0 to b7, or lite0 to lite4, as one of these libraries saves \
         it"
    )]
    UnknownNaming {
        /// The names that were looked for.
        stems: String,
        /// What was found instead.
        first: String,
    },
    /// A tensor is missing.
    #[error(
        "the tensor `{key}` is missing: the weights are cut short, or of another network or size"
    )]
    Missing {
        /// Its name.
        key: String,
    },
    /// A tensor has another size than its neighbours, or the variant, require.
    #[error(
        "the tensor `{key}` has shape {found:?}, and {expected:?} is needed in an EfficientNet of \
         {architecture}: take the weights of that one, or name another with --arch"
    )]
    WrongShape {
        /// Its name.
        key: String,
        /// The shape that is needed.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
        /// Stem and stages.
        architecture: Architecture,
    },
    /// A convolution's weight whose shape is not that of one.
    #[error(
        "the tensor `{key}` has shape {found:?}, and the weight of a convolution has four axes, \
         none of them empty: these are the weights of another network"
    )]
    NoConvolution {
        /// Its name.
        key: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor that does not belong to the network.
    #[error(
        "the tensor `{key}` has no place in an EfficientNet of {architecture}, which is what the \
         other tensors make: these are the weights of another network, or blocks before it are \
         missing"
    )]
    Foreign {
        /// Its name.
        key: String,
        /// Stem and stages.
        architecture: Architecture,
    },
    /// A number that cannot be used to compute features.
    #[error("the tensor `{key}` holds {value}: the weights are damaged, or training diverged")]
    BadNumber {
        /// Its name.
        key: String,
        /// Not a number, infinite, or a negative variance.
        value: f32,
    },
    /// A batch norm's epsilon that would divide by zero.
    #[error("epsilon must be above zero and finite, not {0}")]
    BadEpsilon(f32),
    /// No stage was asked for.
    #[error("no stage was chosen: ask for one of 0 (the stem) to {STAGES}")]
    NoStage,
    /// A stage that the weights do not have.
    #[error("there is not a stage {asked}: the weights have 0 (the stem) to {last}")]
    UnknownStage {
        /// The stage.
        asked: usize,
        /// The last stage.
        last: usize,
    },
    /// The file would be too large.
    #[error(transparent)]
    TooLarge(#[from] ModelTooLarge),
}
