//! Why a training run ends without a bundle.

use std::io;
use std::path::{Path, PathBuf};

use flawd_core::calibration::CalibrationError;
use flawd_core::interrupted::Interrupted;
use flawd_onnx::ExportError;
use flawd_train::checkpoint::CheckpointError;
use flawd_train::features::CachedFeatureError;
use flawd_train::trainer;

use crate::bundle::BundleError;
use crate::bundle::scorer::ScorerError;
use crate::bundle::stress::StressError;
use crate::lab::calibration::{NotThere, StandApart, ThresholdError};
use crate::lab::dataset::DatasetError;
use crate::lab::features::FeaturesError;
use crate::pictures::decode::DecodeError;
use crate::pictures::depth::SetError;

/// Why a run ended without a bundle.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The images cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Their depth is unknown, or contradicts the stated one.
    #[error(transparent)]
    Depth(SetError),
    /// The backbone cannot be used, or features cannot be stored.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// The model cannot be built.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Cached features cannot be read.
    #[error(transparent)]
    Cache(#[from] CachedFeatureError),
    /// A checkpoint cannot be kept.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// At least two images are needed: one to train on, one to calibrate with.
    #[error("only {0} usable image: training needs at least 2, and some hundred to be any good")]
    TooFewImages(usize),
    /// All pictures to be scored changed or disappeared during the training.
    #[error(
        "none of the {0} images that were to be scored can still be read as it was: put the files \
         back and run the same command again, which goes on from here"
    )]
    NoneLeft(usize),
    /// The held-out images cannot promise the rate. Detected before training starts.
    #[error(
        "--hold-out {hold_out} leaves {held_out} of {images} images to calibrate with: leave \
         --false-reject-rate out to promise the lowest rate that they support, or bring more: {takes}"
    )]
    Calibration {
        /// The error of the calibration.
        #[source]
        source: CalibrationError,
        /// The share held out.
        hold_out: f64,
        /// Images held out.
        held_out: usize,
        /// Usable images.
        images: usize,
        /// What the rate requires, human-readable.
        takes: String,
    },
    /// The images cannot promise the rate by cross-calibration. Detected before training starts.
    #[error(
        "--cross-calibrate {folds} calibrates with all {images} images: leave --false-reject-rate \
         out to promise the lowest rate that they support, or bring more"
    )]
    CrossCalibration {
        /// The error of the calibration.
        #[source]
        source: CalibrationError,
        /// Requested number of folds.
        folds: usize,
        /// Usable images.
        images: usize,
    },
    /// The result of a fold cannot be stored or read back.
    #[error("cannot {action} {}, which belongs to a fold of the cross-calibration", path.display())]
    Fold {
        /// What was attempted.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What an interrupted run has kept of a fold is damaged.
    #[error(
        "{} is damaged ({reason}); delete it to train this fold of the cross-calibration again",
        path.display()
    )]
    DamagedFold {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Training itself failed; the state of the last saved epoch is kept, if any.
    #[error("training failed; {}", kept_state(*kept, checkpoint))]
    Training {
        /// The reason.
        #[source]
        source: trainer::EpochError,
        /// Number of saved epochs.
        kept: usize,
        /// The file.
        checkpoint: PathBuf,
    },
    /// The exported model does not score as the trainer does.
    #[error(
        "the exported model differs from the trained one: relative difference {difference:.1e} in \
         a score, where {allowed:.0e} is allowed"
    )]
    ExportDiffers {
        /// The largest difference.
        difference: f64,
        /// The largest allowed difference.
        allowed: f64,
    },
    /// An image can no longer be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An image cannot be scored.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// The exported model's scores yield no threshold.
    #[error(transparent)]
    Threshold(CalibrationError),
    /// Images that calibrate stand apart from the others.
    #[error("{0}; the training is kept, and the same command goes on from its end")]
    StandApart(StandApart),
    /// At an end of the variation no picture could be judged.
    #[error("{0}; the training is kept")]
    TooWide(ThresholdError),
    /// An image that should be left out does not exist.
    #[error(transparent)]
    NotThere(#[from] NotThere),
    /// The exported model can only score what it knows.
    #[error(transparent)]
    Stress(#[from] StressError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Another process is running the same training.
    #[error(
        "another flawd, process {process}, trains the same on these images: wait for its end, or give \
         another folder with --cache"
    )]
    Busy {
        /// Its process id, if known.
        process: String,
    },
    /// A training cannot be locked.
    #[error(
        "cannot lock {}; name a folder on a disk of this machine with --cache", path.display()
    )]
    NotLocked {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller asked to stop; the same command resumes from the last checkpoint.
    #[error("interrupted; run the same command again to go on, without --fresh")]
    Interrupted,
}

impl From<ThresholdError> for TrainingError {
    fn from(error: ThresholdError) -> Self {
        match error {
            ThresholdError::Calibration(error) => Self::Threshold(error),
            ThresholdError::StandApart(error) => Self::StandApart(error),
            error @ ThresholdError::TooWide { .. } => Self::TooWide(error),
        }
    }
}

impl From<Interrupted> for TrainingError {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<SetError> for TrainingError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Interrupted(interrupted) => interrupted.into(),
            error => Self::Depth(error),
        }
    }
}

/// Says what a failed run leaves behind.
fn kept_state(epochs: usize, checkpoint: &Path) -> String {
    match epochs {
        0 => "no epoch was finished, so nothing is kept".to_owned(),
        epochs => format!(
            "the state after {epochs} epochs is kept in {}",
            checkpoint.display()
        ),
    }
}
