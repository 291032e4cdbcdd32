//! A purely computed production line: an endless, seeded series of parts, some of them with
//! defects.
//!
//! It is the camera of `flawd demo` and of the `synthetic` source, and the subject of the tests.
//! Every part is a function of `(seed, index)` alone. The renderer uses integer hashes and the four
//! IEEE operations with square root, never the platform's `sin` or `exp`, so the same seed yields
//! the same bytes on every machine. Nothing here reads a clock or a random device; only [`dataset`]
//! accesses the disk.
//!
//! A part is a turned and drilled flange seen from above on a conveyor belt. Good parts differ in
//! position, angle, size, surface texture, lighting, belt and sensor noise; a defect is one of
//! [`DefectKind`], with a bounded severity: visible to the eye, but small compared with the normal
//! variation.

pub mod dataset;
mod defect;
pub mod fault;
mod noise;
mod part;
mod render;

use flawd_core::image::{RgbImage, Size};

pub use defect::DefectKind;

use noise::Draws;

/// The shortest side, in pixels, at which the smallest defect still covers a pixel.
pub const MINIMUM_SIDE: usize = 96;

/// What a [`SyntheticLine`] shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticOptions {
    /// Size of every picture; neither side below [`MINIMUM_SIDE`].
    pub size: Size,
    /// Two lines with different seeds share no part.
    pub seed: u64,
    /// Share of parts with a defect, 0 to 1; each part is drawn independently.
    pub defect_rate: f64,
}

/// Why a [`SyntheticLine`] cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SyntheticError {
    /// A share outside 0 to 1, or not a number.
    #[error("the defect rate must lie between 0 and 1, not {0}")]
    DefectRate(f64),
    /// Too few pixels to show a defect.
    #[error("a synthetic part needs at least {MINIMUM_SIDE} pixels a side, not {0}")]
    TooSmall(Size),
}

/// A part as the camera sees it, with the truth about it.
#[derive(Clone, Debug)]
pub struct SyntheticPart {
    /// Position on the line, from 0.
    pub index: u64,
    /// Its defect; `None` for a good part.
    pub defect: Option<DefectKind>,
    /// The picture.
    pub image: RgbImage,
    /// Where the defect is: one byte per pixel, row by row, 255 inside and 0 outside; all 0 for a
    /// good part.
    pub mask: Vec<u8>,
}

/// An endless, reproducible series of parts.
#[derive(Clone, Debug)]
pub struct SyntheticLine {
    options: SyntheticOptions,
}

impl SyntheticLine {
    /// Creates a line of parts from 0 on.
    ///
    /// # Errors
    /// [`SyntheticError`] for an invalid share or a picture that is too small.
    pub fn new(options: SyntheticOptions) -> Result<Self, SyntheticError> {
        if !(0.0..=1.0).contains(&options.defect_rate) {
            return Err(SyntheticError::DefectRate(options.defect_rate));
        }
        if options.size.height.min(options.size.width) < MINIMUM_SIDE {
            return Err(SyntheticError::TooSmall(options.size));
        }
        Ok(Self { options })
    }

    /// Returns the options the line was built with.
    pub fn options(&self) -> &SyntheticOptions {
        &self.options
    }

    /// Renders the part at `index`, good or defective as drawn by the defect rate.
    pub fn part(&self, index: u64) -> SyntheticPart {
        self.render(index, self.defect(index))
    }

    /// Returns the defect of the part at `index`, without rendering it.
    pub fn defect(&self, index: u64) -> Option<DefectKind> {
        let mut draws = Draws::new(self.options.seed, index);
        let is_defective = f64::from(draws.uniform()) < self.options.defect_rate;
        let kind = DefectKind::ALL[draws.below(DefectKind::ALL.len())];
        is_defective.then_some(kind)
    }

    /// Renders the part at `index` with this defect, or without one.
    ///
    /// Position, texture and light are those of [`part`](Self::part).
    pub fn render(&self, index: u64, defect: Option<DefectKind>) -> SyntheticPart {
        let (image, mask) = render::render(self.options.size, self.options.seed, index, defect);
        SyntheticPart {
            index,
            defect,
            image,
            mask,
        }
    }
}

#[cfg(test)]
mod tests;
