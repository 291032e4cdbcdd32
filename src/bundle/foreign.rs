//! A golden input that is not a part: every device has to call it `ng`.
//!
//! Pictures of good parts stay in the middle of what a model can compute. A device may reproduce
//! their scores and yet fail where numbers are large, as they are for a wrong part. How large the
//! score is depends on the precision there, so only the verdict has to be reproduced.

use flawd_core::calibration::Calibration;
use flawd_core::image::RgbImage;
use flawd_core::random::SplitMix64;

use super::golden::GoldenInput;
use super::scorer::{Scorer, ScorerError};

/// How far above the threshold the score has to be, so that no precision flips the verdict.
const FAR: f32 = 2.0;

/// Tiles per side of a shuffled picture.
const TILES: usize = 8;

/// Ways to make a picture that is not of the part, from one that is; the first that serves is used.
const WAYS: [fn(&RgbImage) -> RgbImage; 3] = [inverted, shuffled, noise];

/// Makes a golden input from the picture of a good part: inverted, in shuffled tiles, or noise.
/// Returns `None` if the model takes all of them for parts.
///
/// # Errors
/// If the model fails.
pub fn foreign_input(
    part: &RgbImage,
    scorer: &mut Scorer,
    calibration: &Calibration,
) -> Result<Option<GoldenInput>, ScorerError> {
    for way in WAYS {
        let image = way(part);
        let score = scorer.score(&image)?.score;
        if is_far(score, calibration) {
            let is_part = false;
            return Ok(Some(GoldenInput {
                image,
                score,
                is_part,
            }));
        }
    }
    Ok(None)
}

/// Returns whether the verdict of this score is `ng` on every device.
pub(super) fn is_far(score: f32, calibration: &Calibration) -> bool {
    calibration.is_anomalous(score) && score >= FAR * calibration.threshold()
}

fn with_pixels(of: &RgbImage, pixels: Vec<u8>) -> RgbImage {
    RgbImage::new(of.size(), pixels).expect("as many as before")
}

fn inverted(part: &RgbImage) -> RgbImage {
    with_pixels(part, part.pixels().iter().map(|&level| !level).collect())
}

fn noise(part: &RgbImage) -> RgbImage {
    let mut random = SplitMix64::new(1);
    let level = |_: &u8| random.next_u64() as u8;
    with_pixels(part, part.pixels().iter().map(level).collect())
}

/// Exchanges tiles; what is left over at the right and at the bottom stays.
fn shuffled(part: &RgbImage) -> RgbImage {
    let size = part.size();
    let [height, width] = [size.height, size.width].map(|side| side / TILES);
    let mut order: Vec<usize> = (0..TILES * TILES).collect();
    SplitMix64::new(1).shuffle(&mut order);
    let start = |tile: usize, row: usize| {
        let (down, along) = (tile / TILES * height + row, tile % TILES * width);
        3 * (down * size.width + along)
    };
    let mut pixels = part.pixels().to_vec();
    for (to, &from) in order.iter().enumerate() {
        for row in 0..height {
            let (to, from) = (start(to, row), start(from, row));
            let taken = &part.pixels()[from..from + 3 * width];
            pixels[to..to + 3 * width].copy_from_slice(taken);
        }
    }
    with_pixels(part, pixels)
}

#[cfg(test)]
mod tests {
    use flawd_core::image::Size;

    use super::*;

    /// A picture of which every pixel is different.
    fn picture(size: Size) -> RgbImage {
        let pixels = (0..size.area()).flat_map(|place| [place as u8, (place >> 8) as u8, 7]);
        RgbImage::new(size, pixels.collect()).expect("the pixels fit")
    }

    #[test]
    fn a_shuffled_picture_has_the_same_pixels_elsewhere() {
        for size in [Size::new(64, 48), Size::new(19, 30), Size::new(5, 3)] {
            let part = picture(size);
            let sorted = |image: &RgbImage| {
                let mut pixels: Vec<[u8; 3]> = image.pixels().as_chunks().0.to_vec();
                pixels.sort_unstable();
                pixels
            };
            let other = shuffled(&part);
            assert_eq!(sorted(&other), sorted(&part));
            assert_eq!(other == part, size.height < TILES, "{size}");
        }
    }

    #[test]
    fn every_way_keeps_the_size_and_is_the_same_each_time() {
        let part = picture(Size::new(20, 24));
        for way in WAYS {
            let other = way(&part);
            assert_eq!(other.size(), part.size());
            assert_ne!(other, part);
            assert_eq!(other, way(&part));
        }
        assert_eq!(inverted(&inverted(&part)), part);
    }

    #[test]
    fn only_a_score_of_twice_the_threshold_is_far() {
        let calibration = Calibration::from_scores(vec![0.25, 0.5, 1.0], 0.25);
        let calibration = calibration.expect("three are enough");
        let threshold = calibration.threshold();
        assert!(is_far(2.0 * threshold, &calibration));
        assert!(!is_far(1.9 * threshold, &calibration));
        let of_nothing = Calibration::from_scores(vec![0.0; 3], 0.25).expect("three are enough");
        assert!(is_far(0.1, &of_nothing) && !is_far(0.0, &of_nothing));
    }
}
