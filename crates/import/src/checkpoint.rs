//! A published checkpoint: the flow in it, its extractor, and its other statements.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::flow::FlowSpec;
use flawd_core::image::Size;
use flawd_core::manifest::Implementation;

use crate::error::CheckpointError;
use crate::extractor::{EXTRACTOR, Extractor};
use crate::flow::{Found, ReadFlow};
use crate::lightning::{Arguments, STATE_DICT};
use crate::tensors::TensorFile;

/// The clamp of both published implementations.
const PUBLISHED_CLAMP: f32 = 3.0;

/// Everything in a checkpoint that a model is made of.
#[derive(Debug)]
pub struct Checkpoint {
    /// Whose code trained it.
    pub implementation: Implementation,
    /// The shape of the flow.
    pub flow: FlowSpec,
    /// The flow's parameters, laid out as in [`FlowSpec::layout`].
    pub parameters: Vec<f32>,
    /// The feature extractor, if the checkpoint has it.
    pub extractor: Option<Extractor>,
    /// Size of the network's input, if the checkpoint states it.
    pub input_size: Option<Size>,
    /// The thresholds and the range of scores that anomalib keeps beside the model, by its names.
    /// They are on another scale than those of a calibration.
    pub post_processor: BTreeMap<String, f64>,
}

impl Checkpoint {
    /// Reads a checkpoint. `clamp` is the one that the flow was trained with, for a checkpoint that
    /// does not state it and does not have the published 3.
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

/// Returns the single numbers beside the model, by their names; a tensor of the model itself that
/// belongs to neither flow nor extractor is an error.
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
        // Above the state dict there is only the state to resume training from.
        let Some(own) = name.strip_prefix(STATE_DICT) else {
            continue;
        };
        if file.is_float(name)? && file.shape(name)?.iter().product::<usize>() == 1 {
            let value = f64::from(file.read_any(name)?.sum());
            // anomalib writes unset values as NaN.
            if value.is_finite() {
                values.insert(own.to_owned(), value);
            }
        }
    }
    Ok(values)
}
