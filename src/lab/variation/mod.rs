//! Small changes of pictures, as a lamp, a lens, a sensor, a recording or a loose camera makes them.
//!
//! ```text
//! light=10%,noise=2%,turn=3 ─► Variation ─► ends, samples ─┐
//! light=-5%,noise=2%        ─► ChangeList ─────────────────┴► [Change] ─► apply_all ─► picture
//! ```
//! Nothing here knows what the pictures are for, and nothing reads a file.

mod blur;
mod change_list;
mod geometry;
mod kind;
mod limits;
mod noise;
#[cfg(test)]
mod tests;

use flawd_core::image::RgbImage;
use flawd_core::random::SplitMix64;

use crate::pictures::{decode, encode};
pub use change_list::ChangeList;
pub(crate) use geometry::move_mask;
use geometry::{Movement, move_image};
pub use kind::{ChangeError, ChangeKind};
pub use limits::Variation;

/// One small change of a picture. Keeps its size.
///
/// The ranges of [`Variation`] and [`ChangeList`] are checked when they are read; a value outside
/// them is applied as far as it has a meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Multiplies every channel by this gain: 1.05 is 5 % brighter. What exceeds white is white.
    Light(f64),
    /// Adds Gaussian noise of this standard deviation, as a share of white, independent at each
    /// pixel. The channels of a grey picture get the same noise, others their own.
    Noise(f64),
    /// Blurs with a Gaussian of this standard deviation, in pixels.
    Blur(f64),
    /// Compresses as a JPEG of this quality, 1 to 100. A side of more than 65535 pixels does not
    /// fit a JPEG; such a picture stays as it is.
    Jpeg(u8),
    /// Moves the picture, in pixels.
    Shift {
        /// To the right.
        x: f64,
        /// Down.
        y: f64,
    },
    /// Enlarges the picture about its centre by this factor: .98 is 2 % smaller.
    Zoom(f64),
    /// Turns the picture about its centre by these degrees, clockwise.
    Turn(f64),
}

impl Change {
    /// Returns the changed picture, the same for the same `seed`. Values are rounded, and limited to
    /// those that a byte holds. What comes into view from outside repeats the pixels at the edge.
    pub fn apply(&self, image: &RgbImage, seed: u64) -> RgbImage {
        match *self {
            Self::Light(gain) => brighten(image, gain),
            Self::Noise(deviation) => noise::add(image, deviation, seed),
            Self::Blur(sigma) => blur::blur(image, sigma),
            Self::Jpeg(quality) => compress(image, quality),
            Self::Shift { .. } | Self::Zoom(_) | Self::Turn(_) => {
                move_image(image, &Movement::of(&[*self]))
            }
        }
    }

    /// Returns `true` if the picture's content moves.
    pub fn is_geometric(&self) -> bool {
        matches!(self, Self::Shift { .. } | Self::Zoom(_) | Self::Turn(_))
    }
}

/// Applies changes in their order. Geometric ones in a row are one movement, so that the picture is
/// interpolated once.
pub fn apply_all(changes: &[Change], image: &RgbImage, seed: u64) -> RgbImage {
    let mut seeds = SplitMix64::new(seed);
    let mut changed = image.clone();
    let is_one_movement = |a: &Change, b: &Change| a.is_geometric() && b.is_geometric();
    for row in changes.chunk_by(is_one_movement) {
        let seed = seeds.next_u64();
        changed = match row {
            [change] => change.apply(&changed, seed),
            movement => move_image(&changed, &Movement::of(movement)),
        };
    }
    changed
}

fn brighten(image: &RgbImage, gain: f64) -> RgbImage {
    let table: [u8; 256] = std::array::from_fn(|value| to_byte(value as f64 * gain));
    let pixels = image
        .pixels()
        .iter()
        .map(|&value| table[usize::from(value)]);
    picture(image, pixels.collect())
}

fn compress(image: &RgbImage, quality: u8) -> RgbImage {
    let size = image.size();
    if size.height.max(size.width) > usize::from(u16::MAX) {
        return image.clone();
    }
    let bytes = encode::jpeg(image, quality).expect("the sides fit a JPEG");
    decode::jpeg_frame(&bytes, size).expect("it was just encoded")
}

/// Returns a picture of the same size as `image`.
fn picture(image: &RgbImage, pixels: Vec<u8>) -> RgbImage {
    RgbImage::new(image.size(), pixels).expect("a change keeps the number of pixels")
}

/// Rounds to the nearest value of a byte; not a number gives 0.
fn to_byte(value: f64) -> u8 {
    // The cast saturates.
    value.round() as u8
}
