//! A calibration in a manifest.

use serde::{Deserialize, Serialize};

use super::rate::{achievable_rate, shown};
use super::{Calibration, CalibrationError, CalibrationMethod, MethodName};

/// A calibration as it is stored: with what follows from the rest spelled out for readers, and
/// checked when read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredCalibration {
    #[serde(default)]
    method: MethodName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folds: Option<usize>,
    false_reject_rate: f64,
    /// Only if there are too few images for what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked_false_reject_rate: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vary: Option<String>,
    threshold: f32,
    n: usize,
    promise: String,
    scores: Vec<f32>,
}

impl From<Calibration> for StoredCalibration {
    fn from(calibration: Calibration) -> Self {
        let (method, folds) = calibration.method.stored();
        Self {
            method,
            folds,
            false_reject_rate: calibration.alpha,
            asked_false_reject_rate: calibration.asked,
            vary: calibration.varied.clone(),
            threshold: calibration.threshold,
            n: calibration.n(),
            promise: calibration.promise(),
            scores: calibration.scores,
        }
    }
}

impl TryFrom<StoredCalibration> for Calibration {
    type Error = CalibrationError;

    fn try_from(record: StoredCalibration) -> Result<Self, Self::Error> {
        let method = CalibrationMethod::from_stored(record.method, record.folds)?;
        let calibration =
            Self::from_scores(record.scores, record.false_reject_rate)?.with_method(method)?;
        calibration.check_stored(record.n, record.threshold)?;
        if let Some(asked) = record.asked_false_reject_rate
            && !(asked > 0.0 && asked < achievable_rate(record.n))
        {
            return Err(CalibrationError::Inconsistent {
                field: "asked_false_reject_rate",
                stored: asked.to_string(),
                computed: format!("support for {}", shown(achievable_rate(record.n))),
            });
        }
        Ok(Self {
            asked: record.asked_false_reject_rate,
            varied: record.vary,
            ..calibration
        })
    }
}
