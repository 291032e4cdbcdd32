//! From a folder of good images to a calibrated bundle.
//!
//! ```text
//! images ─► features (cached) ─┬─ training part ─► transform ─► flow ─► model.onnx ─┐
//!                              └─ held-out part ────────────────► scores ─► bundle ◄┘
//! ```
//!
//! The flow is trained on cached features; the threshold comes from the exported file through the
//! daemon's own preprocessing, on images that training never saw. The scores of the exported file
//! are also compared with the trainer's own, so that an export that differs is never shipped.
//!
//! Where no image can be spared, the held-out part is each of K folds in turn ([`cross`]), and the
//! flow that ships is trained on all images.
//!
//! The module reports through a callback and prints nothing.

mod cross;
mod error;
mod images;
mod lock;
mod promise;
mod run;
mod session;
mod ship;
mod train;
mod trained;

pub use self::train::{TrainingSummary, train};
pub use error::TrainingError;
pub use promise::GaveWay;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use flawd_core::anomaly::MapKind;
use flawd_core::calibration::{Calibration, CalibrationMethod};
use flawd_train::settings::FlowSettings;
use flawd_train::trainer::{EpochReport, StepReport};

use super::calibration::{PromiseTarget, Selection};
use super::dataset::LeftOut;
use super::features::{ExtractionStep, FeaturePlan, SkippedImage};
use crate::pictures::depth;

/// Everything that a training run depends on.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// A folder of good images, or one with `train/good` below it.
    pub images: PathBuf,
    /// Where the features come from; checkpoints are kept in `runs` of its cache.
    pub features: FeaturePlan,
    /// How the model makes its anomaly map.
    pub map: MapKind,
    /// How the flow is built and trained.
    pub flow: FlowSettings,
    /// Which images calibrate.
    pub hold_out: HoldOut,
    /// What the threshold promises.
    pub promise: PromiseTarget,
    /// What is done about pictures that do not belong there.
    pub selection: Selection,
    /// Start again although a checkpoint of this very run is there.
    pub fresh: bool,
    /// The bundle's folder.
    pub out: PathBuf,
    /// The bundle's name.
    pub name: String,
}

/// Which images a flow is not trained on, so that its scores of them calibrate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HoldOut {
    /// This share of the images, in `(0, 1)`; the flow that ships is never trained on it.
    Share(f64),
    /// Each of so many folds, at least 2, in turn: as many more flows are trained. The flow that
    /// ships is trained on all images, and the promise is weaker ([`CalibrationMethod::Cross`]).
    Folds(usize),
}

impl HoldOut {
    /// The method of the calibration that comes of it.
    fn method(self) -> CalibrationMethod {
        match self {
            Self::Share(_) => CalibrationMethod::Split,
            Self::Folds(folds) => CalibrationMethod::Cross { folds },
        }
    }
}

/// What a run reports as it goes.
pub enum TrainingProgress<'a> {
    /// The images are listed; this is there as well, and is not used.
    LeftOut(&'a [LeftOut]),
    /// So many images were looked at for their depth.
    Depths {
        /// Images that are done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// Images of more than 8 bits are read by this depth.
    Depth(&'a depth::Found),
    /// Features are extracted.
    Features(ExtractionStep<'a>),
    /// The images do not support the rate; the lowest that they do will be promised.
    GaveWay(&'a GaveWay),
    /// A fold of a cross-calibration begins; what follows is about it.
    Fold {
        /// Which one, from 1.
        number: usize,
        /// Folds in all.
        of: usize,
    },
    /// The scores of the fold are there from an interrupted run.
    FoldKept,
    /// All folds are scored; what follows is about the flow that ships.
    OutOfFold {
        /// Images that were scored.
        images: usize,
    },
    /// The images are parted, and training begins.
    Split {
        /// Number of images that train.
        training: usize,
        /// Number of images that calibrate; none for the flow that ships after a
        /// cross-calibration.
        held_out: usize,
        /// Number of trainable parameters.
        parameters: usize,
    },
    /// The run goes on after this many epochs of an interrupted one.
    Resumed(usize),
    /// One optimiser step is done.
    Step(StepReport),
    /// An epoch is done.
    Epoch {
        /// What it gave.
        report: &'a EpochReport,
        /// Epochs of the run.
        of: usize,
        /// Time that the rest will take at this epoch's pace.
        left: Duration,
    },
    /// So many held-out images are scored by the exported model.
    Scored {
        /// Images that are done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// A picture that was to be scored changed or went since its features were extracted.
    Skipped(&'a SkippedImage),
    /// The exported model reproduces the trainer's scores up to this relative difference.
    Exported {
        /// Largest difference over the images compared.
        difference: f64,
    },
    /// The threshold is set.
    Calibrated(&'a Calibration),
}

/// Hears of progress, and may stop the run.
pub type TrainingObserver<'a> = dyn FnMut(TrainingProgress<'_>) -> ControlFlow<()> + 'a;

/// Reports, and turns a wish to stop into [`TrainingError::Interrupted`].
fn tell(observe: &mut TrainingObserver, progress: TrainingProgress) -> Result<(), TrainingError> {
    match observe(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainingError::Interrupted),
    }
}
