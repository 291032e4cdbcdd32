//! Trains one flow: its epochs, and the checkpoints between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flawd_core::flow::FlowSpec;
use flawd_core::transform::FeatureTransform;
use flawd_train::checkpoint::{Checkpoint, CheckpointError};
use flawd_train::features::FeatureSet;
use flawd_train::network::Flow;
use flawd_train::trainer::{EpochError, EpochReport, Trainer, TrainingSettings};

use super::{TrainingError, TrainingObserver, TrainingPlan, TrainingProgress};
use crate::files::digest::sha256;
use crate::lab::features::{FeatureImage, FeatureSource};

/// What is trained, and on what.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a TrainingPlan,
    pub(crate) spec: FlowSpec,
    pub(crate) set: &'a FeatureSet,
    pub(crate) transform: &'a FeatureTransform,
    pub(crate) settings: &'a TrainingSettings,
    /// Images whose loss is reported.
    pub(crate) watched: Option<&'a FeatureSet>,
    pub(crate) held_out: usize,
    pub(crate) fingerprint: String,
    /// Where the state of this run is kept.
    pub(crate) checkpoint: PathBuf,
}

/// Removes the state of a run that succeeded.
pub(crate) fn forget(checkpoint: &Path) -> Result<(), TrainingError> {
    fs::remove_file(checkpoint).map_err(|source| {
        TrainingError::Checkpoint(CheckpointError::Io {
            action: "remove",
            path: checkpoint.to_owned(),
            source,
        })
    })
}

impl Run<'_> {
    /// Trains from the start or from this run's checkpoint.
    pub(crate) fn train(
        &self,
        observe: &mut TrainingObserver,
    ) -> Result<(Flow, Vec<EpochReport>), TrainingError> {
        let mut trainer = self.start(observe)?;
        let mut saver = Saver {
            run: self,
            kept: trainer.epochs().len(),
            last: Instant::now(),
            took: Duration::ZERO,
        };
        while !trainer.is_finished() {
            let report = trainer
                .epoch(|step| observe(TrainingProgress::Step(step)))
                .map_err(|source| self.failed(saver.kept, source))?
                .clone();
            let of = trainer.planned_epochs();
            let left = Duration::from_secs_f64(report.seconds * (of - report.epoch) as f64);
            if saver.is_due() || trainer.is_finished() {
                saver.save(&trainer)?;
            }
            let finished = TrainingProgress::Epoch {
                report: &report,
                of,
                left,
            };
            if let Err(interrupted) = observe(finished) {
                if saver.kept < report.epoch {
                    saver.save(&trainer)?;
                }
                return Err(interrupted.into());
            }
        }
        let epochs = trainer.epochs().to_vec();
        Ok((trainer.into_flow(), epochs))
    }

    /// Returns the trainer before its first epoch, or after those in the checkpoint.
    fn start(&self, observe: &mut TrainingObserver) -> Result<Trainer<'_>, TrainingError> {
        let settings = self.settings.clone();
        let mut trainer = Trainer::new(self.spec.clone(), settings, self.set, self.transform)
            .map_err(|source| self.failed(0, source))?;
        if let Some(images) = self.watched {
            trainer.watch(images);
        }
        let started = TrainingProgress::Split {
            training: self.set.len(),
            held_out: self.held_out,
            parameters: trainer.flow().parameters.len(),
        };
        observe(started)?;
        if !self.plan.fresh
            && let Some(found) = Checkpoint::load(&self.checkpoint, &self.fingerprint)?
        {
            trainer.resume(found);
            observe(TrainingProgress::Resumed(trainer.epochs().len()))?;
        }
        Ok(trainer)
    }

    /// Returns the error of an epoch that failed when `kept` epochs were saved.
    fn failed(&self, kept: usize, source: EpochError) -> TrainingError {
        match source {
            EpochError::Interrupted(interrupted) => interrupted.into(),
            source => TrainingError::Training {
                source,
                kept,
                checkpoint: self.checkpoint.clone(),
            },
        }
    }
}

/// How many times as long as a save the training continues before the next one.
const SAVING: u32 = 10;

/// Decides when the state of a run is saved: after the first epoch, and then so rarely that saving
/// takes at most a tenth of the time. Few images make short epochs, but the size of the state
/// depends only on the flow.
struct Saver<'a> {
    run: &'a Run<'a>,
    /// Number of saved epochs.
    kept: usize,
    last: Instant,
    took: Duration,
}

impl Saver<'_> {
    fn is_due(&self) -> bool {
        self.last.elapsed() >= SAVING * self.took
    }

    fn save(&mut self, trainer: &Trainer) -> Result<(), CheckpointError> {
        let start = Instant::now();
        let checkpoint = trainer.checkpoint(&self.run.fingerprint);
        checkpoint.save(&self.run.checkpoint)?;
        self.kept = trainer.epochs().len();
        self.last = Instant::now();
        self.took = self.last - start;
        Ok(())
    }
}

/// Returns a name that differs between runs whose numbers would.
pub(crate) fn fingerprint(
    plan: &TrainingPlan,
    settings: &TrainingSettings,
    spec: &FlowSpec,
    source: &FeatureSource,
    training: &[FeatureImage],
) -> String {
    let keys: Vec<&str> = training.iter().map(|image| image.key.as_str()).collect();
    let inputs = format!(
        "{:?} {spec:?} {:?} {} {keys:?} {:?}",
        settings, plan.flow.transform, source.graph_digest, plan.vary
    );
    sha256(inputs.as_bytes()).hex()[..16].to_owned()
}
