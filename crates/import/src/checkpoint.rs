//! A published checkpoint: the flow in it, its extractor, and what else it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_core::flow::{FlowSpec, FlowSpecError};
use flawd_core::image::Size;
use flawd_core::manifest::Implementation;

use crate::extractor::{EXTRACTOR, Extractor};
use crate::flow::{Found, ReadFlow};
use crate::lightning::{Arguments, STATE_DICT};
use crate::tensors::{TensorError, TensorFile};

/// The clamp of both published implementations.
const PUBLISHED_CLAMP: f32 = 3.0;

/// Everything of a checkpoint that a model is made of.
#[derive(Debug)]
pub struct Checkpoint {
    /// Whose code trained it.
    pub implementation: Implementation,
    /// The shape of the flow.
    pub flow: FlowSpec,
    /// The flow's parameters, in the places of [`FlowSpec::layout`].
    pub parameters: Vec<f32>,
    /// The feature extractor, where the checkpoint has it.
    pub extractor: Option<Extractor>,
    /// Size of the network's input, where the checkpoint states it.
    pub input_size: Option<Size>,
    /// The thresholds and the range of scores that anomalib keeps beside the model, by its names.
    /// They are of another scale than what calibration makes.
    pub post_processor: BTreeMap<String, f64>,
}

/// Why a file is no checkpoint that can be imported. Every variant names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read, or lacks a tensor.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// No flow is in it.
    #[error(
        "{} holds no CS-Flow: no key is like `module_list.4.s1.conv_scale0_0.weight` (the original \
         code) or `model.graph.graph.module_list.1.cross_convolution1.conv_scale0_0.weight` \
         (anomalib), the first is `{found}`", path.display()
    )]
    NoFlow {
        /// The file.
        path: PathBuf,
        /// The first key there is.
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
    /// A tensor of another shape than the others ask for.
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
    /// A first convolution whose shape is none of a convolution.
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
    /// The shapes make no flow.
    #[error("the shapes in {} make no flow", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: FlowSpecError,
    },
}

impl Checkpoint {
    /// Reads a checkpoint. `clamp` is what the flow was trained with, where neither the checkpoint
    /// says it nor the published 3 is right.
    ///
    /// # Errors
    /// A [`CheckpointError`] that names the file and the key.
    pub fn read(path: &Path, clamp: Option<f32>) -> Result<Self, CheckpointError> {
        let file = TensorFile::open(path)?;
        let found = Found::locate(&file)?;
        let stated = Arguments::read(&file)?;
        let clamp = clamp.or(stated.clamp).unwrap_or(PUBLISHED_CLAMP);
        // The flow of anomalib's model is its part `graph`, which keeps the blocks in a `graph`.
        let model = found.prefix().trim_end_matches("graph.");
        let post_processor = beside(&file, &found, model)?;
        let extractor = Extractor::read(&file, model)?;
        let ReadFlow { spec, parameters } = found.read(&file, clamp)?;
        Ok(Self {
            implementation: found.implementation(),
            flow: spec,
            parameters,
            extractor,
            input_size: stated.input_size,
            post_processor,
        })
    }
}

/// The single numbers beside the model, by their names; a tensor of the model itself that belongs
/// to neither flow nor extractor is an error.
fn beside(
    file: &TensorFile,
    found: &Found,
    model: &str,
) -> Result<BTreeMap<String, f64>, CheckpointError> {
    let mut values = BTreeMap::new();
    for name in file.names() {
        if let Some(own) = name.strip_prefix(model) {
            if found.holds(name) || own.starts_with(EXTRACTOR) {
                continue;
            }
            return Err(CheckpointError::Foreign {
                path: file.path().to_owned(),
                key: name.to_owned(),
            });
        }
        // Above the state dict there is only what training goes on from.
        let Some(own) = name.strip_prefix(STATE_DICT) else {
            continue;
        };
        if file.is_float(name)? && file.shape(name)?.iter().product::<usize>() == 1 {
            let value = f64::from(file.read_any(name)?.sum());
            // anomalib writes what it has not set as not a number.
            if value.is_finite() {
                values.insert(own.to_owned(), value);
            }
        }
    }
    Ok(values)
}
