//! Extreme pictures (black, white, noise) that every model must be able to score before it ships.
//!
//! A model that learned from few or similar pictures may overflow on anything else, and would
//! answer most parts with an error. Its golden inputs do not reveal that, since they are pictures
//! that it knows, so a model is tested on others before it is shipped.

use flawd_core::image::{CHANNELS, RgbImage, Size};
use flawd_core::random::SplitMix64;

use super::scorer::{Scorer, ScorerError};

/// A model yields no finite score for a picture that a camera may deliver.
#[derive(Debug, thiserror::Error)]
#[error(
    "the model cannot score a picture of {picture}, and would answer parts with an error: the \
     pictures that trained it are too few or too alike; train with more different ones"
)]
pub struct StressError {
    /// What the picture shows.
    picture: &'static str,
    /// The model's error.
    source: Box<ScorerError>,
}

/// Colour of a pixel by row, column and random bytes.
type Paint = fn(usize, usize, [u8; 3]) -> [u8; 3];

const PICTURES: [(&str, Paint); 9] = [
    ("black", |_, _, _| [0; 3]),
    ("white", |_, _, _| [255; 3]),
    ("grey", |_, _, _| [128; 3]),
    ("red", |_, _, _| [255, 0, 0]),
    ("blue", |_, _, _| [0, 0, 255]),
    ("noise", |_, _, noise| noise),
    ("black and white noise", |_, _, noise| {
        [if noise[0] < 128 { 0 } else { 255 }; 3]
    }),
    ("a chessboard", |row, column, _| {
        [if (row + column).is_multiple_of(2) {
            0
        } else {
            255
        }; 3]
    }),
    ("stripes", |_, column, _| {
        [if (column / 8).is_multiple_of(2) {
            0
        } else {
            255
        }; 3]
    }),
];

/// Scores every stress picture.
///
/// # Errors
/// For the first one whose score or anomaly map is not finite.
pub fn check(scorer: &mut Scorer) -> Result<(), StressError> {
    let size = scorer
        .geometry()
        .region
        .map_or(scorer.input_size(), |region| {
            Size::new(region.top + region.height, region.left + region.width)
        });
    for (picture, paint) in PICTURES {
        let scored = scorer.score(&painted(size, paint));
        scored.map_err(|source| StressError {
            picture,
            source: Box::new(source),
        })?;
    }
    Ok(())
}

fn painted(size: Size, paint: Paint) -> RgbImage {
    let mut random = SplitMix64::new(1);
    let mut pixels = Vec::with_capacity(size.area() * CHANNELS);
    for place in 0..size.area() {
        let [a, b, c, ..] = random.next_u64().to_le_bytes();
        pixels.extend(paint(place / size.width, place % size.width, [a, b, c]));
    }
    RgbImage::new(size, pixels).expect("they fill the size")
}
