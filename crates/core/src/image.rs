//! Pictures as plain values: a size, and 8-bit RGB pixels that fit it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of one RGB pixel.
pub const CHANNELS: usize = 3;

/// Height and width in pixels (or in cells of a map), written `HxW`, for example `384x512`.
///
/// Reading accepts a single number for a square. In a file it is that string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Creates a size of `height` rows and `width` columns.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// Returns the number of pixels or cells.
    ///
    /// Saturates, so that a size from outside cannot wrap into a small one.
    pub const fn area(self) -> usize {
        self.height.saturating_mul(self.width)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// A string that is not a [`Size`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a size: write HxW, height first, for example 384x512, or one number for a square"
)]
pub struct SizeError(String);

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.trim().parse().ok().filter(|&n: &usize| n > 0);
        let sides = match text.split_once(['x', 'X']) {
            Some((height, width)) => number(height).zip(number(width)),
            None => number(text).map(|side| (side, side)),
        };
        let (height, width) = sides.ok_or_else(|| SizeError(text.to_owned()))?;
        Ok(Self { height, width })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An 8-bit RGB picture: row-major, three bytes per pixel, no padding, never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    size: Size,
    pixels: Vec<u8>,
}

/// Bytes that do not make an [`RgbImage`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// No pixel at all.
    #[error("an image of {0} has no pixels")]
    Empty(Size),
    /// The buffer does not fit the size.
    #[error("an RGB image of {size} has {expected} bytes, not {actual}")]
    WrongLength {
        /// The stated size.
        size: Size,
        /// Bytes that this size needs.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
}

impl RgbImage {
    /// Takes `pixels`, `size.height * size.width * 3` bytes in row-major order.
    ///
    /// # Errors
    /// If there is no pixel or the number of bytes does not fit.
    pub fn new(size: Size, pixels: Vec<u8>) -> Result<Self, ImageError> {
        if size.area() == 0 {
            return Err(ImageError::Empty(size));
        }
        let expected = size.area().saturating_mul(CHANNELS);
        if pixels.len() != expected {
            return Err(ImageError::WrongLength {
                size,
                expected,
                actual: pixels.len(),
            });
        }
        Ok(Self { size, pixels })
    }

    /// Returns height and width.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns the bytes: row-major, red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Gives the buffer back, so that a capture loop can use it again.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({})", self.size)
    }
}

/// Writes the luma of a row of RGB pixels, 0 to 255, and returns its sum. The weights are those of
/// ITU-R BT.601 in 256ths.
pub(crate) fn luma(pixels: &[u8], row: &mut [i16]) -> u64 {
    let mut sum = 0;
    for (pixel, luma) in pixels.chunks_exact(CHANNELS).zip(row) {
        let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
        let value = (77 * red + 150 * green + 29 * blue + 128) >> 8;
        *luma = value as i16;
        sum += u64::from(value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_back_what_it_prints() {
        for size in [Size::new(384, 512), Size::new(1, 1)] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!("256".parse(), Ok(Size::new(256, 256)));
        for wrong in ["", "x", "0", "12x0", "-1x4", "4x4x4", "wide"] {
            assert_eq!(wrong.parse::<Size>(), Err(SizeError(wrong.to_owned())));
        }
    }

    #[test]
    fn a_buffer_that_does_not_fit_is_refused() {
        assert!(RgbImage::new(Size::new(2, 3), vec![0; 18]).is_ok());
        assert!(RgbImage::new(Size::new(2, 3), vec![0; 17]).is_err());
        assert!(RgbImage::new(Size::new(0, 3), vec![]).is_err());
        assert!(RgbImage::new(Size::new(usize::MAX, 2), vec![0; 6]).is_err());
    }
}
