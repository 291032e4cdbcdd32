//! Why a training run ends without a bundle.

use std::path::PathBuf;

use flawd_core::calibration::CalibrationError;
use flawd_onnx::ExportError;
use flawd_train::checkpoint::CheckpointError;
use flawd_train::features::FeatureError;
use flawd_train::trainer;

use super::ship::EXPORT_TOLERANCE;
use crate::bundle::BundleError;
use crate::dataset::DatasetError;
use crate::decode::DecodeError;
use crate::features::FeaturesError;
use crate::scorer::ScorerError;

/// Why a run ended without a bundle.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The images cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The backbone cannot be used, or features cannot be kept.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// The model cannot be built.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Cached features cannot be read.
    #[error(transparent)]
    Cache(#[from] FeatureError),
    /// A checkpoint cannot be kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Two images at least are needed: one to train on, one to calibrate with.
    #[error("only {0} usable image: training needs at least 2, and some hundred to be any good")]
    TooFewImages(usize),
    /// The held-out images cannot promise the rate. Found before training starts.
    #[error("--hold-out {hold_out} leaves {held_out} of {images} images to calibrate with")]
    Calibration {
        /// What the calibration says.
        #[source]
        source: CalibrationError,
        /// The share held out.
        hold_out: f64,
        /// Images held out.
        held_out: usize,
        /// Usable images.
        images: usize,
    },
    /// Training itself failed; the last finished epoch's checkpoint is kept.
    #[error("training failed; the state after {kept} epochs is kept in {}", checkpoint.display())]
    Training {
        /// Why.
        #[source]
        source: trainer::TrainingError,
        /// Finished epochs.
        kept: usize,
        /// The file.
        checkpoint: PathBuf,
    },
    /// The exported model does not score as the trainer does.
    #[error(
        "the exported model differs from the trained one: relative difference {difference:.1e} in \
         a score, where {EXPORT_TOLERANCE:.0e} is allowed"
    )]
    ExportDiffers {
        /// The largest difference.
        difference: f64,
    },
    /// A held-out image can no longer be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A held-out image cannot be scored.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// The exported model's scores make no threshold.
    #[error(transparent)]
    Threshold(#[from] CalibrationError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The caller asked to stop; the same command goes on from the last checkpoint.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
}
