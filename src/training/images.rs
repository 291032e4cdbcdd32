//! Which images of a training run train, and which are held out.

use crate::digest::sha256;
use crate::features::FeatureImage;

/// Parts the images: the first part trains, the second calibrates.
///
/// The order in which images are dealt depends on their content and the seed, not on their names,
/// so neither part is made of the last shift's pictures. At least one image goes to each part.
pub(super) fn split(
    mut images: Vec<FeatureImage>,
    hold_out: f64,
    seed: u64,
) -> (Vec<FeatureImage>, Vec<FeatureImage>) {
    images.sort_by_cached_key(|image| sha256(format!("{seed} {}", image.digest).as_bytes()));
    let count = (images.len() as f64 * hold_out).round() as usize;
    let held_out = images.split_off(images.len() - count.clamp(1, images.len() - 1));
    (images, held_out)
}
