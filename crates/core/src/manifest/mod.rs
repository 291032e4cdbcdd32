//! `bundle.toml`: what a bundle is, where it comes from, and what it promises.
//!
//! The manifest is read before anything else of a bundle is trusted, so it is strict: a key that
//! it does not know is an error, and so is a format from a newer flawd. Numbers that decide about
//! parts read back bit for bit.

mod record;
mod version;

pub use record::{
    BackboneRecord, ConversionRecord, GoldenRecord, Implementation, ImportRecord, MetricsRecord,
    ModelPrecision, ModelRecord, QualityRecord, SelectionRecord, TrainingRecord,
};
pub use version::{BundleVersion, BundleVersionError};

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;
use crate::flow::{FlowSpec, FlowSpecError};
use crate::regions::PixelCalibration;

/// The format of `bundle.toml` that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Everything that `bundle.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the bundle, for operators and messages.
    pub name: String,
    /// Counts the bundle's changes.
    pub version: BundleVersion,
    /// When this version was made.
    pub created: Timestamp,
    /// The model file and its input.
    pub model: ModelRecord,
    /// The feature extractor inside the model.
    pub backbone: BackboneRecord,
    /// The shape of the flow inside the model.
    pub flow: FlowSpec,
    /// How the flow was trained; absent if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// What the flow was imported from; absent if it was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportRecord>,
    /// How the model was converted; absent if it is as it was exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<ConversionRecord>,
    /// The threshold and what it promises.
    pub calibration: Calibration,
    /// The threshold for regions of the anomaly map, and what it promises. Absent in a bundle that
    /// was calibrated before there was one: it has no regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel: Option<PixelCalibration>,
    /// What was decided by hand about the pictures of the calibration; absent if nothing was.
    #[serde(default, skip_serializing_if = "SelectionRecord::is_empty")]
    pub selection: SelectionRecord,
    /// How bright and how sharp pictures have to be. Absent in a bundle that was calibrated before
    /// this was measured: it judges every picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityRecord>,
    /// Measured with `flawd evaluate --record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsRecord>,
    /// Inputs with known scores; at least one.
    pub golden: Vec<GoldenRecord>,
}

/// Why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not TOML, lacks something, or has something unknown; line and key are named.
    #[error("{0}install the bundle again, as a whole, or correct what was changed in it")]
    Syntax(#[from] toml::de::Error),
    /// Written by a newer flawd.
    #[error(
        "the bundle has format {found}, and this version of flawd reads up to {FORMAT}: update \
         flawd, or make the bundle again with this version"
    )]
    Newer {
        /// The format that was read.
        found: u32,
    },
    /// A format that never was.
    #[error("bundle format {0} does not exist")]
    NoSuchFormat(u32),
    /// The flow's numbers do not make a flow.
    #[error("[flow]: {0}")]
    Flow(#[from] FlowSpecError),
    /// Something that a bundle needs is missing or makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// A golden file outside its folder.
    #[error("golden input `{0}` is not a plain file name")]
    BadGoldenFile(String),
}

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A newer format may have keys that are unknown here, so the format is looked at first.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match toml::from_str(text)? {
            Format { format: FORMAT } => {}
            Format { format } if format > FORMAT => {
                return Err(ManifestError::Newer { found: format });
            }
            Format { format } => return Err(ManifestError::NoSuchFormat(format)),
        }
        let manifest: Self = toml::from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }
}

impl Manifest {
    /// Checks what the types alone do not guarantee.
    fn validate(&self) -> Result<(), ManifestError> {
        self.flow.validate()?;
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(ManifestError::Invalid("the bundle has no printable name"));
        }
        if self.training.is_some() == self.import.is_some() {
            return Err(ManifestError::Invalid(
                "the bundle has to have one of [training] and [import]",
            ));
        }
        if self.model.light.is_some_and(|light| !light.is_possible()) {
            return Err(ManifestError::Invalid(
                "[model.light]: the reference has to lie between 0 and 255, and the limit has to be \
                 at least 1",
            ));
        }
        if self.golden.is_empty() {
            return Err(ManifestError::Invalid(
                "the bundle has no golden input, so no device could prove that it scores as it \
                 should",
            ));
        }
        let mut losses = (self.training.iter())
            .flat_map(|training| training.losses.iter().chain(&training.held_out_losses));
        if !losses.all(|loss| loss.is_finite()) {
            return Err(ManifestError::Invalid("[training]: a loss is not finite"));
        }
        if self
            .quality
            .as_ref()
            .is_some_and(|quality| !quality.limits.is_possible())
        {
            return Err(ManifestError::Invalid(
                "no picture can lie within the limits of [quality.limits]",
            ));
        }
        let pictures = self.quality.as_ref().and_then(|it| it.pictures.as_ref());
        if pictures.is_some_and(|pictures| !pictures.is_possible()) {
            return Err(ManifestError::Invalid(
                "the values of [quality.pictures] have to be numbers in ascending order",
            ));
        }
        for golden in &self.golden {
            let name = &golden.file;
            let plain = !name.starts_with('.') && !name.contains(['/', '\\']) && !name.is_empty();
            if !plain {
                return Err(ManifestError::BadGoldenFile(name.clone()));
            }
            if !(golden.score.is_finite() && golden.tolerance >= 0.0) {
                return Err(ManifestError::Invalid(
                    "a golden score has to be finite and its tolerance at least 0",
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Manifest {
    /// Writes the text of `bundle.toml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = toml::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str("# Written by flawd. Every number here belongs to model.onnx beside it.\n\n")?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests;
