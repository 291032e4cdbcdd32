//! Why scores cannot make a calibration, and what they could promise.

use super::rate::{achievable_rate, shown};

/// Why scores cannot make a calibration.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CalibrationError {
    /// The requested rate is not a probability that a threshold could keep.
    #[error("a false-reject rate lies between 0 and 1, for example 0.01; {0} does not")]
    BadRate(f64),
    /// A score is not a number or infinite.
    #[error("calibration score {index} is {score}, which is not finite")]
    NotFinite {
        /// Its place in the list, from 0.
        index: usize,
        /// The score.
        score: f32,
    },
    /// Too few scores for the rate.
    #[error(
        "{n} calibration images cannot promise a false-reject rate of {alpha}: that takes at \
         least {needed}; {}",
        what_can_be_promised(*n)
    )]
    TooFewScores {
        /// Scores that were given.
        n: usize,
        /// The rate asked for.
        alpha: f64,
        /// Scores that this rate needs.
        needed: usize,
    },
    /// This number of folds cannot have given this number of scores.
    #[error(
        "{n} images cannot make {folds} folds: a cross-calibration takes at least 2, and no more than images"
    )]
    BadFolds {
        /// The folds asked for.
        folds: usize,
        /// Images there are.
        n: usize,
    },
    /// A stored calibration has folds although its method has none, or the other way round.
    #[error("a stored calibration of this method {0} `folds`")]
    FoldsDoNotBelong(&'static str),
    /// A stored calibration contradicts itself.
    #[error("the stored {field} is {stored}, but the stored scores give {computed}")]
    Inconsistent {
        /// The field in question.
        field: &'static str,
        /// What was read.
        stored: String,
        /// What follows from the scores and the rate.
        computed: String,
    },
}

fn what_can_be_promised(n: usize) -> String {
    match n {
        0 => "there are none".to_owned(),
        // Rounded up, so that the printed rate is one that can be asked for.
        n => format!("{n} can promise {} and above", shown(achievable_rate(n))),
    }
}
