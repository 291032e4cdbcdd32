//! Whether a picture can be judged at all: how bright, how sharp and how noisy it is, against the
//! good pictures of the calibration, and whether the camera repeats itself.
//!
//! Brightness and sharpness are measured on the model's input tensor, after cutting out and
//! resizing, at the resolution that the model sees; noise, which the resize hides, in the picture's
//! own pixels. Calibration and line measure alike. A picture outside the limits is not a defect:
//! nothing can be said about it. The limits are wide; for smaller changes of the pictures see
//! [`condition`](crate::condition).

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, ViewSums};
use crate::image::{CHANNELS, RgbImage, Size, luma};
use crate::preprocess::{Geometry, PreprocessError};

/// The lowest brightness that passes, as a share of the darkest good picture's. Luma is gamma
/// coded, so half of it is about a fifth of the light (2^-2.2): no working lamp gives so little.
const DARKEST: f64 = 0.5;

/// The share of the range between the brightest good picture and white that may be used. Relative
/// to that range, not to the brightness, so that the limit stays below white.
const BRIGHTEST: f64 = 0.5;

/// The lowest sharpness that passes, as a share of the least sharp good picture's. A variance grows
/// with the square of contrast, so a quarter is all edges at half their height.
const BLURRED: f64 = 0.25;

/// The grey levels by which noise may exceed that of the noisiest good picture: a tenth of white,
/// twenty times the shot noise of a sensor whose pixels hold 10,000 electrons, at half of white
/// (EMVA 1288). Only a fault does that; not measured.
const NOISIER: f64 = 25.5;

/// The least difference in brightness by which a picture stands apart: near black or white, the
/// share alone exaggerates small differences. A sixteenth of the range; not measured.
const APART: f64 = 16.0;

/// The number of pictures that may stand apart on one side, if a tenth of all is less.
const FEW: usize = 3;

/// The largest value of a byte.
const WHITE: f64 = 255.0;

/// What is measured of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Mean luma, 0 (black) to 255 (white).
    pub brightness: f64,
    /// Variance of the Laplacian of the luma, at least 0; the higher, the sharper. Its range
    /// depends on the content of the picture, so it is meaningful only beside that of other
    /// pictures of the same kind.
    pub sharpness: f64,
    /// Everything that drifts. `None` if the picture or the model's input is too small, or was
    /// measured by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// The range in which pictures can be judged, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLimits {
    /// Lowest mean luma.
    pub brightness_min: f64,
    /// Highest mean luma.
    pub brightness_max: f64,
    /// Lowest variance of the Laplacian.
    pub sharpness_min: f64,
    /// Highest deviation of the noise, in grey levels. Absent if it was not measured: any passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_max: Option<f64>,
}

/// Why a picture cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum QualityError {
    /// Darker than the limit.
    #[error("too dark: mean luma {brightness:.1}, and good pictures have at least {min:.1}")]
    TooDark {
        /// Its mean luma.
        brightness: f64,
        /// The lowest that passes.
        min: f64,
    },
    /// Brighter than the limit.
    #[error("too bright: mean luma {brightness:.1}, and good pictures have at most {max:.1}")]
    TooBright {
        /// Its mean luma.
        brightness: f64,
        /// The highest that passes.
        max: f64,
    },
    /// Less sharp than the limit.
    #[error("blurred: sharpness {sharpness:.2}, and good pictures have at least {min:.2}")]
    Blurred {
        /// Its variance of the Laplacian.
        sharpness: f64,
        /// The lowest that passes.
        min: f64,
    },
    /// Noisier than the limit.
    #[error("noisy: {noise:.1} grey levels of noise, and good pictures have at most {max:.1}")]
    Noisy {
        /// Its deviation of the noise.
        noise: f64,
        /// The highest that passes.
        max: f64,
    },
}

impl QualityLimits {
    /// Returns the limits for pictures like these good ones: their range, widened, so that each of
    /// them passes with room to spare. `None` if there are none.
    ///
    /// A black frame, a white one or a covered lens among them does not set a limit: the few that
    /// lie beyond the limits of all the others, by the same margin again, are ignored, and
    /// [`Self::check`] refuses them.
    ///
    /// From half of the lowest brightness to half of the room that the highest one leaves below
    /// white, and from a quarter of the lowest sharpness. The limits catch a lamp that failed, an
    /// exposure that ran away, a lens that turned; small changes are left to the score to tolerate.
    pub fn from_good(good: &[Measured]) -> Option<Self> {
        let lowest = |value: fn(&Measured) -> f64, share: f64, apart: f64| {
            lowest(good.iter().map(value).collect(), share, apart)
        };
        let darkest = lowest(|picture| picture.brightness, DARKEST, APART)?;
        let room = lowest(|picture| WHITE - picture.brightness, BRIGHTEST, APART)?;
        Some(Self {
            brightness_min: darkest * DARKEST,
            brightness_max: WHITE - room * BRIGHTEST,
            sharpness_min: lowest(|picture| picture.sharpness, BLURRED, 0.0)? * BLURRED,
            noise_max: noisiest(good).map(|noise| noise + NOISIER),
        })
    }

    /// Returns limits that pass what either passes.
    pub fn or(self, other: Self) -> Self {
        Self {
            brightness_min: self.brightness_min.min(other.brightness_min),
            brightness_max: self.brightness_max.max(other.brightness_max),
            sharpness_min: self.sharpness_min.min(other.sharpness_min),
            noise_max: self.noise_max.zip(other.noise_max).map(|(a, b)| a.max(b)),
        }
    }

    /// Returns `true` if a picture can lie within the limits.
    pub fn is_possible(&self) -> bool {
        let brightness = self.brightness_min..=self.brightness_max;
        !brightness.is_empty()
            && brightness.start() <= &WHITE
            && brightness.end() >= &0.0
            && self.sharpness_min.is_finite()
            && self.noise_max.is_none_or(|noise| noise >= 0.0)
    }

    /// Compares a picture with the limits; brightness first, since what is too dark is blurred
    /// as well.
    ///
    /// # Errors
    /// The first limit that it violates.
    pub fn check(&self, measured: &Measured) -> Result<(), QualityError> {
        let &Measured {
            brightness,
            sharpness,
            ref condition,
        } = measured;
        if brightness < self.brightness_min {
            return Err(QualityError::TooDark {
                brightness,
                min: self.brightness_min,
            });
        }
        if brightness > self.brightness_max {
            return Err(QualityError::TooBright {
                brightness,
                max: self.brightness_max,
            });
        }
        if sharpness < self.sharpness_min {
            return Err(QualityError::Blurred {
                sharpness,
                min: self.sharpness_min,
            });
        }
        if let (Some(condition), Some(max)) = (condition, self.noise_max) {
            let noise = f64::from(condition.noise);
            if noise > max {
                return Err(QualityError::Noisy { noise, max });
            }
        }
        Ok(())
    }
}

/// Returns the highest noise of those pictures that do not stand apart; `None` unless all have one.
/// The few highest stand apart if they lie twice the margin above the next one.
fn noisiest(good: &[Measured]) -> Option<f64> {
    let noise = |it: &Measured| it.condition.as_ref().map(|it| -f64::from(it.noise));
    let noise: Option<Vec<f64>> = good.iter().map(noise).collect();
    lowest(noise?, 1.0, 2.0 * NOISIER).map(|noise| -noise)
}

/// Returns the lowest value of those that do not stand apart; `None` if there are none. The few
/// lowest stand apart if they lie below `share` of `share` of the next one, and `apart` below it.
fn lowest(mut values: Vec<f64>, share: f64, apart: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let most = (values.len() / 10)
        .max(FEW)
        .min(values.len().saturating_sub(1) / 2);
    let gap = |&few: &usize| {
        let (value, next) = (values[few - 1], values[few]);
        value < next * share * share && value < next - apart
    };
    let few = (1..=most).rev().find(gap).unwrap_or(0);
    values.get(few).copied()
}

/// Measures a picture, of which `geometry` inspects a part, and the model's input that was made of
/// it: a tensor of `size`, RGB bytes row by row.
///
/// The tensor takes 0.6 ms at 384x384 and the picture 0.3 ms at 1920x1080, beside 4 to 17 ms for
/// the resize from a camera's 1280x720 or 1920x1080, measured on one slow core.
///
/// Sharpness is the variance of the 4-neighbour Laplacian over the pixels that have all four
/// neighbours: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative
/// study", ICPR 2000. Luma has the weights of ITU-R BT.601 in 256ths. A picture without such pixels
/// has a sharpness of 0.
///
/// # Errors
/// If the region of interest does not lie inside the picture.
///
/// # Panics
/// If the tensor does not fit the size, or has no pixels.
pub fn measure(
    picture: &RgbImage,
    geometry: &Geometry,
    tensor: &[u8],
    size: Size,
) -> Result<Measured, PreprocessError> {
    let (measured, view) = measure_tensor(tensor, size);
    let brightness = measured.brightness;
    let condition =
        (view.view(size.width)).map(|view| Condition::measure(picture, geometry, brightness, view));
    Ok(Measured {
        condition: condition.transpose()?.flatten(),
        ..measured
    })
}

/// Measures a tensor in one pass: what it alone shows, and its view.
fn measure_tensor(tensor: &[u8], size: Size) -> (Measured, ViewSums) {
    let Size { height, width } = size;
    assert!(
        size.area() > 0 && tensor.len() == size.area() * CHANNELS,
        "a tensor of {size}x3 does not have {} bytes",
        tensor.len()
    );
    let mut above = vec![0_i16; width];
    let mut middle = vec![0_i16; width];
    let mut below = vec![0_i16; width];
    let mut brightness = 0;
    let mut laplacian = Moments::default();
    let mut view = ViewSums::new(height);
    for (row, pixels) in tensor.chunks_exact(width * CHANNELS).enumerate() {
        brightness += luma(pixels, &mut below);
        view.add_row(row, &below);
        if row >= 2 {
            laplacian.add_row(&above, &middle, &below);
        }
        std::mem::swap(&mut above, &mut middle);
        std::mem::swap(&mut middle, &mut below);
    }
    let measured = Measured {
        brightness: brightness as f64 / (height * width) as f64,
        sharpness: laplacian.variance(),
        condition: None,
    };
    (measured, view)
}

/// Sums of values and of their squares; in whole numbers, so that the order does not matter.
#[derive(Default)]
struct Moments {
    count: u64,
    sum: i64,
    squares: i64,
}

impl Moments {
    /// Adds the Laplacians of the inner pixels of the row `middle`.
    fn add_row(&mut self, above: &[i16], middle: &[i16], below: &[i16]) {
        // A square is at most 1020², so that a part's sum stays within 32 bits.
        const PART: usize = 1024;
        let width = middle.len();
        let mut start = 1;
        while start + 1 < width {
            let end = (start + PART).min(width - 1);
            let (mut sum, mut squares) = (0_i32, 0_i32);
            let cells = above[start..end].iter().zip(&below[start..end]);
            let beside = middle[start - 1..].iter().zip(&middle[start + 1..]);
            for (((a, b), (l, r)), m) in cells.zip(beside).zip(&middle[start..end]) {
                let laplacian = i32::from(a + b + l + r - 4 * m);
                sum += laplacian;
                squares += laplacian * laplacian;
            }
            self.sum += i64::from(sum);
            self.squares += i64::from(squares);
            self.count += (end - start) as u64;
            start = end;
        }
    }

    fn variance(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let count = self.count as f64;
        let mean = self.sum as f64 / count;
        // Rounding may take a variance of zero below zero.
        (self.squares as f64 / count - mean * mean).max(0.0)
    }
}

/// Notices a camera that sends the same picture again and again.
///
/// The noise of a sensor makes two equal pictures practically impossible, so a run of them comes
/// from a buffer that is no longer filled. Pictures are compared byte by byte with a copy of the
/// last one: two that differ mostly do so within the first bytes.
#[derive(Clone, Debug)]
pub struct FrozenPicture {
    limit: usize,
    last: Vec<u8>,
    /// Number of equal pictures at the end, the first of them included.
    equal: usize,
}

impl FrozenPicture {
    /// Creates a watch for which a camera is frozen if its last `limit` pictures are equal. One
    /// picture repeats nothing, so a limit below 2 counts as 2.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(2),
            last: Vec::new(),
            equal: 0,
        }
    }

    /// Takes the tensor of the next picture; returns `true` if the camera is frozen.
    pub fn see(&mut self, tensor: &[u8]) -> bool {
        if self.equal > 0 && self.last == tensor {
            self.equal = self.equal.saturating_add(1);
        } else {
            self.last.clear();
            self.last.extend_from_slice(tensor);
            self.equal = 1;
        }
        self.equal >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A grey picture of which `value` gives the pixel at (row, column).
    fn grey(size: Size, value: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        let pixels = (0..size.area()).map(|place| value(place / size.width, place % size.width));
        pixels.flat_map(|value| [value; CHANNELS]).collect()
    }

    fn measured(tensor: &[u8], size: Size) -> Measured {
        measure_tensor(tensor, size).0
    }

    /// A picture of which only this is known.
    fn of(brightness: f64, sharpness: f64) -> Measured {
        Measured {
            brightness,
            sharpness,
            condition: None,
        }
    }

    #[test]
    fn brightness_is_the_luma_of_the_colours() {
        let size = Size::new(1, 1);
        let of = |colour: [u8; CHANNELS]| measure_tensor(&colour, size).0.brightness;
        assert_eq!(of([255, 255, 255]), 255.0);
        assert_eq!(of([0, 0, 0]), 0.0);
        assert_eq!(
            [of([255, 0, 0]), of([0, 255, 0]), of([0, 0, 255])],
            [77.0, 149.0, 29.0]
        );
    }

    #[test]
    fn blurring_a_picture_lowers_its_sharpness_and_keeps_its_brightness() {
        let size = Size::new(64, 64);
        let stripes = |period: usize| {
            measured(
                &grey(size, |_, column| {
                    if (column / period).is_multiple_of(2) {
                        50
                    } else {
                        150
                    }
                }),
                size,
            )
        };
        let sharp = stripes(8);
        let blurred = measured(
            &grey(size, |_, column| {
                // Edges over four pixels instead of one.
                let place = (column % 16) as f64;
                (100.0 - 50.0 * (place * std::f64::consts::PI / 8.0).sin()) as u8
            }),
            size,
        );
        assert!((sharp.brightness - blurred.brightness).abs() < 1.0);
        assert!(
            blurred.sharpness < sharp.sharpness / 4.0,
            "{sharp:?} {blurred:?}"
        );
        assert_eq!(measured(&grey(size, |_, _| 80), size).sharpness, 0.0);
    }

    #[test]
    fn half_the_contrast_is_a_quarter_of_the_sharpness() {
        let size = Size::new(16, 16);
        let board = |low: u8, high: u8| {
            measured(
                &grey(size, |r, c| if (r + c) % 2 == 0 { low } else { high }),
                size,
            )
            .sharpness
        };
        assert_eq!(board(60, 160), 4.0 * board(60, 110));
    }

    #[test]
    fn each_kind_of_bad_picture_is_told_with_numbers() {
        let limits = QualityLimits::from_good(&[of(100.0, 40.0)]).expect("one is enough");
        let expected = QualityLimits {
            brightness_min: 50.0,
            brightness_max: 177.5,
            sharpness_min: 10.0,
            noise_max: None,
        };
        assert_eq!(limits, expected);
        let said = |brightness, sharpness| {
            let measured = of(brightness, sharpness);
            limits.check(&measured).expect_err("bad").to_string()
        };
        assert_eq!(
            said(20.0, 0.0),
            "too dark: mean luma 20.0, and good pictures have at least 50.0"
        );
        assert_eq!(
            said(250.0, 0.0),
            "too bright: mean luma 250.0, and good pictures have at most 177.5"
        );
        assert_eq!(
            said(100.0, 1.5),
            "blurred: sharpness 1.50, and good pictures have at least 10.00"
        );
        assert_eq!(QualityLimits::from_good(&[]), None);
    }

    #[test]
    fn a_black_a_white_and_a_covered_frame_set_no_limits_and_are_refused_by_them() {
        let clean: Vec<Measured> = (0..9).map(|i| of(90.0 + f64::from(i), 30.0)).collect();
        let limits = QualityLimits::from_good(&clean).expect("there are some");
        let odd = [of(0.0, 0.0), of(255.0, 0.0), of(2.0, 0.1)];
        let with_odd: Vec<Measured> = clean.iter().chain(&odd).cloned().collect();
        assert_eq!(QualityLimits::from_good(&with_odd), Some(limits));
        for picture in odd {
            assert!(limits.check(&picture).is_err(), "{picture:?}");
        }
        // Dark parts are dark: near black a share says little.
        let dark: Vec<Measured> = [1.0, 9.0, 9.5, 10.0, 11.0]
            .map(|luma| of(luma, 30.0))
            .into();
        let limits = QualityLimits::from_good(&dark).expect("there are some");
        assert_eq!(limits.check(&dark[0]), Ok(()));
    }

    #[test]
    fn limits_that_no_picture_can_keep_are_known() {
        let limits = |brightness_min, brightness_max, sharpness_min| QualityLimits {
            brightness_min,
            brightness_max,
            sharpness_min,
            noise_max: None,
        };
        assert!(limits(10.0, 200.0, 5.0).is_possible());
        for impossible in [
            limits(200.0, 10.0, 5.0),
            limits(f64::NAN, 200.0, 5.0),
            limits(10.0, f64::NAN, 5.0),
            limits(10.0, 200.0, f64::NAN),
            limits(10.0, 200.0, f64::INFINITY),
            limits(256.0, 300.0, 5.0),
            limits(-9.0, -1.0, 5.0),
        ] {
            assert!(!impossible.is_possible(), "{impossible:?}");
        }
    }

    #[test]
    fn a_camera_is_frozen_as_long_as_the_last_pictures_are_equal() {
        let mut frozen = FrozenPicture::new(3);
        let seen = [1, 1, 1, 1, 2, 2, 1, 1, 1].map(|picture| frozen.see(&[picture; 6]));
        let expected = [false, false, true, true, false, false, false, false, true];
        assert_eq!(seen, expected);
        assert!(
            !FrozenPicture::new(0).see(&[]),
            "one picture repeats nothing"
        );
    }

    proptest! {
        #[test]
        fn measures_are_those_of_the_definitions(
            (height, width) in (1_usize..9, 1_usize..9),
            wide in prop::bool::ANY,
            seed in any::<u32>(),
        ) {
            // Wide enough that a row is added in several parts.
            let size = Size::new(height, if wide { 2050 + width } else { width });
            let value = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8;
            let tensor: Vec<u8> = (0..size.area() * CHANNELS).map(value).collect();
            let luma: Vec<f64> = tensor
                .chunks_exact(CHANNELS)
                .map(|p| {
                    let [r, g, b] = [p[0], p[1], p[2]].map(f64::from);
                    (0.5 + (77.0 * r + 150.0 * g + 29.0 * b) / 256.0).floor()
                })
                .collect();
            let at = |row: usize, column: usize| luma[row * size.width + column];
            let mut laplacians = Vec::new();
            for row in 1..size.height.saturating_sub(1) {
                for column in 1..size.width.saturating_sub(1) {
                    laplacians.push(
                        at(row - 1, column) + at(row + 1, column) + at(row, column - 1)
                            + at(row, column + 1) - 4.0 * at(row, column),
                    );
                }
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
            let centre = mean(&laplacians);
            let squares: Vec<f64> = laplacians.iter().map(|l| (l - centre).powi(2)).collect();

            let measured = measured(&tensor, size);
            prop_assert!((measured.brightness - mean(&luma)).abs() < 1e-9);
            let expected = mean(&squares);
            prop_assert!((measured.sharpness - expected).abs() <= 1e-6 * (1.0 + expected));
        }

        /// A calibration never rejects its own pictures, except for the few that stand apart.
        #[test]
        fn every_good_picture_keeps_the_limits_that_it_helped_to_set(
            good in prop::collection::vec((0.0_f64..=255.0, 0.0_f64..1e6), 1..20),
            alike in prop::collection::vec((100.0_f64..=180.0, 20.0_f64..300.0), 1..20),
        ) {
            let good: Vec<Measured> = good
                .into_iter()
                .map(|(brightness, sharpness)| of(brightness, sharpness))
                .collect();
            let limits = QualityLimits::from_good(&good).expect("there are some");
            prop_assert!(limits.is_possible());
            let refused = good.iter().filter(|picture| limits.check(picture).is_err()).count();
            prop_assert!(refused <= 3 * FEW.min((good.len() - 1) / 2));

            let alike: Vec<Measured> = alike
                .into_iter()
                .map(|(brightness, sharpness)| of(brightness, sharpness))
                .collect();
            let limits = QualityLimits::from_good(&alike).expect("there are some");
            for picture in &alike {
                prop_assert_eq!(limits.check(picture), Ok(()));
            }
        }
    }
}
