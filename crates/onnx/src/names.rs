//! The names of the outputs of a model file.

/// The name of the score output, `float32` `[1]`.
pub(crate) const SCORE: &str = "score";

/// The name of the map output, `float32` `[1, 1, h, w]`.
pub(crate) const ANOMALY_MAP: &str = "anomaly_map";
