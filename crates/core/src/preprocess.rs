//! From a picture of any size to the model's input: the one preprocessing.
//!
//! Training, calibration, evaluation and the daemon all call this, so that a score means the
//! same everywhere. The order is fixed: region of interest, rotation, flip, then an antialiased
//! bilinear resize of what is left to the model's input size, without keeping the aspect ratio.
//! Normalisation is part of the model file.

use serde::{Deserialize, Serialize};

use crate::image::{CHANNELS, RgbImage, Size};
use crate::resample::Resampler;

/// Which part of a camera's picture is inspected, and how it is turned.
///
/// Applied in the order of the fields. The default is the whole picture as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Geometry {
    /// The part of the picture to keep; all of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionOfInterest>,
    /// Turned clockwise, in degrees.
    pub rotate: Rotation,
    /// Mirrored after turning.
    pub flip: Flip,
}

/// A rectangle in pixels of the original picture; it has to lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionOfInterest {
    /// Number of columns to the left of it.
    pub left: usize,
    /// Number of rows above it.
    pub top: usize,
    /// Its columns, at least 1.
    pub width: usize,
    /// Its rows, at least 1.
    pub height: usize,
}

/// A clockwise turn; in a file `0`, `90`, `180` or `270`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Rotation {
    /// Not turned.
    #[default]
    None,
    /// A quarter turn clockwise.
    Quarter,
    /// A half turn.
    Half,
    /// A quarter turn counter-clockwise.
    ThreeQuarters,
}

/// An angle that is not a quarter turn.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a rotation is 0, 90, 180 or 270 degrees, not {0}")]
pub struct RotationError(u16);

impl TryFrom<u16> for Rotation {
    type Error = RotationError;

    fn try_from(degrees: u16) -> Result<Self, Self::Error> {
        match degrees {
            0 => Ok(Self::None),
            90 => Ok(Self::Quarter),
            180 => Ok(Self::Half),
            270 => Ok(Self::ThreeQuarters),
            other => Err(RotationError(other)),
        }
    }
}

impl From<Rotation> for u16 {
    fn from(rotation: Rotation) -> Self {
        match rotation {
            Rotation::None => 0,
            Rotation::Quarter => 90,
            Rotation::Half => 180,
            Rotation::ThreeQuarters => 270,
        }
    }
}

/// A mirror image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flip {
    /// Not mirrored.
    #[default]
    None,
    /// Left and right are swapped.
    Horizontal,
    /// Top and bottom are swapped.
    Vertical,
}

/// Why a picture cannot be preprocessed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PreprocessError {
    /// The region of interest does not lie inside the picture, or is empty.
    #[error(
        "the region of interest (left {left}, top {top}, width {width}, height {height}) is not \
         inside the image of {image} (height x width)",
        left = region.left, top = region.top, width = region.width, height = region.height
    )]
    RegionOutside {
        /// The region asked for.
        region: RegionOfInterest,
        /// The picture's size.
        image: Size,
    },
    /// The caller's buffer does not fit the model's input.
    #[error("a tensor of {target}x3 has {expected} bytes, not {actual}")]
    WrongTensorLength {
        /// The model's input size.
        target: Size,
        /// Bytes that it needs.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
}

impl Geometry {
    /// Returns the part of `image` that is inspected, turned and mirrored, at its original
    /// resolution.
    ///
    /// # Errors
    /// If the region of interest does not lie inside the image.
    pub fn apply(&self, image: &RgbImage) -> Result<RgbImage, PreprocessError> {
        let view = self.view(image)?;
        let mut pixels = Vec::new();
        let size = self.orient(&view, &mut pixels);
        Ok(RgbImage::new(size, pixels).expect("an oriented view fills its size"))
    }

    /// Returns the smallest rectangle of a picture of size `picture` that covers `cells`, a
    /// rectangle of a grid that is laid over the inspected part as the model sees it: turned and
    /// mirrored.
    ///
    /// The way back for anything with the shape of the model's input, at any resolution: the resize
    /// keeps relative positions, so the tensor's size does not matter. `cells` lies inside `grid`.
    ///
    /// # Errors
    /// If the region of interest does not lie inside the picture.
    pub(crate) fn locate(
        &self,
        picture: Size,
        grid: Size,
        cells: RegionOfInterest,
    ) -> Result<RegionOfInterest, PreprocessError> {
        let region = self.inspected(picture)?;
        let from_right = grid.width - cells.left - cells.width;
        let from_bottom = grid.height - cells.top - cells.height;
        let (left, top) = match self.flip {
            Flip::None => (cells.left, cells.top),
            Flip::Horizontal => (from_right, cells.top),
            Flip::Vertical => (cells.left, from_bottom),
        };
        let from_right = grid.width - left - cells.width;
        let from_bottom = grid.height - top - cells.height;
        // Start and length along the columns and the rows of the picture, in cells of the grid.
        let (columns, rows) = match self.rotate {
            Rotation::None => ((left, cells.width), (top, cells.height)),
            Rotation::Quarter => ((top, cells.height), (from_right, cells.width)),
            Rotation::Half => ((from_right, cells.width), (from_bottom, cells.height)),
            Rotation::ThreeQuarters => ((from_bottom, cells.height), (left, cells.width)),
        };
        let turned = self.turn(grid);
        let (left, width) = stretch(columns, turned.width, region.width);
        let (top, height) = stretch(rows, turned.height, region.height);
        Ok(RegionOfInterest {
            left: region.left + left,
            top: region.top + top,
            width,
            height,
        })
    }

    /// Returns the region of interest in a picture of this size: all of it if none is set.
    ///
    /// # Errors
    /// If it does not lie inside the picture.
    pub fn inspected(&self, whole: Size) -> Result<RegionOfInterest, PreprocessError> {
        let region = self.region.unwrap_or(RegionOfInterest {
            left: 0,
            top: 0,
            width: whole.width,
            height: whole.height,
        });
        let inside = |start: usize, length: usize, limit: usize| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= limit)
        };
        if !inside(region.left, region.width, whole.width)
            || !inside(region.top, region.height, whole.height)
        {
            return Err(PreprocessError::RegionOutside {
                region,
                image: whole,
            });
        }
        Ok(region)
    }

    /// Returns the region of interest of a picture.
    pub(crate) fn view<'a>(&self, image: &'a RgbImage) -> Result<View<'a>, PreprocessError> {
        let region = self.inspected(image.size())?;
        Ok(View { image, region })
    }

    /// Returns the size after turning; the same in both directions.
    pub(crate) fn turn(&self, size: Size) -> Size {
        match self.rotate {
            Rotation::None | Rotation::Half => size,
            Rotation::Quarter | Rotation::ThreeQuarters => Size::new(size.width, size.height),
        }
    }

    fn keeps_orientation(&self) -> bool {
        self.rotate == Rotation::None && self.flip == Flip::None
    }

    /// Copies `view` into `pixels`, turned and mirrored, and returns its size there.
    fn orient(&self, view: &View<'_>, pixels: &mut Vec<u8>) -> Size {
        let source = view.size();
        let target = self.turn(source);
        let rows: Vec<&[u8]> = view.rows().collect();
        let (bottom, right) = (source.height - 1, source.width - 1);
        pixels.clear();
        for row in 0..target.height {
            let row = match self.flip {
                Flip::Vertical => target.height - 1 - row,
                Flip::None | Flip::Horizontal => row,
            };
            for column in 0..target.width {
                let column = match self.flip {
                    Flip::Horizontal => target.width - 1 - column,
                    Flip::None | Flip::Vertical => column,
                };
                let (row, column) = match self.rotate {
                    Rotation::None => (row, column),
                    Rotation::Quarter => (bottom - column, row),
                    Rotation::Half => (bottom - row, right - column),
                    Rotation::ThreeQuarters => (column, right - row),
                };
                pixels.extend_from_slice(&rows[row][column * CHANNELS..][..CHANNELS]);
            }
        }
        target
    }
}

/// Returns the pixels, of `pixels` in a line, that the cells `start..start + length` of `cells` in
/// the same line touch: the first one and their number.
fn stretch((start, length): (usize, usize), cells: usize, pixels: usize) -> (usize, usize) {
    let first = start * pixels / cells;
    let end = ((start + length) * pixels).div_ceil(cells);
    (first, end - first)
}

/// A rectangle of a picture, known to lie inside it.
pub(crate) struct View<'a> {
    image: &'a RgbImage,
    region: RegionOfInterest,
}

impl<'a> View<'a> {
    pub(crate) fn size(&self) -> Size {
        Size::new(self.region.height, self.region.width)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let RegionOfInterest {
            left,
            top,
            width,
            height,
        } = self.region;
        self.image
            .pixels()
            .chunks_exact(self.image.size().width * CHANNELS)
            .skip(top)
            .take(height)
            .map(move |row| &row[left * CHANNELS..][..width * CHANNELS])
    }
}

/// Turns pictures into tensors of one size; its buffers are reused while the pictures keep their
/// size.
#[derive(Debug)]
pub struct Preprocessor {
    target: Size,
    geometry: Geometry,
    resampler: Option<Resampler>,
    oriented: Vec<u8>,
}

impl Preprocessor {
    /// Creates a preprocessor for a model whose input is `target`.
    pub fn new(target: Size, geometry: Geometry) -> Self {
        Self {
            target,
            geometry,
            resampler: None,
            oriented: Vec::new(),
        }
    }

    /// Returns the model's input size.
    pub fn target(&self) -> Size {
        self.target
    }

    /// Returns what is cut out and turned before the resize.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the bytes of the tensor: height x width x 3.
    pub fn tensor_len(&self) -> usize {
        self.target.area() * CHANNELS
    }

    /// Writes the tensor `[target.height, target.width, 3]` of `image`, RGB, 0 to 255.
    ///
    /// # Errors
    /// If the region of interest does not lie inside the image, or the tensor has another size.
    pub fn run(&mut self, image: &RgbImage, tensor: &mut [u8]) -> Result<(), PreprocessError> {
        if tensor.len() != self.tensor_len() || tensor.is_empty() {
            return Err(PreprocessError::WrongTensorLength {
                target: self.target,
                expected: self.tensor_len(),
                actual: tensor.len(),
            });
        }
        let view = self.geometry.view(image)?;
        if self.geometry.keeps_orientation() {
            resampler(&mut self.resampler, view.size(), self.target).run(view.rows(), tensor);
        } else {
            let size = self.geometry.orient(&view, &mut self.oriented);
            let rows = self.oriented.chunks_exact(size.width * CHANNELS);
            resampler(&mut self.resampler, size, self.target).run(rows, tensor);
        }
        Ok(())
    }
}

/// Returns the kept resampler if it is for pictures of this size, otherwise a new one, which
/// replaces it.
fn resampler(kept: &mut Option<Resampler>, source: Size, target: Size) -> &mut Resampler {
    if kept.as_ref().is_none_or(|kept| kept.source() != source) {
        *kept = None;
    }
    kept.get_or_insert_with(|| Resampler::new(source, target))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A picture whose pixel at (row, column) is (row, column, 7).
    fn numbered(height: usize, width: usize) -> RgbImage {
        let pixels = (0..height)
            .flat_map(|row| (0..width).flat_map(move |column| [row as u8, column as u8, 7]))
            .collect();
        RgbImage::new(Size::new(height, width), pixels).expect("the pixels fit")
    }

    /// The (row, column) that each pixel of the result came from.
    fn origins(geometry: Geometry, image: &RgbImage) -> Vec<(u8, u8)> {
        let oriented = geometry.apply(image).expect("the region is inside");
        let pixels = oriented.pixels().chunks_exact(CHANNELS);
        pixels.map(|pixel| (pixel[0], pixel[1])).collect()
    }

    #[test]
    fn rotation_is_clockwise_and_the_flip_comes_after_it() {
        let image = numbered(2, 3);
        let turned = |rotate, flip| {
            let geometry = Geometry {
                region: None,
                rotate,
                flip,
            };
            origins(geometry, &image)
        };
        assert_eq!(
            turned(Rotation::Quarter, Flip::None),
            [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (0, 2)]
        );
        assert_eq!(
            turned(Rotation::ThreeQuarters, Flip::None),
            [(0, 2), (1, 2), (0, 1), (1, 1), (0, 0), (1, 0)]
        );
        assert_eq!(
            turned(Rotation::Half, Flip::None),
            [(1, 2), (1, 1), (1, 0), (0, 2), (0, 1), (0, 0)]
        );
        assert_eq!(
            turned(Rotation::Quarter, Flip::Horizontal),
            [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
        );
        assert_eq!(
            turned(Rotation::None, Flip::Vertical),
            [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1), (0, 2)]
        );
    }

    #[test]
    fn a_region_is_cut_out_before_anything_else() {
        let region = RegionOfInterest {
            left: 1,
            top: 2,
            width: 2,
            height: 1,
        };
        let geometry = Geometry {
            region: Some(region),
            ..Geometry::default()
        };
        assert_eq!(origins(geometry, &numbered(4, 4)), [(2, 1), (2, 2)]);
        assert_eq!(
            geometry.apply(&numbered(2, 4)),
            Err(PreprocessError::RegionOutside {
                region,
                image: Size::new(2, 4)
            })
        );
        for (left, width) in [(0, 0), (3, 2), (usize::MAX, 2)] {
            let region = RegionOfInterest {
                left,
                width,
                ..region
            };
            let geometry = Geometry {
                region: Some(region),
                ..Geometry::default()
            };
            assert!(geometry.apply(&numbered(4, 4)).is_err());
        }
    }

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let mut preprocessor = Preprocessor::new(Size::new(2, 2), Geometry::default());
        let image = numbered(4, 4);
        assert!(preprocessor.run(&image, &mut [0; 12]).is_ok());
        assert!(preprocessor.run(&image, &mut [0; 11]).is_err());
    }

    proptest! {
        /// Cropping, turning and mirroring first and resizing then is what `run` does, and a
        /// preprocessor that has seen other pictures gives what a fresh one gives.
        #[test]
        fn run_is_the_geometry_and_then_the_resize(
            (height, width) in (1_usize..24, 1_usize..24),
            quarter_turns in 0_u16..4,
            flip in prop::sample::select(vec![Flip::None, Flip::Horizontal, Flip::Vertical]),
        ) {
            let geometry = Geometry {
                region: Some(RegionOfInterest { left: width / 3, top: 0, width: width - width / 3, height }),
                rotate: Rotation::try_from(quarter_turns * 90).expect("a quarter turn"),
                flip,
            };
            let image = numbered(height, width);
            let target = Size::new(7, 5);
            let mut at_once = vec![0; target.area() * CHANNELS];
            let mut preprocessor = Preprocessor::new(target, geometry);
            prop_assert!(preprocessor.run(&numbered(30, 30), &mut at_once).is_ok());
            prop_assert!(preprocessor.run(&image, &mut at_once).is_ok());

            let oriented = geometry.apply(&image).expect("the region is inside");
            let mut in_steps = vec![0; at_once.len()];
            prop_assert!(Preprocessor::new(target, Geometry::default())
                .run(&oriented, &mut in_steps)
                .is_ok());
            prop_assert_eq!(at_once, in_steps);
        }
    }
}
