//! Antialiased bilinear resizing of 8-bit RGB, bit for bit that of Pillow's
//! `Image.resize(size, BILINEAR)`.
//!
//! Feature extractors are trained, and published results computed, with Pillow's resize, so its
//! result is the reference. It is written here rather than taken from a library because the fast
//! ones round differently depending on the processor, and a model has to see the same numbers on
//! the machine that trained it and on the device. All arithmetic is in integers: a horizontal pass
//! into 8 bits, then a vertical one, each with weights of 22 fractional bits.

use crate::image::{CHANNELS, Size};

/// Fractional bits of a weight: 32 minus 8 for the value and 2 for headroom, as in Pillow.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

/// Resizes pictures of one size to another; keeps the weights and the buffer between the passes.
#[derive(Debug)]
pub(crate) struct Resampler {
    source: Size,
    target: Size,
    horizontal: Vec<Window>,
    vertical: Vec<Window>,
    /// The picture after the horizontal pass, `[source.height, target.width, 3]`.
    narrowed: Vec<u8>,
    /// One row of sums.
    sums: Vec<i32>,
}

/// The source pixels that make one target pixel of a line: those from `start`, by weight.
#[derive(Debug)]
struct Window {
    start: usize,
    weights: Vec<i32>,
}

impl Resampler {
    pub(crate) fn new(source: Size, target: Size) -> Self {
        Self {
            source,
            target,
            horizontal: windows(source.width, target.width),
            vertical: windows(source.height, target.height),
            narrowed: vec![0; source.height * target.width * CHANNELS],
            sums: vec![0; target.width * CHANNELS],
        }
    }

    pub(crate) fn source(&self) -> Size {
        self.source
    }

    /// Resizes the picture whose rows are `rows`, top down, into `output`, which holds
    /// `[target.height, target.width, 3]`.
    pub(crate) fn run<'a>(&mut self, rows: impl Iterator<Item = &'a [u8]>, output: &mut [u8]) {
        let stride = self.target.width * CHANNELS;
        for (row, narrowed) in rows.zip(self.narrowed.chunks_exact_mut(stride)) {
            if self.source.width == self.target.width {
                narrowed.copy_from_slice(row);
            } else {
                narrow(row, &self.horizontal, narrowed);
            }
        }
        if self.source.height == self.target.height {
            output.copy_from_slice(&self.narrowed);
            return;
        }
        for (window, output) in self.vertical.iter().zip(output.chunks_exact_mut(stride)) {
            let rows = self.narrowed[window.start * stride..].chunks_exact(stride);
            self.sums.fill(HALF);
            for (&weight, row) in window.weights.iter().zip(rows) {
                for (sum, &value) in self.sums.iter_mut().zip(row) {
                    *sum += weight * i32::from(value);
                }
            }
            for (output, &sum) in output.iter_mut().zip(&self.sums) {
                *output = to_byte(sum);
            }
        }
    }
}

/// Runs the horizontal pass over one row.
fn narrow(row: &[u8], windows: &[Window], output: &mut [u8]) {
    for (window, output) in windows.iter().zip(output.chunks_exact_mut(CHANNELS)) {
        let mut sums = [HALF; CHANNELS];
        let pixels = row[window.start * CHANNELS..].chunks_exact(CHANNELS);
        for (&weight, pixel) in window.weights.iter().zip(pixels) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += weight * i32::from(value);
            }
        }
        for (output, sum) in output.iter_mut().zip(sums) {
            *output = to_byte(sum);
        }
    }
}

/// Returns a sum of weighted bytes without its fraction; the rounding of thousands of weights may
/// carry it past the largest byte.
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).min(255) as u8
}

/// Returns the windows of a line of `target` pixels over one of `source` pixels.
///
/// A triangle whose half-width is one pixel of the coarser of the two lines, centred on the target
/// pixel. The weights are not negative and sum to one except for rounding.
fn windows(source: usize, target: usize) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let support = scale.max(1.0);
    (0..target)
        .map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(source);
            let triangle: Vec<f64> = (start..end)
                .map(|pixel| {
                    let distance = (pixel as f64 - centre + 0.5) * support.recip();
                    (1.0 - distance.abs()).max(0.0)
                })
                .collect();
            let total: f64 = triangle.iter().sum();
            let weights = triangle
                .iter()
                .map(|weight| (0.5 + weight / total * f64::from(1 << PRECISION)) as i32)
                .collect();
            Window { start, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resize(pixels: &[u8], source: Size, target: Size) -> Vec<u8> {
        let mut output = vec![0; target.area() * CHANNELS];
        let rows = pixels.chunks_exact(source.width * CHANNELS);
        Resampler::new(source, target).run(rows, &mut output);
        output
    }

    /// The expected bytes are those of Pillow 13.0.0:
    ///
    /// ```python
    /// a = np.array([(i * i * 7 + i * 31) % 256 for i in range(189)], np.uint8).reshape(7, 9, 3)
    /// np.asarray(Image.fromarray(a).resize((width, height), Image.BILINEAR)).flatten()
    /// ```
    ///
    /// Beside these, a 1920x1080 picture of noise at 768x768 and a photograph were compared with
    /// Pillow byte by byte, once and by hand: no difference.
    #[test]
    fn resizing_equals_pillows() {
        let pixels: Vec<u8> = (0..7 * 9 * 3_u32)
            .map(|i| ((i * i * 7 + i * 31) % 256) as u8)
            .collect();
        let source = Size::new(7, 9);
        assert_eq!(
            resize(&pixels, source, Size::new(3, 4)),
            [
                104, 105, 140, 132, 162, 131, 129, 151, 121, 157, 103, 101, 83, 121, 141, 110, 139,
                140, 150, 131, 110, 159, 108, 81, 100, 87, 176, 114, 142, 136, 128, 158, 122, 143,
                101, 104,
            ]
        );
        assert_eq!(
            resize(&pixels, source, Size::new(8, 5)),
            [
                80, 124, 90, 145, 144, 157, 130, 140, 104, 111, 140, 135, 151, 117, 115, 69, 123,
                158, 169, 164, 146, 114, 174, 139, 159, 143, 68, 144, 105, 83, 110, 74, 133, 149,
                105, 132, 73, 187, 143, 154, 124, 116, 188, 69, 127, 83, 136, 125, 117, 106, 125,
                116, 174, 119, 185, 106, 106, 166, 69, 90, 46, 149, 132, 90, 116, 164, 136, 163,
                129, 176, 112, 87, 133, 134, 45, 76, 73, 157, 98, 104, 194, 114, 171, 130, 125,
                113, 112, 127, 155, 73, 136, 63, 196, 128, 120, 151, 142, 188, 66, 130, 94, 145,
                126, 65, 117, 76, 102, 142, 53, 144, 170, 147, 182, 110, 143, 168, 174, 174, 123,
                67,
            ]
        );
        assert_eq!(resize(&pixels, source, source), pixels);
    }

    proptest! {
        /// No window reaches outside its line, whatever the two sizes, and a picture of one
        /// colour keeps it.
        #[test]
        fn one_colour_stays_that_colour(
            colour in prop::array::uniform3(0_u8..),
            (height, width) in (1_usize..60, 1_usize..60),
            (target_height, target_width) in (1_usize..60, 1_usize..60),
        ) {
            let pixels = colour.repeat(height * width);
            let target = Size::new(target_height, target_width);
            let resized = resize(&pixels, Size::new(height, width), target);
            prop_assert_eq!(resized, colour.repeat(target.area()));
        }
    }
}
