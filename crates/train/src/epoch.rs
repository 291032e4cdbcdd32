//! The report of a finished epoch.

use serde::{Deserialize, Serialize};

/// The report of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Mean loss over the epoch's images, each taken before its step.
    pub loss: f64,
    /// Mean loss over images that do not train, after the epoch, if some are watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// Learning rate at the epoch's end.
    pub learning_rate: f64,
    /// Wall time of the epoch.
    pub seconds: f64,
}
