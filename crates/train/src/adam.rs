//! Adam with L2 weight decay, after clipping the norm of the whole gradient.
//!
//! The decay is added to the gradient, as in PyTorch's `Adam` (not decoupled as in `AdamW`), and
//! after clipping. The published ε of 1e-4 matters: gradients are divided by the number of latent
//! dimensions, so most lie far below it and the step is not a sign step.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The optimiser's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamSettings {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the running mean and of the running square of the gradient.
    pub betas: [f64; 2],
    /// Added to the root of the running square.
    pub epsilon: f64,
    /// Factor of the parameter in its own gradient.
    pub weight_decay: f64,
    /// Largest Euclidean norm of the whole gradient.
    pub clip_norm: f64,
}

impl Default for AdamSettings {
    /// Returns the settings of the published code.
    fn default() -> Self {
        Self {
            learning_rate: 2e-4,
            betas: [0.9, 0.999],
            epsilon: 1e-4,
            weight_decay: 1e-5,
            clip_norm: 1.0,
        }
    }
}

/// The optimiser's state, as long as the parameters.
#[derive(Clone)]
pub struct Adam {
    /// Steps taken.
    pub steps: u64,
    /// Running mean of the gradient.
    pub mean: Vec<f32>,
    /// Running mean of its square.
    pub square: Vec<f32>,
}

/// Values that one thread handles at a time.
const BLOCK: usize = 1 << 16;

impl Adam {
    /// Creates a fresh state for `parameters` values.
    pub fn new(parameters: usize) -> Self {
        Self {
            steps: 0,
            mean: vec![0.0; parameters],
            square: vec![0.0; parameters],
        }
    }

    /// Takes one step along a gradient of norm `norm`; `learning_rate` replaces that of the
    /// settings, for schedules.
    pub fn step(
        &mut self,
        settings: &AdamSettings,
        learning_rate: f64,
        norm: f64,
        parameters: &mut [f32],
        gradient: &[f32],
    ) {
        self.steps += 1;
        let clip = (settings.clip_norm / (norm + 1e-6)).min(1.0) as f32;
        let [beta_1, beta_2] = settings.betas;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let step = (learning_rate / (1.0 - beta_1.powi(exponent))) as f32;
        let square_scale = (1.0 / (1.0 - beta_2.powi(exponent)).sqrt()) as f32;
        let [beta_1, beta_2] = [beta_1 as f32, beta_2 as f32];
        let decay = settings.weight_decay as f32;
        let epsilon = settings.epsilon as f32;
        parameters
            .par_chunks_mut(BLOCK)
            .zip(gradient.par_chunks(BLOCK))
            .zip(self.mean.par_chunks_mut(BLOCK))
            .zip(self.square.par_chunks_mut(BLOCK))
            .for_each(|(((parameters, gradient), mean), square)| {
                for (((parameter, gradient), mean), square) in
                    parameters.iter_mut().zip(gradient).zip(mean).zip(square)
                {
                    let gradient = clip * gradient + decay * *parameter;
                    *mean += (1.0 - beta_1) * (gradient - *mean);
                    *square += (1.0 - beta_2) * (gradient * gradient - *square);
                    *parameter -= step * *mean / (square.sqrt() * square_scale + epsilon);
                }
            });
    }
}

/// Returns the Euclidean norm, summed in double precision and in a fixed order.
pub fn gradient_norm(gradient: &[f32]) -> f64 {
    let blocks: Vec<f64> = gradient
        .par_chunks(BLOCK)
        .map(|block| {
            block
                .iter()
                .map(|&value| f64::from(value) * f64::from(value))
                .sum()
        })
        .collect();
    blocks.into_iter().sum::<f64>().sqrt()
}
