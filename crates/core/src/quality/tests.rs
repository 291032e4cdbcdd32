//! Measures by their definitions, and limits that pass what set them.

use proptest::prelude::*;

use super::limits::FEW;
use super::measure::measure_tensor;
use super::*;
use crate::image::{CHANNELS, Size};

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
fn as_much_room_again_is_the_same_share_of_what_is_left() {
    let limits = QualityLimits::from_good(&[of(100.0, 40.0)]).expect("one is enough");
    let expected = QualityLimits {
        brightness_min: 25.0,
        brightness_max: 216.25,
        sharpness_min: 2.5,
        noise_max: None,
    };
    assert_eq!(limits.with_as_much_room_again(), expected);
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
