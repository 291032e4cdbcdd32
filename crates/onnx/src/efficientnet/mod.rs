//! EfficientNet as a backbone: from the weights that a deep-learning library saved to an ONNX file.
//!
//! ```text
//! state dict ─ naming ─ architecture ─ check ─► EfficientNet ─ padding, epsilon, stages ─► ONNX
//! ```
//! The weights may have the names of torchvision, efficientnet_pytorch or timm, and be of any width
//! and depth, in whole or cut after a stage; what they are follows from names and shapes, and every
//! tensor is checked. Weights without squeeze and excite are those of an EfficientNet-Lite. Batch
//! norm is folded into the convolutions. This module does not know where the weights come from.

mod architecture;
mod error;
mod graph;
mod naming;
mod padding;
mod variant;

pub use architecture::{Architecture, Family, STAGES, Stage};
pub use error::EfficientNetError;
pub use naming::Naming;
pub use padding::Padding;
pub use variant::{UnknownVariant, Variant};

use std::collections::{BTreeMap, BTreeSet};

use flawd_core::normalisation::Normalisation;
use ndarray::ArrayD;

/// A network's numbers by name, as PyTorch calls it: `features.0.0.weight` and so on.
pub type StateDict = BTreeMap<String, ArrayD<f32>>;

/// The weights of an EfficientNet, checked.
pub struct EfficientNet {
    tensors: StateDict,
    naming: Naming,
    architecture: Architecture,
}

/// How to write the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOptions {
    /// The zeros around each map.
    pub padding: Padding,
    /// What batch norm adds to the variance; [`EfficientNet::epsilon`] if nothing else is known.
    pub epsilon: f32,
    /// The stages after which features are output: 1 to [`STAGES`], 0 for the stem.
    pub stages: Vec<usize>,
    /// The normalisation that the network expects of its pixels.
    pub normalisation: Normalisation,
    /// Whether the file gives the features of the [filter bank](crate::filter_bank) too, as
    /// [`FILTERS`].
    pub filters: bool,
}

/// The names of the filter bank's outputs beside those of a network: 16 and 32 pixels a cell.
pub const FILTERS: [&str; 2] = ["filters_s16", "filters_s32"];

impl GraphOptions {
    /// Returns the outputs that make the features if none are chosen: all of the network's, and the
    /// coarser ones of the filters.
    pub fn default_outputs(&self) -> Vec<String> {
        let stages: BTreeSet<usize> = self.stages.iter().copied().collect();
        let mut outputs: Vec<String> = stages.into_iter().map(output_name).collect();
        if self.filters {
            outputs.push(FILTERS[1].to_owned());
        }
        outputs
    }
}

/// Returns the name of the output after `stage`.
pub fn output_name(stage: usize) -> String {
    match stage {
        0 => "stem".to_owned(),
        _ => format!("stage{stage}"),
    }
}

impl EfficientNet {
    /// Checks that `tensors` are the weights of an EfficientNet: of `variant`, or else of whatever
    /// widths and depths they have. Head and classifier are ignored, and so is every counter of
    /// training steps; the last stages may be absent.
    ///
    /// # Errors
    /// An [`EfficientNetError`] that names the tensor.
    pub fn new(tensors: StateDict, variant: Option<Variant>) -> Result<Self, EfficientNetError> {
        let naming = Naming::of(&tensors)?;
        let found = naming.architecture(&tensors)?;
        let architecture = match variant {
            None => found,
            Some(variant) => {
                let mut architecture = variant.architecture();
                architecture.stages.truncate(found.stages.len());
                architecture
            }
        };
        let network = Self {
            tensors,
            naming,
            architecture,
        };
        network.check()?;
        Ok(network)
    }

    /// Returns the library whose names the tensors have.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// Returns its widths and depths.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns what batch norm adds to the variance in the library of these weights. EfficientNet's
    /// own value is 1e-3. torchvision has PyTorch's 1e-5 for B0 to B4, and so has timm for all that
    /// are not padded as in TensorFlow.
    pub fn epsilon(&self, padding: Padding) -> f32 {
        use Variant::{B0, B1, B2, B3, B4};
        let of_pytorch = match self.naming {
            Naming::EfficientNetPytorch => false,
            Naming::Torchvision => {
                matches!(self.architecture.variant(), Some(B0 | B1 | B2 | B3 | B4))
            }
            Naming::Timm => padding == Padding::Symmetric,
        };
        if of_pytorch { 1e-5 } else { 1e-3 }
    }

    /// Returns the pixels that nearly all weights of this family expect in the library of these
    /// weights. A lite network's are those of its authors, but timm rounds their mean and deviation
    /// in its copies, and trained its own weights, which are not padded as in TensorFlow, on
    /// ImageNet's.
    pub fn normalisation(&self, padding: Padding) -> Normalisation {
        match (self.architecture.family, self.naming) {
            (Family::Standard, _) => Normalisation::IMAGENET,
            (Family::Lite, Naming::Timm) if padding == Padding::Symmetric => {
                Normalisation::IMAGENET
            }
            (Family::Lite, Naming::Timm) => Normalisation::INCEPTION,
            (Family::Lite, _) => Normalisation::LITE,
        }
    }

    /// Returns the model file: input `image` `[n, 3, h, w]`, normalised as the metadata says, one
    /// output for each of `options.stages`, in ascending order and named by [`output_name`],
    /// `float32` `[n, channels, h / stride, w / stride]` if the stride divides the image's sides.
    ///
    /// # Errors
    /// If a stage does not exist, or epsilon is not above zero.
    pub fn graph(&self, options: &GraphOptions) -> Result<Vec<u8>, EfficientNetError> {
        let last = self.architecture.stages.len();
        if options.stages.is_empty() {
            return Err(EfficientNetError::NoStage);
        }
        if let Some(&asked) = options.stages.iter().find(|&&stage| stage > last) {
            return Err(EfficientNetError::UnknownStage { asked, last });
        }
        let epsilon = options.epsilon;
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(EfficientNetError::BadEpsilon(epsilon));
        }
        Ok(graph::write(self, options).encode()?)
    }

    fn check(&self) -> Result<(), EfficientNetError> {
        let architecture = &self.architecture;
        let expected = self.naming.tensors(architecture);
        for (key, shape) in &expected {
            let Some(tensor) = self.tensors.get(key) else {
                return Err(EfficientNetError::Missing { key: key.clone() });
            };
            if tensor.shape() != shape {
                return Err(EfficientNetError::WrongShape {
                    key: key.clone(),
                    expected: shape.clone(),
                    found: tensor.shape().to_vec(),
                    architecture: architecture.clone(),
                });
            }
            let is_variance = key.ends_with(VARIANCE);
            let is_bad = |value: &&f32| !value.is_finite() || (is_variance && **value < 0.0);
            if let Some(&value) = tensor.iter().find(is_bad) {
                let key = key.clone();
                return Err(EfficientNetError::BadNumber { key, value });
            }
        }
        let is_foreign =
            |key: &&String| !expected.contains_key(*key) && !self.naming.is_unused(key);
        match self.tensors.keys().find(is_foreign) {
            None => Ok(()),
            Some(key) => Err(EfficientNetError::Foreign {
                key: key.clone(),
                architecture: architecture.clone(),
            }),
        }
    }
}

/// The parts of a batch norm.
const GAIN: &str = ".weight";
const OFFSET: &str = ".bias";
const MEAN: &str = ".running_mean";
const VARIANCE: &str = ".running_var";

#[cfg(test)]
mod tests;
