//! The part of a session that trains: epochs, and the checkpoint between them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use flawd_core::flow::FlowSpec;
use flawd_core::transform::FeatureTransform;
use flawd_train::checkpoint::{Checkpoint, CheckpointError};
use flawd_train::features::FeatureSet;
use flawd_train::network::Flow;
use flawd_train::trainer::{self, EpochReport, Trainer};

use super::{Observer, Progress, TrainingError, TrainingPlan, tell};
use crate::digest::sha256;
use crate::features::{FeatureImage, FeatureSource};

/// What is trained, on what.
pub(super) struct Run<'a> {
    pub(super) plan: &'a TrainingPlan,
    pub(super) spec: FlowSpec,
    pub(super) set: &'a FeatureSet,
    pub(super) transform: &'a FeatureTransform,
    pub(super) held_out: usize,
    pub(super) fingerprint: String,
}

impl Run<'_> {
    /// Where the state of this very run is kept.
    fn checkpoint(&self) -> PathBuf {
        self.plan
            .features
            .cache
            .join("runs")
            .join(format!("{}.safetensors", self.fingerprint))
    }

    /// Removes the state of a run that ended well.
    pub(super) fn forget(&self) -> Result<(), TrainingError> {
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
    pub(super) fn train(
        &self,
        observe: &mut Observer,
    ) -> Result<(Flow, Vec<EpochReport>), TrainingError> {
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

/// A name that differs between runs whose numbers would.
pub(super) fn fingerprint(
    plan: &TrainingPlan,
    spec: &FlowSpec,
    source: &FeatureSource,
    training: &[FeatureImage],
) -> String {
    let keys: Vec<&str> = training.iter().map(|image| image.key.as_str()).collect();
    let inputs = format!(
        "{:?} {spec:?} {:?} {} {keys:?}",
        plan.settings, plan.transform, source.graph_digest
    );
    sha256(inputs.as_bytes()).hex()[..16].to_owned()
}
