//! How the scores of a calibration were obtained, and what that is worth.
//!
//! * **Split**: the images were held out. Their scores and that of the next good part are
//!   exchangeable, whatever the model, and the promise is exact.
//! * **Cross**: the images were dealt into K folds. Each image has its score from a model that was
//!   trained on the other folds, and the model that ships was trained on all of them. For users who
//!   cannot spare images.
//!
//! Each cross score is honest: no image is scored by a model that knows it. But the next part is
//! scored by the model that ships, and that is not one of the K, so its score is not exchangeable
//! with the others, and no bound holds for every model and every distribution: for the jackknife,
//! which is the case of one image per fold, there are examples where the share of parts that are
//! accepted goes to 0 (Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the
//! jackknife+", Annals of Statistics 49, 2021). What holds is conditional: the rate is nearly α if
//! the training is stable, so that leaving a fold out hardly changes the score of a new part. A
//! model that knows more images usually scores new good parts lower than the K did, which lowers
//! the rate.
//!
//! There are bounds for methods that keep all K models and ask each of them about the next part
//! (Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial Intelligence 74,
//! 2015): CV+ rejects with a probability of at most 2α + √(2/n) (Barber et al., theorem 4). That is
//! K times the work for every part, and with 60 images and α = 0.05 a bound of 0.28; so it is not
//! done here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CalibrationError;

/// How the scores of a calibration were obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalibrationMethod {
    /// From images that were held out of the training.
    #[default]
    Split,
    /// Each image from a model that was trained on the other folds; the model that ships was
    /// trained on all of them.
    Cross {
        /// Number of folds, at least 2 and at most the number of images.
        folds: usize,
    },
}

impl fmt::Display for CalibrationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split => f.write_str("split"),
            Self::Cross { folds } => write!(f, "cross, {folds} folds"),
        }
    }
}

/// The method as it is stored: a bundle from before there were two has neither key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodName {
    #[default]
    Split,
    Cross,
}

impl CalibrationMethod {
    /// Returns whether the false-reject rate is a bound rather than an estimate.
    pub fn promises_a_bound(self) -> bool {
        self == Self::Split
    }

    /// Checks that `n` images can be calibrated with in this way.
    ///
    /// # Errors
    /// [`CalibrationError::BadFolds`].
    pub fn check(self, n: usize) -> Result<(), CalibrationError> {
        match self {
            Self::Cross { folds } if !(2..=n).contains(&folds) => {
                Err(CalibrationError::BadFolds { folds, n })
            }
            Self::Cross { .. } | Self::Split => Ok(()),
        }
    }

    pub(crate) fn stored(self) -> (MethodName, Option<usize>) {
        match self {
            Self::Split => (MethodName::Split, None),
            Self::Cross { folds } => (MethodName::Cross, Some(folds)),
        }
    }

    pub(crate) fn from_stored(
        name: MethodName,
        folds: Option<usize>,
    ) -> Result<Self, CalibrationError> {
        match (name, folds) {
            (MethodName::Split, None) => Ok(Self::Split),
            (MethodName::Cross, Some(folds)) => Ok(Self::Cross { folds }),
            (MethodName::Split, Some(_)) => Err(CalibrationError::FoldsDoNotBelong("has no")),
            (MethodName::Cross, None) => Err(CalibrationError::FoldsDoNotBelong("needs its")),
        }
    }
}
