//! One training run, step by step.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::digest::Digest;
use flawd_core::flow::FlowSpec;
use flawd_core::manifest::{
    self, BackboneRecord, BundleVersion, Manifest, ModelRecord, TrainingRecord,
};
use flawd_core::transform::FeatureTransform;
use flawd_onnx::{
    Backbone, FeatureExtractor, FeatureSpec, Runtime, SessionOptions, feature_graph, model_graph,
};
use flawd_train::checkpoint::{Checkpoint, CheckpointError};
use flawd_train::features::{FeatureCache, FeatureError, FeatureSet};
use flawd_train::network::Flow;
use flawd_train::trainer::{self, EpochReport, Trainer};
use flawd_train::transform;
use jiff::Timestamp;

use super::images::{Extraction, TrainingImage, split};
use super::{Observer, Progress, TrainingError, TrainingPlan, tell};
use crate::bundle::{BundleError, Draft, GoldenInput, choose_golden};
use crate::dataset;
use crate::decode::{DecodeError, decode_file};
use crate::digest::{sha256, sha256_file};
use crate::scorer::Scorer;

/// Largest relative difference between a score of the exported model and the trainer's own.
pub(super) const EXPORT_TOLERANCE: f64 = 1e-4;

/// Held-out images on which the export is compared with the trainer.
const COMPARED_IMAGES: usize = 8;

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
    let backbone = Backbone::open(&plan.backbone)?;
    let features = feature_spec(plan, &backbone)?;
    let graph = feature_graph(&backbone, &features)?;
    let cache = FeatureCache::open(&plan.cache.join("features"))?;

    let paths = dataset::training_images(&plan.images)?;
    let found = paths.len();
    let extractor = FeatureExtractor::load(runtime, &graph, options)?;
    let images = Extraction::new(plan, sha256(&graph), extractor, &cache).run(paths, observe)?;
    let skipped = found - images.len();
    if images.len() < 2 {
        return Err(TrainingError::TooFewImages(images.len()));
    }
    let (training, held_out) = split(images, plan.hold_out, plan.settings.seed);
    check_promise(plan, training.len(), held_out.len())?;

    let keys = |images: &[TrainingImage]| images.iter().map(|image| image.key.clone()).collect();
    let set = FeatureSet::new(cache.clone(), keys(&training))?;
    let transform = transform::fit(plan.transform, &set)?;
    let spec = FlowSpec {
        channels: set.shapes()[0][0],
        hidden: plan.hidden,
        kernels: plan.kernels.clone(),
        clamp: plan.clamp,
        permutation: plan.permutation,
    };
    let run = Run {
        plan,
        fingerprint: fingerprint(plan, &spec, &graph, &training),
        spec,
        set: &set,
        transform: &transform,
        held_out: held_out.len(),
    };
    let (flow, epochs) = run.train(observe)?;

    let properties = BTreeMap::from([("name".to_owned(), plan.name.clone())]);
    let parameters = &flow.parameters;
    let model = model_graph(
        &backbone,
        &features,
        &transform,
        flow.spec(),
        parameters,
        &properties,
    )?;
    let mut draft = Draft::begin(&plan.out)?;
    let model = draft.write_model(&model)?;
    let names: Vec<_> = training
        .iter()
        .map(|image| image.path.to_string_lossy())
        .collect();
    draft.write_training_files(
        training
            .iter()
            .map(|i| i.digest)
            .zip(names.iter().map(|n| &**n)),
    )?;

    let mut scorer = Scorer::load(&model, plan.geometry, runtime, options)?;
    let mut scores = Vec::with_capacity(held_out.len());
    for image in &held_out {
        scores.push(scorer.score(&decode_file(&image.path)?)?.score);
    }
    let compared = &held_out[..held_out.len().min(COMPARED_IMAGES)];
    let trained = FeatureSet::new(cache, keys(compared))?;
    let difference = largest_difference(&flow, &transform, &trained, &scores)?;
    tell(observe, Progress::Exported { difference })?;
    if difference.is_nan() || difference > EXPORT_TOLERANCE {
        return Err(TrainingError::ExportDiffers { difference });
    }

    let calibration = calibrate(plan, scores.clone())?;
    tell(observe, Progress::Calibrated(&calibration))?;
    let golden = choose_golden(&scores, &calibration)
        .into_iter()
        .map(|place| {
            let image = decode_file(&held_out[place].path)?;
            Ok(GoldenInput {
                image,
                score: scores[place],
            })
        })
        .collect::<Result<Vec<_>, DecodeError>>()?;
    let backbone = BackboneRecord {
        file: plan
            .backbone
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        digest: sha256_file(&plan.backbone).map_err(|source| BundleError::Unreadable {
            path: plan.backbone.clone(),
            source,
        })?,
        outputs: features.outputs,
        normalisation: features.normalisation,
    };
    let bundle = draft.finish(&golden, |record| Manifest {
        format: manifest::FORMAT,
        name: plan.name.clone(),
        version: BundleVersion::FIRST,
        created: Timestamp::now(),
        model: ModelRecord {
            digest: record.model,
            input: plan.size,
            geometry: plan.geometry,
        },
        backbone,
        flow: flow.spec().clone(),
        training: training_record(plan, training.len(), record.training_files, &epochs),
        calibration: calibration.clone(),
        metrics: None,
        golden: record.golden,
    })?;
    run.forget()?;
    Ok(TrainingSummary {
        bundle: bundle.folder().to_owned(),
        training: training.len(),
        skipped,
        epochs,
        export_difference: difference,
        calibration,
    })
}

/// The manifest's account of the training.
fn training_record(
    plan: &TrainingPlan,
    images: usize,
    data: Digest,
    epochs: &[EpochReport],
) -> TrainingRecord {
    let settings = toml::Table::try_from(&plan.settings).expect("settings are plain numbers");
    TrainingRecord {
        images,
        data,
        transform: plan.transform.to_string(),
        seed: plan.settings.seed,
        epochs: epochs.len(),
        final_loss: epochs.last().map_or(f64::NAN, |epoch| epoch.loss),
        settings,
    }
}

/// Largest relative difference between the exported model's scores and the flow's own.
fn largest_difference(
    flow: &Flow,
    transform: &FeatureTransform,
    features: &FeatureSet,
    exported: &[f32],
) -> Result<f64, FeatureError> {
    let samples: Vec<usize> = (0..features.len()).collect();
    let batch = transform::apply(transform, features.load(&samples)?);
    let own = flow.forward(batch).0.scores();
    let difference = |(own, &exported): (&f64, &f32)| (f64::from(exported) - own).abs() / own;
    Ok(own.iter().zip(exported).map(difference).fold(0.0, f64::max))
}

/// A name that differs between runs whose numbers would.
fn fingerprint(
    plan: &TrainingPlan,
    spec: &FlowSpec,
    graph: &[u8],
    training: &[TrainingImage],
) -> String {
    let keys: Vec<&str> = training.iter().map(|image| image.key.as_str()).collect();
    let inputs = format!(
        "{:?} {spec:?} {:?} {} {keys:?}",
        plan.settings,
        plan.transform,
        sha256(graph)
    );
    sha256(inputs.as_bytes())
        .to_string()
        .trim_start_matches("sha256:")[..16]
        .to_owned()
}

/// Which outputs of the backbone, at which size, with which pixels.
fn feature_spec(plan: &TrainingPlan, backbone: &Backbone) -> Result<FeatureSpec, TrainingError> {
    let path = || plan.backbone.clone();
    let outputs = match (&plan.outputs[..], &backbone.outputs()[..]) {
        ([], [only]) => vec![(*only).to_owned()],
        ([], several) => {
            let outputs = several.iter().map(|&name| name.to_owned()).collect();
            return Err(TrainingError::ChooseOutput {
                path: path(),
                outputs,
            });
        }
        (chosen, _) => chosen.to_vec(),
    };
    let normalisation = plan.normalisation.or(backbone.normalisation());
    let normalisation =
        normalisation.ok_or_else(|| TrainingError::NoNormalisation { path: path() })?;
    Ok(FeatureSpec {
        size: plan.size,
        outputs,
        normalisation,
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

fn calibrate(plan: &TrainingPlan, scores: Vec<f32>) -> Result<Calibration, CalibrationError> {
    if plan.accept_achievable {
        Calibration::from_scores_or_achievable(scores, plan.false_reject_rate)
    } else {
        Calibration::from_scores(scores, plan.false_reject_rate)
    }
}

/// The part of a run that trains.
struct Run<'a> {
    plan: &'a TrainingPlan,
    spec: FlowSpec,
    set: &'a FeatureSet,
    transform: &'a FeatureTransform,
    held_out: usize,
    fingerprint: String,
}

impl Run<'_> {
    /// Where the state of this very run is kept.
    fn checkpoint(&self) -> PathBuf {
        self.plan
            .cache
            .join("runs")
            .join(format!("{}.safetensors", self.fingerprint))
    }

    /// Removes the state of a run that ended well.
    fn forget(&self) -> Result<(), TrainingError> {
        let path = self.checkpoint();
        fs::remove_file(&path).map_err(|source| {
            TrainingError::Checkpoint(CheckpointError::Io {
                action: "remove",
                path,
                source,
            })
        })
    }

    /// Trains from the start or from this very run's checkpoint.
    fn train(&self, observe: &mut Observer) -> Result<(Flow, Vec<EpochReport>), TrainingError> {
        let checkpoint = self.checkpoint();
        let settings = self.plan.settings.clone();
        let failed = |kept: usize, source| match source {
            trainer::TrainingError::Interrupted { .. } => TrainingError::Interrupted,
            source => TrainingError::Training {
                source,
                kept,
                checkpoint: checkpoint.clone(),
            },
        };
        let mut trainer = Trainer::new(self.spec.clone(), settings, self.set, self.transform)
            .map_err(|source| failed(0, source))?;
        let started = Progress::Split {
            training: self.set.len(),
            held_out: self.held_out,
            parameters: trainer.flow().parameters.len(),
        };
        tell(observe, started)?;
        if !self.plan.fresh
            && let Some(found) = Checkpoint::load(&checkpoint, &self.fingerprint)?
        {
            trainer.resume(found);
            tell(observe, Progress::Resumed(trainer.epochs().len()))?;
        }
        while !trainer.is_finished() {
            let kept = trainer.epochs().len();
            let report = trainer
                .epoch(|step| observe(Progress::Step(step)))
                .map_err(|source| failed(kept, source))?
                .clone();
            trainer.checkpoint(&self.fingerprint).save(&checkpoint)?;
            let of = self.plan.settings.epochs;
            let left = Duration::from_secs_f64(report.seconds * (of - report.epoch) as f64);
            if observe(Progress::Epoch {
                report: &report,
                of,
                left,
            })
            .is_break()
            {
                return Err(TrainingError::Interrupted);
            }
        }
        let epochs = trainer.epochs().to_vec();
        Ok((trainer.into_flow(), epochs))
    }
}
