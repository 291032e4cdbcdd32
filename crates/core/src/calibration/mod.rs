//! The threshold and what it promises: split conformal calibration on held-out good parts.
//!
//! With n scores of good parts that the model was not trained on, the threshold for a
//! false-reject rate α is the ⌈(n+1)(1−α)⌉-th smallest of them. If the next good part is
//! exchangeable with those n, it is rejected with a probability of at most α, whatever the
//! distribution of the scores and however good or bad the model is. The promise is about false
//! rejects; it says nothing about defects that escape.
//!
//! The same argument gives each score a p-value, and the two agree exactly: a score is above the
//! threshold if and only if its p-value is at most α.
//!
//! If there are too few images to hold some out, their scores may come from a cross-calibration,
//! with the same threshold and a weaker promise: see [`CalibrationMethod`].

mod error;
mod method;
mod rate;
mod stored;

pub use error::CalibrationError;
pub use method::CalibrationMethod;
pub(crate) use method::MethodName;
pub use rate::{achievable_rate, needed_images, shown};

use serde::{Deserialize, Serialize};

use rate::ranks_rejected;
use stored::StoredCalibration;

/// A threshold together with the scores and the rate that it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredCalibration", into = "StoredCalibration")]
pub struct Calibration {
    alpha: f64,
    /// The lower rate that was asked for, if there are too few scores for it.
    asked: Option<f64>,
    threshold: f32,
    /// Ascending, all finite.
    scores: Vec<f32>,
    method: CalibrationMethod,
    /// The changes of the pictures that the scores cover, as text.
    varied: Option<String>,
}

impl Calibration {
    /// Calibrates for a false-reject rate of at most `alpha`, 0 < `alpha` < 1, on the scores, in
    /// any order, of good images that the model has not seen in training.
    ///
    /// # Errors
    /// If `alpha` is out of range, a score is not finite, or there are too few scores.
    pub fn from_scores(mut scores: Vec<f32>, alpha: f64) -> Result<Self, CalibrationError> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return Err(CalibrationError::BadRate(alpha));
        }
        if let Some(index) = scores.iter().position(|score| !score.is_finite()) {
            return Err(CalibrationError::NotFinite {
                index,
                score: scores[index],
            });
        }
        let n = scores.len();
        let rejected = ranks_rejected(n, alpha);
        if rejected == 0 {
            return Err(CalibrationError::TooFewScores {
                n,
                alpha,
                needed: needed_images(alpha),
            });
        }
        scores.sort_by(f32::total_cmp);
        Ok(Self {
            alpha,
            asked: None,
            threshold: scores[n - rejected],
            scores,
            method: CalibrationMethod::Split,
            varied: None,
        })
    }

    /// Returns the same scores and threshold, where each score is the highest of a picture as it was
    /// taken and at each end of these changes, such as `light=10%,noise=2%`.
    pub fn varied(self, changes: String) -> Self {
        Self {
            varied: Some(changes),
            ..self
        }
    }

    /// Returns the changes whose ends the scores cover, as text; `None` if each is that of a picture
    /// as it was taken.
    pub fn covers(&self) -> Option<&str> {
        self.varied.as_deref()
    }

    /// Returns the same scores and threshold with another method.
    ///
    /// # Errors
    /// If the method could not have given so many scores.
    pub fn with_method(self, method: CalibrationMethod) -> Result<Self, CalibrationError> {
        method.check(self.n())?;
        Ok(Self { method, ..self })
    }

    /// Returns the threshold that the same scores give at another rate.
    ///
    /// # Errors
    /// As [`Self::from_scores`].
    pub fn at_rate(&self, alpha: f64) -> Result<Self, CalibrationError> {
        let calibration = Self::from_scores(self.scores.clone(), alpha)?;
        Self {
            varied: self.varied.clone(),
            ..calibration
        }
        .with_method(self.method)
    }

    /// As [`Self::from_scores`], but with the lowest rate that the number of scores supports if
    /// `alpha` asks for more than that. [`Self::alpha`] is the rate used, and [`Self::asked`] the
    /// one that was asked for.
    ///
    /// # Errors
    /// As [`Self::from_scores`]; with no scores at all there is nothing to accept.
    pub fn from_scores_or_achievable(
        scores: Vec<f32>,
        alpha: f64,
    ) -> Result<Self, CalibrationError> {
        let achievable = achievable_rate(scores.len());
        let asks_for_more = alpha > 0.0 && alpha < achievable && !scores.is_empty();
        if !asks_for_more {
            return Self::from_scores(scores, alpha);
        }
        Ok(Self {
            asked: Some(alpha),
            ..Self::from_scores(scores, achievable)?
        })
    }

    /// Returns how the scores were obtained.
    pub fn method(&self) -> CalibrationMethod {
        self.method
    }

    /// Returns the promised false-reject rate.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// Returns the lower rate that was asked for, if there are too few scores for it and the lowest
    /// supported rate was taken.
    pub fn asked(&self) -> Option<f64> {
        self.asked
    }

    /// Returns the number of calibration scores.
    pub fn n(&self) -> usize {
        self.scores.len()
    }

    /// Returns the calibration scores, ascending.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Returns the largest score that still counts as good.
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Returns how many of n + 1 exchangeable parts, the highest scores first, may be rejected: the
    /// threshold is that score from above.
    pub fn rejected_ranks(&self) -> usize {
        ranks_rejected(self.n(), self.alpha)
    }

    /// Returns `true` if a part with this score is to be rejected.
    pub fn is_anomalous(&self, score: f32) -> bool {
        score > self.threshold
    }

    /// Returns how unusual a score is among good parts: (1 + number of calibration scores that are
    /// at least as large) / (n + 1). After a split calibration it is, over good parts, at most p
    /// with a probability of at most p.
    pub fn p_value(&self, score: f32) -> f64 {
        let smaller = self.scores.partition_point(|&other| other < score);
        (1 + self.n() - smaller) as f64 / (self.n() + 1) as f64
    }

    /// Checks what was stored beside the scores against what they give.
    pub(crate) fn check_stored(&self, n: usize, threshold: f32) -> Result<(), CalibrationError> {
        let mismatch = |field, stored: &dyn ToString, computed: &dyn ToString| {
            Err(CalibrationError::Inconsistent {
                field,
                stored: stored.to_string(),
                computed: computed.to_string(),
            })
        };
        if n != self.n() {
            return mismatch("n", &n, &self.n());
        }
        if threshold.to_bits() != self.threshold.to_bits() {
            return mismatch("threshold", &threshold, &self.threshold);
        }
        Ok(())
    }

    /// Returns the promise and its small print, human-readable.
    pub fn promise(&self) -> String {
        let n = self.n();
        let alpha = match self.asked {
            None => shown(self.alpha),
            Some(asked) => format!(
                "{}, the lowest that {n} images support ({} takes {} of them)",
                shown(self.alpha),
                shown(asked),
                needed_images(asked)
            ),
        };
        let varied = match &self.varied {
            None => String::new(),
            Some(changes) => format!(" as it is and at each end of {changes}"),
        };
        match self.method {
            CalibrationMethod::Split => format!(
                "a good part is rejected with a probability of at most {alpha}{varied}, as long as it \
                 comes from the same process as the {n} good images of the calibration (exchangeable \
                 with them) and has one score; this bounds false rejects, not escapes"
            ),
            CalibrationMethod::Cross { folds } => format!(
                "a good part is expected to be rejected with a probability of about \
                 {alpha}{varied}, as long as it comes from the same process as the {n} good images \
                 of the calibration (exchangeable with them) and has one score; this is an \
                 estimate and no bound: each image was scored by one of {folds} models that were \
                 not trained on it, and the model in use, which was trained on all of them, is \
                 taken to score new parts no higher; it is about false rejects, not escapes"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
