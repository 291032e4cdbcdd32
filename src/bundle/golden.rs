//! Golden inputs: pictures with known scores, which show whether a device computes what the bundle
//! was calibrated with.

use std::path::Path;

use flawd_core::calibration::Calibration;
use flawd_core::image::RgbImage;
use flawd_core::manifest::GoldenRecord;

use super::{BundleError, not_writable};
use crate::files::digest::sha256;
use crate::pictures::encode;

/// A picture and its score at calibration.
#[derive(Clone, Debug)]
pub struct GoldenInput {
    /// The decoded picture, before any preprocessing.
    pub image: RgbImage,
    /// Its score.
    pub score: f32,
    /// Whether it shows a part; if not, only its verdict has to be reproduced.
    pub is_part: bool,
}

/// Returns which of the calibration images become golden inputs: those with the lowest, the median
/// and the highest score, by their positions in `scores`.
///
/// Scores that equal the threshold within tolerance are left out if there are others, because a
/// harmless difference between two devices would flip their verdict.
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

/// Leaves out those whose scores equal the threshold within tolerance, if there are others.
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

/// Returns the largest difference from a golden score that still counts as reproduced.
fn tolerance(score: f32) -> f32 {
    score.abs() * GoldenRecord::RELATIVE_TOLERANCE
}

/// Writes pictures under names that depend on their content: only the same picture replaces an old
/// one.
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
        flawd_files::write(&folder.join(&file), &bytes).map_err(&failed)?;
        Ok(GoldenRecord {
            file,
            digest,
            score: input.score,
            tolerance: match input.is_part {
                true => tolerance(input.score),
                false => GoldenRecord::ANY_SCORE,
            },
        })
    };
    inputs.iter().map(write_one).collect()
}
