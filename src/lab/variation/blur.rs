//! Gaussian blur, as a lens out of focus causes it.

use flawd_core::image::{CHANNELS, RgbImage};

use super::{picture, to_byte};

/// The kernel ends here, in standard deviations: what lies beyond weighs less than 0.3 %.
const REACH: f64 = 3.0;

/// Blurs with a Gaussian of a standard deviation of `sigma` pixels; the pixels at the edge are
/// repeated. A `sigma` that is not positive changes nothing.
pub(super) fn blur(image: &RgbImage, sigma: f64) -> RgbImage {
    if sigma.is_nan() || sigma <= 0.0 {
        return image.clone();
    }
    let kernel = kernel(sigma);
    let (height, width) = (image.size().height, image.size().width);
    let stride = width * CHANNELS;
    let mut pixels = Vec::with_capacity(image.pixels().len());
    // Vertically into one line of sums, then horizontally within it: no second picture is kept.
    let mut line = vec![0.0; stride];
    for y in 0..height {
        line.fill(0.0);
        for (&weight, row) in kernel.iter().zip(reached(y, kernel.len(), height)) {
            let row = &image.pixels()[row * stride..][..stride];
            for (sum, &value) in line.iter_mut().zip(row) {
                *sum += weight * f64::from(value);
            }
        }
        for x in 0..width {
            let mut sums = [0.0; CHANNELS];
            for (&weight, column) in kernel.iter().zip(reached(x, kernel.len(), width)) {
                let pixel = &line[column * CHANNELS..][..CHANNELS];
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * value;
                }
            }
            pixels.extend(sums.map(to_byte));
        }
    }
    picture(image, pixels)
}

/// Returns the places that a kernel of `length` weights around `centre` reaches on a line; those
/// outside are moved to its ends.
fn reached(centre: usize, length: usize, line: usize) -> impl Iterator<Item = usize> {
    let half = length / 2;
    (centre..centre + length).map(move |place| place.saturating_sub(half).min(line - 1))
}

/// Returns the weights, an odd number of them, whose sum is 1.
fn kernel(sigma: f64) -> Vec<f64> {
    let half = (REACH * sigma).ceil() as i32;
    let weights = (-half..=half).map(|place| (-0.5 * (f64::from(place) / sigma).powi(2)).exp());
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}
