//! Gaussian noise, as a sensor adds it.

use flawd_core::image::{CHANNELS, RgbImage};
use flawd_core::random::Normal;

use super::{picture, to_byte};

/// Adds noise of a standard deviation of `deviation`, a share of white: the same for the three
/// channels of a pixel if the whole picture is grey, otherwise independent.
pub(super) fn add(image: &RgbImage, deviation: f64, seed: u64) -> RgbImage {
    let deviation = deviation * f64::from(u8::MAX);
    let mut normal = Normal::new(seed);
    let noisy = |value: u8, draw: f64| to_byte(f64::from(value) + deviation * draw);
    let mut pixels = Vec::with_capacity(image.pixels().len());
    if is_grey(image) {
        for pixel in image.pixels().chunks_exact(CHANNELS) {
            pixels.extend([noisy(pixel[0], normal.draw()); CHANNELS]);
        }
    } else {
        pixels.extend(
            image
                .pixels()
                .iter()
                .map(|&value| noisy(value, normal.draw())),
        );
    }
    picture(image, pixels)
}

/// Returns `true` if the three channels are equal everywhere, as in a picture from a camera without
/// colour.
fn is_grey(image: &RgbImage) -> bool {
    let mut pixels = image.pixels().chunks_exact(CHANNELS);
    pixels.all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
}
