//! From a folder of good images to a calibrated bundle.
//!
//! ```text
//! images ─► features (cached) ─┬─ training part ─► transform ─► flow ─► model.onnx ─┐
//!                              └─ held-out part ────────────────► scores ─► bundle ◄┘
//! ```
//!
//! The flow is trained on cached features; the threshold comes from the exported file through the
//! daemon's own preprocessing, on images that were not used for training. The scores of the
//! exported file are also compared with the trainer's own, so that an export that differs is never
//! shipped.
//!
//! If no image can be spared, each of K folds is held out in turn ([`cross`]), and the flow that
//! ships is trained on all images.
//!
//! The module reports through a callback and prints nothing.

mod cross;
mod error;
mod escapes;
mod images;
mod lock;
mod overfit;
mod promise;
mod run;
mod session;
mod ship;
mod train;
mod trained;

pub use self::train::{TrainingSummary, train};
pub use error::TrainingError;
pub use escapes::Escapes;
pub use overfit::{Overfit, overfit};
pub use promise::GaveWay;

use std::path::PathBuf;
use std::time::Duration;

use flawd_core::anomaly::MapKind;
use flawd_core::calibration::{Calibration, CalibrationMethod};
use flawd_core::interrupted::Interrupted;
use flawd_core::light::LightNormalisation;
use flawd_train::settings::FlowSettings;
use flawd_train::trainer::{EpochReport, StepReport};

use super::calibration::{PromiseTarget, Selection};
use super::dataset::LeftOut;
use super::features::{ExtractionStep, FeaturePlan, SkippedImage};
use super::variation::Variation;
use crate::pictures::depth;

/// Everything that a training run depends on.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// A folder of good images, or one that contains `train/good`.
    pub images: PathBuf,
    /// Where the features come from; checkpoints are kept in `runs` of its cache.
    pub features: FeaturePlan,
    /// The changes that the line may see: the flow is trained on pictures so changed as well, and
    /// the promise covers their ends. `None` if pictures stay as they were taken.
    pub vary: Option<Variation>,
    /// How the model computes its anomaly map.
    pub map: MapKind,
    /// How the flow is built and trained.
    pub flow: FlowSettings,
    /// Which images calibrate.
    pub hold_out: HoldOut,
    /// What the threshold promises.
    pub promise: PromiseTarget,
    /// How to treat pictures that do not belong in a calibration.
    pub selection: Selection,
    /// Start again although a checkpoint of this run exists.
    pub fresh: bool,
    /// The bundle's folder.
    pub out: PathBuf,
    /// The bundle's name.
    pub name: String,
}

/// Which images a flow is not trained on, so that its scores of them can calibrate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HoldOut {
    /// This share of the images, in `(0, 1)`; the flow that ships is never trained on it.
    Share(f64),
    /// Each of this many folds, at least 2, in turn: as many additional flows are trained. The flow
    /// that ships is trained on all images, and the promise is weaker
    /// ([`CalibrationMethod::Cross`]).
    Folds(usize),
}

impl HoldOut {
    /// Returns the resulting method of calibration.
    fn method(self) -> CalibrationMethod {
        match self {
            Self::Share(_) => CalibrationMethod::Split,
            Self::Folds(folds) => CalibrationMethod::Cross { folds },
        }
    }
}

/// Progress reports of a run.
pub enum TrainingProgress<'a> {
    /// The images are listed; these other files exist as well, and are not used.
    LeftOut(&'a [LeftOut]),
    /// The number of images checked for their depth.
    Depths {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
    /// Images of more than 8 bits are read at this depth.
    Depth(&'a depth::Found),
    /// The number of images checked for their light.
    Lights {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
    /// Every picture is brought to this light.
    Light(LightNormalisation),
    /// Features are being extracted.
    Features(ExtractionStep<'a>),
    /// Features of changed images are being extracted.
    Varied(ExtractionStep<'a>),
    /// The images do not support the rate; the lowest rate that they support will be promised.
    GaveWay(&'a GaveWay),
    /// A fold of a cross-calibration starts; the following reports are about it.
    Fold {
        /// Its number, from 1.
        number: usize,
        /// Total number of folds.
        of: usize,
    },
    /// The scores of the fold exist from an interrupted run.
    FoldKept,
    /// All folds are scored; the following reports are about the flow that ships.
    OutOfFold {
        /// Images that were scored.
        images: usize,
    },
    /// The images are divided, and training starts.
    Split {
        /// Number of images for training.
        training: usize,
        /// Number of images for calibration; 0 for the flow that ships after a cross-calibration.
        held_out: usize,
        /// Number of trainable parameters.
        parameters: usize,
    },
    /// The run resumes after this many epochs of an interrupted one.
    Resumed(usize),
    /// One optimiser step is done.
    Step(StepReport),
    /// An epoch is done.
    Epoch {
        /// Its result.
        report: &'a EpochReport,
        /// Epochs of the run.
        of: usize,
        /// Remaining time at this epoch's pace.
        left: Duration,
    },
    /// The number of held-out images scored by the exported model.
    Scored {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
    /// A picture to be scored changed or disappeared since its features were extracted.
    Skipped(&'a SkippedImage),
    /// The exported model reproduces the trainer's scores up to this relative difference.
    Exported {
        /// Largest difference over the images compared.
        difference: f64,
    },
    /// The threshold is set.
    Calibrated(&'a Calibration),
    /// The number of pictures scored with made-up defects.
    Damaged {
        /// Images done so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
}

/// Receives progress reports, and may stop the run.
pub type TrainingObserver<'a> = dyn FnMut(TrainingProgress<'_>) -> Result<(), Interrupted> + 'a;
