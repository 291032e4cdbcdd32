//! The training loop: epochs of shuffled batches, and the schedule of the learning rate.
//!
//! The order of the images in an epoch depends only on the seed and the epoch's number, so a run
//! that was interrupted and resumed at an epoch's start ends with the same parameters as an
//! uninterrupted one. This module writes no files and prints nothing; its caller saves checkpoints
//! between epochs and watches the steps.

use std::time::Instant;

use flawd_core::flow::{FlowSpec, FlowSpecError};
use flawd_core::interrupted::Interrupted;
use flawd_core::random::{Normal, SplitMix64};
use flawd_core::transform::FeatureTransform;
use serde::{Deserialize, Serialize};

use crate::adam::{Adam, AdamSettings, gradient_norm};
use crate::checkpoint::{Checkpoint, CheckpointView};
pub use crate::epoch::EpochReport;
use crate::features::{CachedFeatureError, FeatureSet};
use crate::maps::Maps;
use crate::network::Flow;
use crate::transform;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSettings {
    /// Passes over the training images, if they make at least [`Self::least_steps`].
    pub epochs: usize,
    /// Fewest optimiser steps of the run, which has more epochs if there are few images.
    #[serde(default)]
    pub least_steps: usize,
    /// Images per step; the last batch of an epoch may be smaller.
    pub batch: usize,
    /// Seed of the initial parameters and of the order of the images.
    pub seed: u64,
    /// The optimiser.
    pub adam: AdamSettings,
    /// How the learning rate changes over the run.
    pub schedule: Schedule,
    /// Standard deviation of the noise that is added to the transformed features at every step, so
    /// that the flow cannot rely on combinations of features that hardly vary in a few pictures.
    #[serde(default)]
    pub feature_noise: f64,
}

impl TrainingSettings {
    /// With exactly this number of epochs, however few the images.
    pub fn with_epochs(self, epochs: usize) -> Self {
        Self {
            epochs,
            least_steps: 0,
            ..self
        }
    }

    /// Returns the settings of a run over `all` images, of which `images` are the pictures and the
    /// others their variants, with as many steps as a run over the pictures alone, or up to an
    /// epoch more.
    pub fn over(self, images: usize, all: usize) -> Self {
        if images == all {
            return self;
        }
        let steps = self.epochs_over(images) * self.steps_an_epoch(images);
        let epochs = steps.div_ceil(self.steps_an_epoch(all));
        self.with_epochs(epochs)
    }

    /// Returns the steps of an epoch over `images` images.
    pub fn steps_an_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch)
    }

    /// Returns the epochs of a run over `images` images, at least one.
    pub fn epochs_over(&self, images: usize) -> usize {
        let least = self.least_steps.div_ceil(self.steps_an_epoch(images));
        self.epochs.max(least)
    }
}

/// The learning rate over a run, as a factor of the optimiser's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same at every step, as in the published code.
    Constant,
    /// Rises over the first [`WARM_UP_STEPS`] steps, then falls to 0 along a half cosine
    /// (Loshchilov and Hutter, "SGDR", 2017).
    Cosine,
}

/// Steps over which [`Schedule::Cosine`] rises.
pub const WARM_UP_STEPS: usize = 50;

impl Schedule {
    /// Returns the factor at step `step` (from 0) of `steps`.
    fn factor(self, step: usize, steps: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let warm_up = ((step + 1) as f64 / WARM_UP_STEPS as f64).min(1.0);
                let done = step as f64 / steps as f64;
                warm_up * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The flow cannot be built.
    #[error(transparent)]
    Spec(#[from] FlowSpecError),
    /// Features could not be read.
    #[error(transparent)]
    Features(#[from] CachedFeatureError),
    /// The loss or its gradient is no longer a number.
    #[error(
        "the {what} is not finite in epoch {epoch}, step {step}; \
         try a lower learning rate or another feature transform"
    )]
    NotFinite {
        /// Loss or gradient.
        what: &'static str,
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
    },
    /// The caller asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The report of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// From 1.
    pub epoch: usize,
    /// From 1, within the epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Mean loss of the batch before the step.
    pub loss: f64,
}

/// A training run.
pub struct Trainer<'a> {
    features: &'a FeatureSet,
    transform: &'a FeatureTransform,
    settings: TrainingSettings,
    flow: Flow,
    adam: Adam,
    epochs: Vec<EpochReport>,
    /// Images that do not train, and whose loss is reported.
    watched: Option<&'a FeatureSet>,
}

impl<'a> Trainer<'a> {
    /// Creates a run from the start.
    ///
    /// # Errors
    /// If the spec does not make a flow.
    ///
    /// # Panics
    /// If the settings ask for empty batches.
    pub fn new(
        spec: FlowSpec,
        settings: TrainingSettings,
        features: &'a FeatureSet,
        transform: &'a FeatureTransform,
    ) -> Result<Self, EpochError> {
        assert!(settings.batch > 0, "a batch has at least one image");
        let flow = Flow::new(spec, settings.seed)?;
        let adam = Adam::new(flow.parameters.len());
        Ok(Self {
            features,
            transform,
            settings,
            flow,
            adam,
            epochs: Vec::new(),
            watched: None,
        })
    }

    /// Reports the loss of these images too, after every epoch. It changes nothing about the
    /// training.
    pub fn watch(&mut self, images: &'a FeatureSet) {
        self.watched = Some(images);
    }

    /// Resumes from a checkpoint of the same run.
    pub fn resume(&mut self, checkpoint: Checkpoint) {
        self.flow.parameters = checkpoint.parameters;
        self.adam = checkpoint.adam;
        self.epochs = checkpoint.epochs;
    }

    /// Returns the state after the last finished epoch.
    pub fn checkpoint<'b>(&'b self, fingerprint: &'b str) -> CheckpointView<'b> {
        CheckpointView {
            fingerprint,
            parameters: &self.flow.parameters,
            adam: &self.adam,
            epochs: &self.epochs,
        }
    }

    /// Returns whether all epochs are done.
    pub fn is_finished(&self) -> bool {
        self.epochs.len() >= self.planned_epochs()
    }

    /// Returns the epochs of the whole run.
    pub fn planned_epochs(&self) -> usize {
        self.settings.epochs_over(self.features.len())
    }

    /// Returns the finished epochs.
    pub fn epochs(&self) -> &[EpochReport] {
        &self.epochs
    }

    /// Returns the flow as trained so far.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Ends the run and returns the trained flow.
    pub fn into_flow(self) -> Flow {
        self.flow
    }

    /// Trains one epoch; `observe` is called after every step and may stop the run.
    ///
    /// # Errors
    /// If features cannot be read, the loss or gradient is not finite, or `observe` stopped the
    /// run. The state is then that of the middle of an epoch: resume from the last checkpoint.
    pub fn epoch(
        &mut self,
        mut observe: impl FnMut(StepReport) -> Result<(), Interrupted>,
    ) -> Result<&EpochReport, EpochError> {
        let start = Instant::now();
        let epoch = self.epochs.len() + 1;
        let order = self.order(epoch);
        let steps = self.settings.steps_an_epoch(order.len());
        let mut gradient = vec![0.0; self.flow.parameters.len()];
        let mut loss_sum = 0.0;
        let mut learning_rate = 0.0;
        for (number, batch) in order.chunks(self.settings.batch).enumerate() {
            let step = number + 1;
            let done = (epoch - 1) * steps + number;
            learning_rate = self.settings.adam.learning_rate
                * self
                    .settings
                    .schedule
                    .factor(done, self.planned_epochs() * steps);
            gradient.fill(0.0);
            let loss = self
                .step(batch, (epoch, learning_rate), &mut gradient)
                .map_err(|what| match what {
                    StepError::NotFinite(what) => EpochError::NotFinite { what, epoch, step },
                    StepError::Features(error) => error.into(),
                })?;
            loss_sum += loss * batch.len() as f64;
            observe(StepReport {
                epoch,
                step,
                steps,
                loss,
            })?;
        }
        let held_out_loss = (self.watched)
            .map(|images| self.loss_of(images))
            .transpose()?;
        self.epochs.push(EpochReport {
            epoch,
            loss: loss_sum / order.len() as f64,
            held_out_loss,
            learning_rate,
            seconds: start.elapsed().as_secs_f64(),
        });
        Ok(&self.epochs[epoch - 1])
    }

    /// Returns the mean loss of images.
    fn loss_of(&self, images: &FeatureSet) -> Result<f64, CachedFeatureError> {
        let samples: Vec<usize> = (0..images.len()).collect();
        let mut sum = 0.0;
        for batch in samples.chunks(self.settings.batch) {
            let features = transform::apply(self.transform, images.load(batch)?);
            sum += self.flow.forward(features).0.losses().iter().sum::<f64>();
        }
        Ok(sum / samples.len() as f64)
    }

    /// Takes one optimiser step on a batch; returns the batch's mean loss before it.
    fn step(
        &mut self,
        batch: &[usize],
        (epoch, learning_rate): (usize, f64),
        gradient: &mut [f32],
    ) -> Result<f64, StepError> {
        let features = self.features.load(batch).map_err(StepError::Features)?;
        let mut features = transform::apply(self.transform, features);
        if self.settings.feature_noise > 0.0 {
            // A picture has other noise in every epoch, and the same in a run that was resumed.
            let seed = self.settings.seed ^ (epoch as u64).rotate_left(32) ^ batch[0] as u64;
            add_noise(&mut features, self.settings.feature_noise, seed);
        }
        let (latents, trace) = self.flow.forward(features);
        let loss = latents.losses().iter().sum::<f64>() / batch.len() as f64;
        if !loss.is_finite() {
            return Err(StepError::NotFinite("loss"));
        }
        let (by_latents, by_log_det) = latents.loss_gradient();
        self.flow.backward(trace, by_latents, by_log_det, gradient);
        let norm = gradient_norm(gradient);
        if !norm.is_finite() {
            return Err(StepError::NotFinite("gradient"));
        }
        let adam = &self.settings.adam;
        self.adam.step(
            adam,
            learning_rate,
            norm,
            &mut self.flow.parameters,
            gradient,
        );
        Ok(loss)
    }

    /// Returns the images in the order of an epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.features.len()).collect();
        let stream = (epoch as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
        SplitMix64::new(self.settings.seed ^ stream).shuffle(&mut order);
        order
    }
}

/// Adds Gaussian noise of this standard deviation.
fn add_noise(features: &mut [Maps], deviation: f64, seed: u64) {
    let mut normal = Normal::new(seed);
    for maps in features {
        maps.mapv_inplace(|value| value + (deviation * normal.draw()) as f32);
    }
}

enum StepError {
    NotFinite(&'static str),
    Features(CachedFeatureError),
}
