//! Golden inputs: pictures with known scores, by which a device shows that it computes what the
//! bundle was calibrated with.

use std::path::Path;

use flawd_core::calibration::Calibration;
use flawd_core::image::RgbImage;
use flawd_core::manifest::GoldenRecord;

use super::{BundleError, not_writable};
use crate::files::atomic;
use crate::files::digest::sha256;
use crate::pictures::encode;

/// A picture and the score that calibration saw for it.
#[derive(Clone, Debug)]
pub struct GoldenInput {
    /// The picture as it was decoded, before any preprocessing.
    pub image: RgbImage,
    /// Its score.
    pub score: f32,
}

/// Which of the calibration images become golden inputs: those with the lowest, the median and
/// the highest score, by their places in `scores`.
///
/// Scores that lie on the threshold within tolerance are left out where others are there, because
/// there a harmless difference between two devices would flip the verdict.
pub fn choose_golden(scores: &[f32], calibration: &Calibration) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    leave_the_threshold(&mut order, |&place| scores[place], calibration);
    let mut chosen = match order[..] {
        [] => Vec::new(),
        [first, .., last] => vec![first, order[order.len() / 2], last],
        [only] => vec![only],
    };
    chosen.dedup();
    chosen
}

/// Leaves out those whose scores lie on the threshold within tolerance, where others are there.
pub(crate) fn leave_the_threshold<T>(
    inputs: &mut Vec<T>,
    score: impl Fn(&T) -> f32,
    calibration: &Calibration,
) {
    let threshold = calibration.threshold();
    let on_threshold = |input: &T| (score(input) - threshold).abs() <= tolerance(score(input));
    if !inputs.iter().all(on_threshold) {
        inputs.retain(|input| !on_threshold(input));
    }
}

/// Largest difference from a golden score that still counts as reproduced.
fn tolerance(score: f32) -> f32 {
    score.abs() * GoldenRecord::RELATIVE_TOLERANCE
}

/// Writes pictures under names that say what is in them: only the same picture takes an old one's
/// place.
pub(crate) fn write(
    folder: &Path,
    inputs: &[GoldenInput],
) -> Result<Vec<GoldenRecord>, BundleError> {
    let failed = not_writable(folder);
    let write_one = |input: &GoldenInput| {
        let bytes = encode::png(&input.image)?;
        let digest = sha256(&bytes);
        let [a, b, c, d, ..] = digest.bytes();
        let file = format!("{a:02x}{b:02x}{c:02x}{d:02x}.png");
        atomic::write(&folder.join(&file), &bytes).map_err(&failed)?;
        Ok(GoldenRecord {
            file,
            digest,
            score: input.score,
            tolerance: tolerance(input.score),
        })
    };
    inputs.iter().map(write_one).collect()
}
