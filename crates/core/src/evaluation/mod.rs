//! How good scores are, given the truth: metrics of rankings and of maps, rates at a threshold,
//! and whether a calibration kept its promise.
//!
//! "Good" images are those without a defect, "defect" images those with one. Equal scores are
//! treated as what they are, undecided between their images, so that no metric depends on the order
//! of files.

mod overlap;
mod pixels;
mod promise;
mod ranking;
mod rate;

pub use overlap::{OVERLAP_LIMIT, Overlap};
pub use pixels::{PixelCounts, PixelTruth};
pub use promise::{KeptPromise, PromisePoint, expected_false_rejects, promised_against_measured};
pub use ranking::{CurvePoint, F1Max, Ranking};
pub use rate::Rate;
