//! Pictures of more than 8 bits per channel, and which of their values is white.
//!
//! A camera of 10, 12 or 14 bits writes its values into 16. Read as 16 bits they are nearly black,
//! so the number of bits that the camera gives, the depth, has to be known: a bundle has it in its
//! manifest. Black stays 0 and the highest value of the depth becomes 255.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::{CHANNELS, ImageError, RgbImage, Size};

/// Significant bits of a sample that is stored in 16: from 8 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Depth(u8);

/// A number of bits that is not a [`Depth`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not a depth: 8 to 16 bits, such as 12")]
pub struct NoDepth(u8);

impl TryFrom<u8> for Depth {
    type Error = NoDepth;

    fn try_from(bits: u8) -> Result<Self, NoDepth> {
        if (8..=16).contains(&bits) {
            Ok(Self(bits))
        } else {
            Err(NoDepth(bits))
        }
    }
}

impl From<Depth> for u8 {
    fn from(depth: Depth) -> Self {
        depth.0
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits", self.0)
    }
}

impl Depth {
    /// All 16 bits.
    pub const FULL: Self = Self(16);

    /// Returns the lowest depth of a usual sensor that holds `value`: 8, 10, 12, 14 or 16 bits.
    pub fn holding(value: u16) -> Self {
        let usual = [8, 10, 12, 14].map(Self);
        let found = usual.into_iter().find(|depth| value <= depth.white());
        found.unwrap_or(Self::FULL)
    }

    /// Returns the highest value, which is white.
    pub fn white(self) -> u16 {
        u16::MAX >> (16 - self.0)
    }
}

/// A picture as its source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// 8 bits per channel, or more with a known white that was mapped to 255.
    Eight(RgbImage),
    /// More than 8, with an unknown white.
    Deep(DeepImage),
}

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        Self::Eight(image)
    }
}

impl Picture {
    /// Returns the picture with 8 bits per channel; `depth` applies if the picture does not state
    /// its own.
    ///
    /// # Errors
    /// As [`DeepImage::at`].
    pub fn at(self, depth: Option<Depth>) -> Result<RgbImage, DepthError> {
        match self {
            Self::Eight(image) => Ok(image),
            Self::Deep(image) => image.at(depth),
        }
    }
}

/// Why 16-bit samples cannot make a picture.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DepthError {
    /// It has values above white.
    #[error(
        "it has the value {highest}, and pictures of {depth} end at {}: if there are more bits, \
         train again and state their number with --depth BITS", depth.white()
    )]
    Exceeded {
        /// The highest value.
        highest: u16,
        /// The depth it was to be read with.
        depth: Depth,
    },
    /// It has values above the white that its own file states.
    #[error("it has the value {highest}, and its header says that values end at {}", depth.white())]
    Contradicted {
        /// The highest value.
        highest: u16,
        /// The depth that the file states.
        depth: Depth,
    },
    /// No depth is given, and the picture would be nearly black with all 16 bits.
    #[error(
        "it has 16 bits a channel and no value above {highest}, as where a camera gives fewer bits, \
         and which value is white is not said: state it with --depth BITS when the bundle is \
         trained, imported or calibrated"
    )]
    Unknown {
        /// The highest value.
        highest: u16,
    },
}

/// A picture of 16-bit samples whose white is not known: grey or RGB, row-major, never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct DeepImage {
    size: Size,
    samples: Vec<u16>,
    highest: u16,
}

impl fmt::Debug for DeepImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeepImage({}, to {})", self.size, self.highest)
    }
}

impl DeepImage {
    /// If no depth is given, a picture that stays below this, a quarter of white, is not read with
    /// all 16 bits.
    pub const SURELY_FULL: u16 = 1 << 14;

    /// Takes `samples`, one for each pixel of `size` if they are grey, else three.
    ///
    /// # Errors
    /// If there is no pixel or the number of samples does not fit.
    pub fn new(size: Size, samples: Vec<u16>) -> Result<Self, ImageError> {
        if size.area() == 0 {
            return Err(ImageError::Empty(size));
        }
        let rgb = size.area().saturating_mul(CHANNELS);
        if samples.len() != size.area() && samples.len() != rgb {
            return Err(ImageError::WrongLength {
                size,
                expected: rgb,
                actual: samples.len(),
            });
        }
        let highest = samples.iter().copied().max().unwrap_or_default();
        Ok(Self {
            size,
            samples,
            highest,
        })
    }

    /// Returns the samples in their order.
    pub fn samples(&self) -> &[u16] {
        &self.samples
    }

    /// Returns the highest value.
    pub fn highest(&self) -> u16 {
        self.highest
    }

    /// Returns the picture with 8 bits per channel. If no depth is given, all 16 bits count.
    ///
    /// # Errors
    /// If it has values above the white of `depth`, or none is given and the picture does not look
    /// like one of 16 bits.
    pub fn at(&self, depth: Option<Depth>) -> Result<RgbImage, DepthError> {
        let highest = self.highest;
        match depth {
            Some(depth) if highest > depth.white() => Err(DepthError::Exceeded { highest, depth }),
            None if highest < Self::SURELY_FULL => Err(DepthError::Unknown { highest }),
            depth => Ok(self.with_white(depth.unwrap_or(Depth::FULL).white())),
        }
    }

    /// Returns the picture with 8 bits per channel, with `white` mapped to 255; higher values
    /// become white too.
    pub fn with_white(&self, white: u16) -> RgbImage {
        let white = u32::from(white.max(1));
        let level = |value| (value * 255 + white / 2) / white;
        // A table, because a division per sample takes longer than everything else.
        let table: Vec<u8> = (0..=u32::from(self.highest))
            .map(|value| level(value).min(255) as u8)
            .collect();
        let levels = self.samples.iter().map(|&value| table[usize::from(value)]);
        let pixels = if self.samples.len() == self.size.area() {
            levels.flat_map(|level| [level; CHANNELS]).collect()
        } else {
            levels.collect()
        };
        RgbImage::new(self.size, pixels).expect("as many pixels as samples")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(samples: &[u16]) -> DeepImage {
        DeepImage::new(Size::new(1, samples.len()), samples.to_vec()).unwrap()
    }

    fn levels(image: &RgbImage) -> Vec<u8> {
        image.pixels().chunks_exact(3).map(|it| it[0]).collect()
    }

    #[test]
    fn black_and_white_of_every_depth_are_those_of_a_picture() {
        for bits in 8..=16 {
            let depth = Depth::try_from(bits).unwrap();
            let image = grey(&[0, depth.white() / 2, depth.white()]);
            assert_eq!(levels(&image.at(Some(depth)).unwrap()), [0, 127, 255]);
        }
        assert!(Depth::try_from(7).is_err() && Depth::try_from(17).is_err());
    }

    #[test]
    fn eight_bits_that_were_stretched_to_any_depth_come_back() {
        for bits in 8..=16 {
            let depth = Depth::try_from(bits).unwrap();
            let stretch = |level: u32| (level * u32::from(depth.white()) + 127) / 255;
            let image = grey(&(0..256).map(|it| stretch(it) as u16).collect::<Vec<_>>());
            let expected: Vec<u8> = (0..=255).collect();
            assert_eq!(levels(&image.at(Some(depth)).unwrap()), expected, "{bits}");
        }
    }

    #[test]
    fn the_lowest_usual_depth_holds_a_value() {
        let cases = [
            (0, 8),
            (255, 8),
            (256, 10),
            (1023, 10),
            (1024, 12),
            (4095, 12),
            (4096, 14),
            (16383, 14),
            (16384, 16),
            (65520, 16),
            (65535, 16),
        ];
        for (value, bits) in cases {
            assert_eq!(u8::from(Depth::holding(value)), bits, "{value}");
        }
    }

    #[test]
    fn values_above_white_are_refused_and_so_is_a_dark_picture_of_unknown_depth() {
        let twelve = Depth::try_from(12).unwrap();
        let error = grey(&[7, 4096]).at(Some(twelve)).unwrap_err().to_string();
        assert!(error.contains("4096") && error.contains("4095"), "{error}");
        let error = grey(&[7, 4095]).at(None).unwrap_err().to_string();
        assert!(
            error.contains("4095") && error.contains("--depth"),
            "{error}"
        );
        assert_eq!(levels(&grey(&[0, 65535]).at(None).unwrap()), [0, 255]);
        assert!(grey(&[7, 100]).at(Some(Depth::FULL)).is_ok());
    }

    #[test]
    fn samples_that_do_not_fit_are_refused() {
        let size = Size::new(1, 2);
        assert!(DeepImage::new(size, vec![0; 6]).is_ok());
        assert!(DeepImage::new(size, vec![0; 3]).is_err());
        assert!(DeepImage::new(Size::new(0, 2), Vec::new()).is_err());
        let image = DeepImage::new(size, vec![0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(image.with_white(5).pixels(), [0, 51, 102, 153, 204, 255]);
    }
}
