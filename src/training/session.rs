//! One training run, step by step.

use std::path::PathBuf;

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::flow::{FlowSpec, SCALES};
use flawd_onnx::{Runtime, SessionOptions};
use flawd_train::trainer::EpochReport;
use flawd_train::transform;

use super::images::split;
use super::run::{Run, fingerprint};
use super::ship::{Shipment, Shipped};
use super::{Observer, Progress, TrainingError, TrainingPlan};
use crate::bundle::Draft;
use crate::dataset;
use crate::features::{ExtractionStep, FeatureSource, Repeated};

/// What a run made.
pub struct TrainingSummary {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Images that trained.
    pub training: usize,
    /// Images left out, with reasons.
    pub skipped: usize,
    /// The finished epochs.
    pub epochs: Vec<EpochReport>,
    /// Largest relative difference between a score of the shipped model and the trainer's.
    pub export_difference: f64,
    /// The threshold and its promise.
    pub calibration: Calibration,
}

/// Trains, exports, compares, calibrates, and writes the bundle.
///
/// # Errors
/// [`TrainingError`]; what was extracted and trained so far is kept in the plan's cache.
pub fn train(
    plan: &TrainingPlan,
    runtime: &Runtime,
    options: &SessionOptions,
    observe: &mut Observer,
) -> Result<TrainingSummary, TrainingError> {
    // Whatever stands in the way of the bundle is better known now than after the training.
    drop(Draft::begin(&plan.out)?);
    let source = FeatureSource::open(&plan.features)?;
    let paths = dataset::training_images(&plan.images)?;
    let found = paths.len();
    let mut extraction = |step: ExtractionStep| observe(Progress::Features(step));
    let images = source.extract(paths, Repeated::LeaveOut, runtime, options, &mut extraction)?;
    let skipped = found - images.len();
    if images.len() < 2 {
        return Err(TrainingError::TooFewImages(images.len()));
    }
    let (training, held_out) = split(images, plan.hold_out, plan.settings.seed);
    check_promise(plan, training.len(), held_out.len())?;

    let set = source.set(&training)?;
    let transform = transform::fit(plan.transform, &set)?;
    let spec = FlowSpec {
        channels: set.shapes()[0][0],
        hidden: plan.hidden,
        kernels: plan.kernels.clone(),
        clamp: plan.clamp,
        permutation: plan.permutation,
        scales: SCALES,
        cross_scale: true,
    };
    let run = Run {
        plan,
        fingerprint: fingerprint(plan, &spec, &source, &training),
        spec,
        set: &set,
        transform: &transform,
        held_out: held_out.len(),
    };
    let (flow, epochs) = run.train(observe)?;

    let shipment = Shipment {
        plan,
        source: &source,
        transform: &transform,
        flow: &flow,
        epochs: &epochs,
        training: &training,
        held_out: &held_out,
    };
    let Shipped {
        bundle,
        export_difference,
    } = shipment.ship(runtime, options, observe)?;
    run.forget()?;
    Ok(TrainingSummary {
        bundle: bundle.folder().to_owned(),
        training: training.len(),
        skipped,
        epochs,
        export_difference,
        calibration: bundle.calibration().clone(),
    })
}

/// Fails before an hour of training where the calibration after it would fail.
fn check_promise(
    plan: &TrainingPlan,
    training: usize,
    held_out: usize,
) -> Result<(), TrainingError> {
    let placeholder: Vec<f32> = (0..held_out).map(|score| score as f32).collect();
    calibrate(plan, placeholder)
        .map(drop)
        .map_err(|source| TrainingError::Calibration {
            source,
            hold_out: plan.hold_out,
            held_out,
            images: training + held_out,
        })
}

/// The threshold for `scores`, as the plan promises it.
pub(super) fn calibrate(
    plan: &TrainingPlan,
    scores: Vec<f32>,
) -> Result<Calibration, CalibrationError> {
    if plan.accept_achievable {
        Calibration::from_scores_or_achievable(scores, plan.false_reject_rate)
    } else {
        Calibration::from_scores(scores, plan.false_reject_rate)
    }
}
