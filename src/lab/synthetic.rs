//! Made-up defects: a piece of a picture, copied to another place in it.
//!
//! CutPaste trains with such pictures (Li, Sohn, Yoon and Pfister, CVPR 2021); here they only
//! estimate what a threshold would let through, before there is a single real defect. Nothing here
//! knows a model or a threshold.

use flawd_core::image::{CHANNELS, RgbImage};
use flawd_core::preprocess::RegionOfInterest;
use flawd_core::random::SplitMix64;

/// The shape of a made-up defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectShape {
    /// A square, as a chip or a stain.
    Patch,
    /// A strip, [`SLENDERNESS`] times as long as wide.
    Scratch,
}

/// Length of a scratch in its widths.
const SLENDERNESS: f64 = 8.0;

/// Places that are drawn for a defect, of which it takes the one where it changes the picture most:
/// a piece of background copied to background is no defect.
const PLACES: usize = 8;

/// A made-up defect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticDefect {
    /// Its shape.
    pub shape: DefectShape,
    /// Its length as a share of the shorter side of what is inspected, above 0 and at most a
    /// quarter.
    pub length: f64,
}

/// A piece of a picture and where it is copied to: a rectangle about a centre, turned.
struct Piece {
    /// Centre of the rectangle that is covered, `[x, y]` in pixels.
    centre: [f64; 2],
    /// From the pixels that are covered to those that cover them, `[x, y]` in pixels.
    offset: [isize; 2],
    /// Half its length and half its width, in pixels.
    half: [f64; 2],
    /// Cosine and sine of its angle.
    direction: [f64; 2],
}

impl SyntheticDefect {
    /// Returns the picture with this defect inside `region`, at a place that `seed` determines.
    ///
    /// # Panics
    /// If `region` does not lie inside the picture.
    pub fn paste(&self, image: &RgbImage, region: RegionOfInterest, seed: u64) -> RgbImage {
        let mut random = SplitMix64::new(seed);
        let pieces = (0..PLACES).map(|_| self.draw(region, &mut random));
        let (_, piece) = pieces
            .map(|piece| (piece.change(image, region), piece))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .expect("places are drawn");
        let mut pixels = image.pixels().to_vec();
        piece.visit(image, region, |to, from| {
            pixels[to..][..CHANNELS].copy_from_slice(&image.pixels()[from..][..CHANNELS]);
        });
        RgbImage::new(image.size(), pixels).expect("as many pixels as before")
    }

    fn draw(&self, region: RegionOfInterest, random: &mut SplitMix64) -> Piece {
        let length = self.length * region.width.min(region.height) as f64;
        let width = match self.shape {
            DefectShape::Patch => length,
            DefectShape::Scratch => length / SLENDERNESS,
        };
        // A strip of less than a pixel could fall between all of them.
        let half = [length, width].map(|side| side.max(1.0) / 2.0);
        let (sine, cosine) = (random.unit() * std::f64::consts::PI).sin_cos();
        let reach = half[0].hypot(half[1]);
        let mut place = |start: usize, side: usize| {
            let room = (side as f64 - 2.0 * reach).max(0.0);
            start as f64 + (side as f64 - room) / 2.0 + room * random.unit()
        };
        let centre = [
            place(region.left, region.width),
            place(region.top, region.height),
        ];
        let source = [
            place(region.left, region.width),
            place(region.top, region.height),
        ];
        let offset = [0, 1].map(|axis| (source[axis] - centre[axis]).round() as isize);
        Piece {
            centre,
            offset,
            half,
            direction: [cosine, sine],
        }
    }
}

impl Piece {
    /// Calls `visit` for each pixel that is covered: where it starts in the picture's bytes, and
    /// where the one starts that covers it.
    fn visit(
        &self,
        image: &RgbImage,
        region: RegionOfInterest,
        mut visit: impl FnMut(usize, usize),
    ) {
        let reach = self.half[0].hypot(self.half[1]);
        let range = |axis: usize, start: usize, side: usize| {
            let lowest = (self.centre[axis] - reach).floor().max(start as f64) as usize;
            let highest = (self.centre[axis] + reach).ceil() as usize;
            lowest..highest.min(start + side)
        };
        let inside = |place: isize, start: usize, side: usize| {
            usize::try_from(place)
                .ok()
                .filter(|place| (start..start + side).contains(place))
        };
        let at = |x: usize, y: usize| (y * image.size().width + x) * CHANNELS;
        for y in range(1, region.top, region.height) {
            for x in range(0, region.left, region.width) {
                let [across, down] = [
                    x as f64 + 0.5 - self.centre[0],
                    y as f64 + 0.5 - self.centre[1],
                ];
                let [cosine, sine] = self.direction;
                let along = [across * cosine + down * sine, down * cosine - across * sine];
                if along[0].abs() > self.half[0] || along[1].abs() > self.half[1] {
                    continue;
                }
                let source = inside(x as isize + self.offset[0], region.left, region.width).zip(
                    inside(y as isize + self.offset[1], region.top, region.height),
                );
                if let Some((from_x, from_y)) = source {
                    visit(at(x, y), at(from_x, from_y));
                }
            }
        }
    }

    /// Returns the sum of the differences that the copy would make, in grey levels.
    fn change(&self, image: &RgbImage, region: RegionOfInterest) -> f64 {
        let mut sum = 0.0;
        self.visit(image, region, |to, from| {
            for channel in 0..CHANNELS {
                let [old, new] = [to, from].map(|start| image.pixels()[start + channel]);
                sum += f64::from(old.abs_diff(new));
            }
        });
        sum
    }
}

#[cfg(test)]
mod tests {
    use flawd_core::image::Size;
    use flawd_core::preprocess::Geometry;
    use proptest::prelude::*;

    use super::*;

    fn picture(height: usize, width: usize, seed: u64) -> RgbImage {
        let mut random = SplitMix64::new(seed);
        let pixels = (0..height * width * CHANNELS).map(|_| random.next_u64() as u8);
        RgbImage::new(Size { height, width }, pixels.collect()).expect("as many as the size says")
    }

    fn whole(image: &RgbImage) -> RegionOfInterest {
        let geometry = Geometry::default();
        geometry.inspected(image.size()).expect("all of it")
    }

    /// Returns the pixels that differ, `[x, y]`.
    fn changed(before: &RgbImage, after: &RgbImage) -> Vec<[usize; 2]> {
        let width = before.size().width;
        let pixels = |image: &RgbImage| image.pixels().as_chunks::<CHANNELS>().0.to_vec();
        let pairs = pixels(before).into_iter().zip(pixels(after));
        let differs = |(place, (a, b))| (a != b).then_some([place % width, place / width]);
        pairs.enumerate().filter_map(differs).collect()
    }

    proptest! {
        #[test]
        fn a_defect_lies_in_the_region_and_is_as_large_as_stated(
            (height, width) in (1_usize..80, 1_usize..80),
            corner in (0.0..1.0, 0.0..1.0),
            length in 0.01..0.25,
            scratch: bool,
            seed: u64,
        ) {
            let image = picture(height, width, seed);
            let (left, top) = ((corner.0 * width as f64) as usize, (corner.1 * height as f64) as usize);
            let region = RegionOfInterest { left, top, width: width - left, height: height - top };
            let shape = if scratch { DefectShape::Scratch } else { DefectShape::Patch };
            let defect = SyntheticDefect { shape, length };
            let after = defect.paste(&image, region, seed);
            prop_assert_eq!(after.size(), image.size());
            let side = length * region.width.min(region.height) as f64;
            let area = match shape {
                DefectShape::Patch => side.max(1.0).powi(2),
                DefectShape::Scratch => side.max(1.0) * (side / SLENDERNESS).max(1.0),
            };
            let changed = changed(&image, &after);
            // A pixel belongs to it by its centre: the border may take a row more on each side.
            prop_assert!(changed.len() as f64 <= area + 4.0 * side + 4.0, "{} of {area}", changed.len());
            for [x, y] in changed {
                prop_assert!(x >= left && y >= top, "{x} {y} outside {region:?}");
            }
        }
    }

    #[test]
    fn a_piece_of_background_is_not_copied_to_background_if_there_is_another_place() {
        // A part in the middle fifth of a black picture.
        let (height, width) = (100, 100);
        let mut pixels = vec![0; height * width * CHANNELS];
        for y in 30..70 {
            for x in 30..70 {
                pixels[(y * width + x) * CHANNELS..][..CHANNELS].fill(200);
            }
        }
        let image = RgbImage::new(Size { height, width }, pixels).expect("its size");
        let region = whole(&image);
        let seen = (0..50).filter(|seed| {
            let defect = SyntheticDefect {
                shape: DefectShape::Patch,
                length: 0.125,
            };
            !changed(&image, &defect.paste(&image, region, *seed)).is_empty()
        });
        assert!(seen.count() >= 45);
    }

    #[test]
    fn a_patch_of_an_eighth_covers_an_eighth_by_an_eighth() {
        let image = picture(160, 240, 7);
        let region = whole(&image);
        let defect = SyntheticDefect {
            shape: DefectShape::Patch,
            length: 0.125,
        };
        let number = changed(&image, &defect.paste(&image, region, 3)).len();
        assert!((380..=420).contains(&number), "{number} of 400");
    }
}
