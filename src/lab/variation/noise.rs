//! Gaussian noise, as a sensor adds it.

use std::f64::consts::TAU;

use flawd_core::image::{CHANNELS, RgbImage};
use flawd_core::random::SplitMix64;

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
            pixels.extend([noisy(pixel[0], normal.next()); CHANNELS]);
        }
    } else {
        pixels.extend(
            image
                .pixels()
                .iter()
                .map(|&value| noisy(value, normal.next())),
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

/// Draws from the standard normal distribution, in pairs: Box and Muller, "A note on the generation
/// of random normal deviates", Annals of Mathematical Statistics 29, 1958.
struct Normal {
    random: SplitMix64,
    second: Option<f64>,
}

impl Normal {
    fn new(seed: u64) -> Self {
        Self {
            random: SplitMix64::new(seed),
            second: None,
        }
    }

    fn next(&mut self) -> f64 {
        if let Some(second) = self.second.take() {
            return second;
        }
        // 1 minus a number below 1 is not 0, whose logarithm is infinite.
        let radius = (-2.0 * (1.0 - self.random.unit()).ln()).sqrt();
        let (sine, cosine) = (TAU * self.random.unit()).sin_cos();
        self.second = Some(radius * sine);
        radius * cosine
    }
}
