//! A flow's shape and its training, and the two presets of docs/training.md.

use flawd_core::anomaly::ScoreKind;
use flawd_core::flow::FlowSpec;
use flawd_core::permutation::PermutationKind;

use crate::adam::AdamSettings;
use crate::trainer::{Schedule, TrainingSettings};
use crate::transform::TransformKind;

/// Fewest optimiser steps of [`FlowSettings::edge`], so that a flow on few images is fully trained
/// too; docs/training.md measures it.
const LEAST_STEPS: usize = 750;

/// Everything about a flow except its training data.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSettings {
    /// Hidden channels of the subnets.
    pub hidden: usize,
    /// Kernel size of each coupling block, an odd number.
    pub kernels: Vec<usize>,
    /// Limit of the soft clamp on the log-scales.
    pub clamp: f32,
    /// Which generator draws the permutations.
    pub permutation: PermutationKind,
    /// The transform of the features before the flow.
    pub transform: TransformKind,
    /// How the score is made of the latents.
    pub score: ScoreKind,
    /// Epochs, batch, optimiser, seed.
    pub training: TrainingSettings,
}

impl FlowSettings {
    /// Returns the shape of the flow on features of `channels` channels at `scales` scales, which
    /// look across each other if `cross_scale`.
    pub fn spec(&self, channels: usize, scales: usize, cross_scale: bool) -> FlowSpec {
        FlowSpec {
            channels,
            hidden: self.hidden,
            kernels: self.kernels.clone(),
            clamp: self.clamp,
            permutation: self.permutation,
            scales,
            cross_scale,
        }
    }

    /// Returns settings that are small and fast to train on a CPU, for edge devices.
    pub fn edge(seed: u64) -> Self {
        Self {
            hidden: 64,
            kernels: vec![3; 4],
            clamp: 3.0,
            permutation: PermutationKind::default(),
            transform: TransformKind::Standardise,
            score: ScoreKind::PowerMean,
            training: TrainingSettings {
                epochs: 20,
                least_steps: LEAST_STEPS,
                batch: 4,
                seed,
                adam: AdamSettings {
                    learning_rate: 2e-3,
                    epsilon: 1e-6,
                    ..AdamSettings::default()
                },
                schedule: Schedule::Cosine,
                feature_noise: 0.1,
            },
        }
    }

    /// Returns the settings of the published code: full width, raw features, no schedule, 240
    /// epochs.
    pub fn published(seed: u64) -> Self {
        Self {
            hidden: 1024,
            kernels: vec![3, 3, 3, 5],
            clamp: 3.0,
            permutation: PermutationKind::default(),
            transform: TransformKind::None,
            score: ScoreKind::Mean,
            training: TrainingSettings {
                epochs: 240,
                least_steps: 0,
                batch: 16,
                seed,
                adam: AdamSettings::default(),
                schedule: Schedule::Constant,
                feature_noise: 0.0,
            },
        }
    }
}
