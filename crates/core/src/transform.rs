//! The fixed linear map between a backbone's features and the flow's input.
//!
//! A normalizing flow starts out as the identity, so how far its input is from a standard normal
//! distribution decides how much training has to do. The transform is fitted once on the training
//! features and exported as part of the model.

/// Maps raw backbone features to the flow's input.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureTransform {
    /// The map of each scale of the flow, finest first; all have the same number of channels.
    pub scales: Vec<ChannelTransform>,
}

/// A map applied to the channel vector at every position of one scale.
#[derive(Clone, Debug, PartialEq)]
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
}
