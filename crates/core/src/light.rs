//! Photometric normalisation: every picture is brought to the light of the training pictures before
//! the backbone sees it.
//!
//! A lamp that ages, a shutter that drifts or another gain of the camera multiplies all grey levels
//! (in a gamma-coded picture too: `(g L)^γ = g^γ L^γ`), and a model that never saw that takes it for
//! a defect. So each picture is multiplied by `reference / level`, where `level` is how bright it is
//! and `reference` how bright the training pictures are.
//!
//! ```text
//! tensor ─► mean of each cell of a 16x16 grid ─► sorted ─► mean from the 25th to the 90th percentile = level
//! ```
//! A defect that covers less than a tenth of the picture, however bright, moves the level only
//! within the spread of the cells around it; and cells are means, so that neither noise nor the 256
//! steps of a byte move it in steps. Dark cells are left out because a black background says
//! nothing about the lamp.
//!
//! The factor is limited: a part that is far brighter or darker than it should be is a defect, and
//! must not be made to look like the others.

use serde::{Deserialize, Serialize};

use crate::image::{CHANNELS, Size};

/// Cells along each side of the grid.
pub const CELLS: usize = 16;

/// The cells that count, as shares of all in ascending order of brightness.
const COUNTED: [f64; 2] = [0.25, 0.9];

/// The light that all pictures are brought to. Part of the model file; stated in `bundle.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LightNormalisation {
    /// [`level`] of the training pictures, their median, in grey levels from 0 to 255.
    pub reference: f32,
    /// The largest factor, above 1; the smallest is its reciprocal.
    pub limit: f32,
}

impl LightNormalisation {
    /// The limit by default: a quarter. Lamps are replaced long before they lose as much, and
    /// real parts of one kind that differ by more differ by themselves.
    pub const LIMIT: f32 = 1.25;

    /// Returns `true` if pictures can be normalised with these numbers.
    pub fn is_possible(&self) -> bool {
        (0.0..=255.0).contains(&self.reference) && self.limit >= 1.0 && self.limit.is_finite()
    }

    /// Returns `true` if a picture of this level can be brought to the reference.
    pub fn reaches(&self, level: f32) -> bool {
        (self.reference / self.limit..=self.reference * self.limit).contains(&level)
    }

    /// Returns what a picture of this level is multiplied by.
    pub fn factor(&self, level: f32) -> f32 {
        // A black picture has no level to divide by.
        (self.reference / level.max(1.0)).clamp(1.0 / self.limit, self.limit)
    }
}

/// The grid that a tensor of some size is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Size of a cell in pixels; pixels beyond the last whole cell do not count.
    pub cell: Size,
    /// Number of cells.
    pub cells: usize,
    /// First and last rank that counts, the latter excluded, in ascending order of brightness.
    pub counted: [usize; 2],
}

impl Grid {
    /// Returns the grid of a tensor of `size`.
    ///
    /// # Panics
    /// If the size has no pixels.
    pub fn of(size: Size) -> Self {
        assert!(size.area() > 0, "a tensor of {size} has no pixels");
        let cell = Size::new(size.height.div_ceil(CELLS), size.width.div_ceil(CELLS));
        let cells = (size.height / cell.height) * (size.width / cell.width);
        let [first, last] = COUNTED.map(|share| (share * cells as f64) as usize);
        Self {
            cell,
            cells,
            counted: [first, last.max(first + 1)],
        }
    }
}

/// Returns the level of a tensor of `size`, RGB bytes row by row: how bright it is, in grey levels
/// from 0 to 255. A grey level is the mean of the three channels here, so that no channel's noise
/// counts more than another's.
///
/// # Panics
/// If the tensor does not fit the size, or has no pixels.
pub fn level(tensor: &[u8], size: Size) -> f32 {
    assert_eq!(tensor.len(), size.area() * CHANNELS, "a tensor of {size}x3");
    let Grid {
        cell,
        cells,
        counted: [first, last],
    } = Grid::of(size);
    let columns = size.width / cell.width;
    let rows = tensor.chunks_exact(size.width * CHANNELS);
    let mut sums = vec![0_u32; cells];
    for (row, pixels) in rows.enumerate().take(cells / columns * cell.height) {
        let sums = &mut sums[row / cell.height * columns..][..columns];
        for (sum, pixels) in sums
            .iter_mut()
            .zip(pixels.chunks_exact(cell.width * CHANNELS))
        {
            *sum += pixels.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        }
    }
    sums.sort_unstable();
    let counted: u64 = sums[first..last].iter().copied().map(u64::from).sum();
    let bytes = (last - first) * cell.area() * CHANNELS;
    (counted as f64 / bytes as f64) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size::new(64, 48);

    fn tensor(pixel: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        (0..SIZE.area())
            .flat_map(|place| [pixel(place / SIZE.width, place % SIZE.width); CHANNELS])
            .collect()
    }

    #[test]
    fn a_picture_of_one_grey_has_its_level_at_any_size() {
        for size in [SIZE, Size::new(1, 1), Size::new(17, 5), Size::new(130, 31)] {
            let tensor = vec![91; size.area() * CHANNELS];
            assert_eq!(level(&tensor, size), 91.0, "{size}");
        }
    }

    #[test]
    fn a_defect_hardly_moves_the_level() {
        let part = |row: usize, column: usize| 100 + ((row * 7 + column * 3) % 20) as u8;
        let good = level(&tensor(part), SIZE);
        for defect in [0, 255] {
            let marred = tensor(|row, column| match row < 16 && column < 15 {
                true => defect,
                false => part(row, column),
            });
            assert!((level(&marred, SIZE) / good - 1.0).abs() < 0.01);
        }
    }

    #[test]
    fn the_factor_is_limited_and_a_black_picture_has_one() {
        let light = LightNormalisation {
            reference: 100.0,
            limit: 1.25,
        };
        assert_eq!(light.factor(100.0), 1.0);
        assert_eq!(light.factor(0.0), 1.25);
        assert_eq!(light.factor(255.0), 0.8);
        assert!(light.reaches(81.0) && light.reaches(124.0));
        assert!(!light.reaches(79.0) && !light.reaches(126.0));
    }

    proptest! {
        #[test]
        fn the_level_grows_with_the_light(gain in 0.5_f32..1.0, seed in any::<u8>()) {
            let part = |row: usize, column: usize| {
                (row * 31 + column * 17 + usize::from(seed)) as u8
            };
            let dimmed = |row, column| (f32::from(part(row, column)) * gain).round() as u8;
            let ratio = level(&tensor(dimmed), SIZE) / level(&tensor(part), SIZE);
            // Each byte is off by half a level at most.
            prop_assert!((ratio - gain).abs() < 0.01, "{ratio} {gain}");
        }
    }
}
