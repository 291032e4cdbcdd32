//! The order of a training: images, features, flow, export, calibration, bundle.

use std::path::PathBuf;

use flawd_core::calibration::Calibration;
use flawd_core::depth::Depth;
use flawd_core::light::LightNormalisation;
use flawd_onnx::{Execution, ExportError, ModelTooLarge};
use flawd_train::trainer::EpochReport;

use super::escapes::Escapes;
use super::images::{shuffle, split, sure_to_train};
use super::lock::Lock;
use super::promise::{self, GaveWay};
use super::run::forget;
use super::session::{Session, flow_spec};
use super::ship::{Shipment, Shipped};
use super::trained::Trained;
use super::{HoldOut, TrainingError, TrainingObserver, TrainingPlan, TrainingProgress, cross};
use crate::bundle::Draft;
use crate::lab::dataset;
use crate::lab::features::light::{self, SAMPLE};
use crate::lab::features::{ExtractionStep, FeatureImage, FeatureSource, Repeated};
use crate::pictures::depth;

/// The result of a run.
pub struct TrainingSummary {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Number of images for training.
    pub training: usize,
    /// Images left out, with reasons.
    pub skipped: usize,
    /// The finished epochs.
    pub epochs: Vec<EpochReport>,
    /// Largest relative difference between a score of the shipped model and the trainer's.
    pub export_difference: f64,
    /// The threshold and its promise.
    pub calibration: Calibration,
    /// What a lower rate requires, if the rate was raised to what the images support.
    pub gave_way: Option<GaveWay>,
    /// Which images set the threshold, and how far they are from the rest, human-readable.
    pub highest: String,
    /// The made-up defects that the bundle would let through; empty if no image could be read again.
    pub escapes: Vec<Escapes>,
    /// Whether one of the bundle's golden inputs is not a part.
    pub has_foreign_input: bool,
}

/// One to train on, one to calibrate with.
const LEAST_IMAGES: usize = 2;

/// Trains, exports, compares, calibrates, and writes the bundle.
///
/// # Errors
/// [`TrainingError`]; what was extracted and trained so far is kept in the plan's cache.
pub fn train(
    plan: &TrainingPlan,
    execution: Execution,
    observe: &mut TrainingObserver,
) -> Result<TrainingSummary, TrainingError> {
    // Detect obstacles to the bundle now rather than after the training.
    drop(Draft::begin(&plan.out)?);
    let Gathered {
        source,
        images,
        skipped,
        excluded,
    } = gather(plan, execution, observe)?;
    let (training, held_out) = deal(plan, images)?;
    let gave_way = promised(plan, training.len(), held_out.len(), observe)?;
    let session = Session {
        plan,
        execution,
        source: &source,
    };
    let _locks = lock(&session, &training)?;
    flawd_files::remove_abandoned(&session.runs());
    let out_of_fold = match plan.hold_out {
        HoldOut::Share(_) => None,
        HoldOut::Folds(folds) => Some(cross::out_of_fold(&session, &training, folds, observe)?),
    };
    let trained = Trained::train(&session, &training, &plan.flow.training, &held_out, observe)?;
    let shipment = Shipment {
        session: &session,
        trained: &trained,
        training: &training,
        held_out: &held_out,
        excluded: &excluded,
        out_of_fold: out_of_fold.as_ref(),
    };
    let Shipped {
        bundle,
        export_difference,
        highest,
        escapes,
    } = shipment.ship(observe)?;
    forget(&trained.checkpoint)?;
    if let Some(scores) = &out_of_fold {
        scores.forget()?;
    }
    Ok(TrainingSummary {
        bundle: bundle.folder().to_owned(),
        training: training.len(),
        skipped,
        epochs: trained.epochs,
        export_difference,
        calibration: bundle.calibration().clone(),
        gave_way,
        highest,
        escapes,
        has_foreign_input: bundle.has_foreign_input(),
    })
}

/// The images that can be used, with their features.
struct Gathered {
    source: FeatureSource,
    images: Vec<FeatureImage>,
    /// Number of images left out because they cannot be used.
    skipped: usize,
    /// Names of the images that the user leaves out.
    excluded: Vec<String>,
}

/// Finds the images and extracts their features, once it is certain that the plan can be carried
/// out with as many.
fn gather(
    plan: &TrainingPlan,
    execution: Execution,
    observe: &mut TrainingObserver,
) -> Result<Gathered, TrainingError> {
    let source = FeatureSource::open(&plan.features)?;
    check_size(plan, &source)?;
    let dataset::Images { paths, left_out } = dataset::training_images(&plan.images)?;
    observe(TrainingProgress::LeftOut(&left_out))?;
    let found = paths.len();
    if found >= LEAST_IMAGES {
        // Detect now rather than after the extraction what not even all of them support.
        promise::check(plan, found, promise::calibrating(plan, found))?;
    }
    let (used, excluded) = plan.selection.apply(paths.clone())?;
    let found_depth = {
        let paths = used.iter().map(PathBuf::as_path);
        let mut looked = |done, total| observe(TrainingProgress::Depths { done, total });
        depth::of_set(paths, plan.features.depth, &mut looked)?
    };
    observe(TrainingProgress::Depth(&found_depth))?;
    let light = light(plan, &used, found_depth.depth, observe)?;
    let source = source.reading(found_depth.depth).lit(light)?;
    let mut extraction = |step: ExtractionStep| observe(TrainingProgress::Features(step));
    let images = source.extract(paths, Repeated::LeaveOut, execution, &mut extraction)?;
    if images.len() < LEAST_IMAGES {
        return Err(TrainingError::TooFewImages(images.len()));
    }
    Ok(Gathered {
        source,
        skipped: found - images.len(),
        images,
        excluded,
    })
}

/// Returns the light of the pictures that train, and of none that calibrates: a threshold that
/// promises something about new pictures must not have seen its own.
fn light(
    plan: &TrainingPlan,
    used: &[PathBuf],
    depth: Option<Depth>,
    observe: &mut TrainingObserver,
) -> Result<Option<LightNormalisation>, TrainingError> {
    let sample = sure_to_train(used, plan.hold_out, plan.flow.training.seed, SAMPLE);
    let mut looked = |done, total| observe(TrainingProgress::Lights { done, total });
    let light = light::of_training(&plan.features, &sample, depth, &mut looked)?;
    if let Some(light) = light {
        observe(TrainingProgress::Light(light))?;
    }
    Ok(light)
}

/// Divides the images into those that train and those that are held out, none for folds; without
/// those that the user leaves out. Images are distributed before any are left out, so that leaving
/// out a held-out image does not change the trained flow.
fn deal(
    plan: &TrainingPlan,
    images: Vec<FeatureImage>,
) -> Result<(Vec<FeatureImage>, Vec<FeatureImage>), TrainingError> {
    let images = shuffle(images, plan.flow.training.seed);
    let (mut training, mut held_out) = match plan.hold_out {
        HoldOut::Share(share) => split(images, share),
        HoldOut::Folds(_) => (images, Vec::new()),
    };
    for part in [&mut training, &mut held_out] {
        part.retain(|image| !plan.selection.leaves_out(&image.path));
    }
    let lacks_some = match plan.hold_out {
        HoldOut::Share(_) => training.is_empty() || held_out.is_empty(),
        HoldOut::Folds(_) => training.len() < LEAST_IMAGES,
    };
    if lacks_some {
        return Err(TrainingError::TooFewImages(training.len() + held_out.len()));
    }
    Ok((training, held_out))
}

/// Returns the rate that the images support, if it is not the planned one.
fn promised(
    plan: &TrainingPlan,
    training: usize,
    held_out: usize,
    observe: &mut TrainingObserver,
) -> Result<Option<GaveWay>, TrainingError> {
    let calibrating = match plan.hold_out {
        HoldOut::Share(_) => held_out,
        HoldOut::Folds(_) => training,
    };
    let gave_way = promise::check(plan, training + held_out, calibrating)?;
    if let Some(gave_way) = &gave_way {
        observe(TrainingProgress::GaveWay(gave_way))?;
    }
    Ok(gave_way)
}

/// Locks the runs of this session for this process: that of the flow that ships, and those of all
/// folds.
fn lock(session: &Session, training: &[FeatureImage]) -> Result<Vec<Lock>, TrainingError> {
    let mut runs = match session.plan.hold_out {
        HoldOut::Share(_) => Vec::new(),
        HoldOut::Folds(folds) => cross::fingerprints(session, training, folds)?,
    };
    runs.push(session.fingerprint(training, &session.plan.flow.training)?);
    let path = |run: &String| session.runs().join(format!("{run}.lock"));
    runs.iter().map(|run| Lock::take(&path(run))).collect()
}

/// Fails before an hour of training if the model would exceed the maximum size of a file. It may be
/// somewhat larger than estimated here, because of names and of convolutions that are written out.
fn check_size(plan: &TrainingPlan, source: &FeatureSource) -> Result<(), TrainingError> {
    let parameters = flow_spec(plan, source)?.layout().len;
    let bytes = size_of::<f32>() * parameters + source.graph_len();
    Ok(ModelTooLarge::check(bytes).map_err(ExportError::from)?)
}
