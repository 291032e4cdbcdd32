//! The fixed linear map between a backbone's features and the flow's input.
//!
//! A normalizing flow starts out as the identity, so how far its input is from a standard normal
//! distribution decides how much training has to do. The transform is fitted once on the training
//! features, stored with the model and exported as part of it.

use serde::{Deserialize, Serialize};

/// Maps raw backbone features to the flow's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureTransform {
    /// The map of each scale of the flow, finest first; all have the same number of outputs.
    pub scales: Vec<ChannelTransform>,
}

/// A map applied to the channel vector at every position of one scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelTransform {
    /// `y = x`.
    Identity,
    /// `y = (x - mean) * scale`, channel by channel.
    Affine {
        /// Subtracted first, `[channels]`.
        mean: Vec<f32>,
        /// Multiplied second, `[channels]`.
        scale: Vec<f32>,
    },
    /// `y = matrix (x - mean)`.
    Linear {
        /// Subtracted first, `[channels]`.
        mean: Vec<f32>,
        /// `[outputs, channels]` in row-major order.
        matrix: Vec<f32>,
        /// Number of rows.
        outputs: usize,
    },
}
