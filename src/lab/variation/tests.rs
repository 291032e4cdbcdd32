//! Properties of the changes and of their text.

use flawd_core::image::{CHANNELS, RgbImage, Size};
use flawd_core::random::SplitMix64;
use proptest::prelude::*;

use super::*;

/// A smooth picture in colour, or grey, so that interpolation is near.
fn smooth(size: Size, is_grey: bool) -> RgbImage {
    let places = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (y as f64, x as f64)));
    let pixels = places.flat_map(|(y, x)| {
        let value = |phase: f64| 128.0 + 60.0 * ((x / 9.0 + phase).sin() + (y / 7.0).cos());
        let phases = if is_grey {
            [0.0; CHANNELS]
        } else {
            [0.0, 1.0, 2.0]
        };
        phases.map(|phase| value(phase) as u8)
    });
    RgbImage::new(size, pixels.collect()).unwrap()
}

/// Any bytes as a picture.
fn random_picture(size: Size, seed: u64) -> RgbImage {
    let mut random = SplitMix64::new(seed);
    let pixels = (0..size.area() * CHANNELS).map(|_| random.next_u64() as u8);
    RgbImage::new(size, pixels.collect()).unwrap()
}

fn size() -> impl Strategy<Value = Size> {
    (1_usize..40, 1_usize..40).prop_map(|(height, width)| Size::new(height, width))
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0.5..1.5).prop_map(Change::Light),
        (0.0..0.2).prop_map(Change::Noise),
        (0.0..10.0).prop_map(Change::Blur),
        (5_u8..=100).prop_map(Change::Jpeg),
        (-64.0..64.0, -64.0..64.0).prop_map(|(x, y)| Change::Shift { x, y }),
        (0.8..1.2).prop_map(Change::Zoom),
        (-45.0..45.0).prop_map(Change::Turn),
    ]
}

/// Thousandths of a unit.
fn thousandths(most: u32) -> impl Strategy<Value = Option<f64>> {
    prop::option::of((0..=most * 1000).prop_map(|value| f64::from(value) / 1000.0))
}

/// Mean absolute difference of the pixels at least `margin` from the edge.
fn difference(one: &RgbImage, other: &RgbImage, margin: usize) -> f64 {
    let size = one.size();
    let inside = |place: &usize| {
        let (row, column) = (place / CHANNELS / size.width, place / CHANNELS % size.width);
        (margin..size.height - margin).contains(&row)
            && (margin..size.width - margin).contains(&column)
    };
    let places: Vec<usize> = (0..one.pixels().len()).filter(inside).collect();
    let differences = places
        .iter()
        .map(|&place| f64::from(one.pixels()[place].abs_diff(other.pixels()[place])));
    differences.sum::<f64>() / places.len() as f64
}

proptest! {
    #[test]
    fn a_change_of_nothing_is_the_same_picture(size in size(), seed: u64) {
        let image = random_picture(size, seed);
        let nothing = [
            Change::Light(1.0),
            Change::Noise(0.0),
            Change::Blur(0.0),
            Change::Shift { x: 0.0, y: 0.0 },
            Change::Zoom(1.0),
            Change::Turn(0.0),
        ];
        for change in nothing {
            prop_assert!(change.apply(&image, seed) == image, "{:?}", change);
        }
        prop_assert_eq!(apply_all(&nothing, &image, seed), image.clone());
        prop_assert_eq!(apply_all(&[], &image, seed), image);
    }

    #[test]
    fn the_size_stays_and_the_same_seed_gives_the_same_picture(
        size in size(),
        changes in prop::collection::vec(any_change(), 1..6),
        seed: u64,
    ) {
        let image = random_picture(size, seed);
        let changed = apply_all(&changes, &image, seed);
        prop_assert_eq!(changed.size(), size);
        prop_assert_eq!(changed, apply_all(&changes, &image, seed));
    }

    #[test]
    fn a_shift_by_whole_pixels_moves_exactly(size in size(), x in -40_i32..40, y in -40_i32..40) {
        let image = random_picture(size, 7);
        let shift = Change::Shift { x: x.into(), y: y.into() };
        let moved = shift.apply(&image, 0);
        let from = |place: usize, by: i32, side: usize| {
            (place as i32 - by).clamp(0, side as i32 - 1) as usize
        };
        for row in 0..size.height {
            for column in 0..size.width {
                let source = from(row, y, size.height) * size.width + from(column, x, size.width);
                let target = row * size.width + column;
                prop_assert_eq!(
                    &moved.pixels()[target * CHANNELS..][..CHANNELS],
                    &image.pixels()[source * CHANNELS..][..CHANNELS]
                );
            }
        }
    }

    #[test]
    fn a_mask_moves_with_its_picture(
        size in size(),
        movement in prop::collection::vec(any_change().prop_filter("moves", Change::is_geometric), 1..4),
        seed: u64,
    ) {
        let mut random = SplitMix64::new(seed);
        let marked: Vec<bool> = (0..size.area()).map(|_| random.unit() < 0.5).collect();
        let drawn = marked.iter().flat_map(|&is| [if is { 255 } else { 0 }; CHANNELS]);
        let drawn = RgbImage::new(size, drawn.collect()).unwrap();
        let drawn = apply_all(&movement, &drawn, 0);
        let moved = move_mask(&movement, marked, size);
        // Halfway between two pixels, both are right; a quarter of the way in both directions, the
        // nearest pixel weighs 9/16.
        for (&is, pixel) in moved.iter().zip(drawn.pixels().chunks_exact(CHANNELS)) {
            let is_near = if is { pixel[0] >= 63 } else { pixel[0] <= 192 };
            prop_assert!(is_near, "{} at {:?}", is, pixel);
        }
    }

    #[test]
    fn a_line_s_changes_read_back_what_they_print(
        (light, noise, blur) in (thousandths(50), thousandths(20), thousandths(10)),
        (jpeg, shift) in (prop::option::of(5_u8..=100), thousandths(64)),
        (zoom, turn) in (thousandths(20), thousandths(45)),
    ) {
        let share = |per_cent: Option<f64>| per_cent.map(|per_cent| per_cent / 100.0);
        let variation = Variation {
            light: share(light),
            noise: share(noise),
            blur,
            jpeg,
            shift,
            zoom: share(zoom),
            turn,
        };
        let text = variation.to_string();
        if text.is_empty() {
            prop_assert_eq!(text.parse::<Variation>(), Err(ChangeError::Empty));
        } else {
            prop_assert_eq!(text.parse(), Ok(variation));
        }
    }

    #[test]
    fn a_sample_lies_within_the_ends_and_in_order(seed: u64) {
        let text = "light=10%,noise=2%,blur=0.7,jpeg=60,shift=2,zoom=2%,turn=3";
        let variation: Variation = text.parse().unwrap();
        let changes = variation.sample(&mut SplitMix64::new(seed));
        let [
            Change::Turn(turn),
            Change::Zoom(zoom),
            Change::Shift { x, y },
            Change::Light(light),
            Change::Blur(blur),
            Change::Noise(noise),
            Change::Jpeg(jpeg),
        ] = changes[..] else {
            panic!("{changes:?}");
        };
        prop_assert!(turn.abs() <= 3.0 && (zoom - 1.0).abs() <= 0.02, "{:?}", changes);
        prop_assert!(x.abs() <= 2.0 && y.abs() <= 2.0 && (light - 1.0).abs() <= 0.1);
        prop_assert!((0.0..=0.7).contains(&blur) && (0.0..=0.02).contains(&noise));
        prop_assert!((60..=95).contains(&jpeg));
    }
}

#[test]
fn noise_has_the_stated_deviation_and_is_grey_in_a_grey_picture() {
    let size = Size::new(200, 300);
    let deviation = |image: &RgbImage| {
        let noisy = Change::Noise(0.05).apply(image, 3);
        let differences: Vec<f64> = noisy
            .pixels()
            .iter()
            .map(|&value| f64::from(value) - 128.0)
            .collect();
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        let square = |value: &f64| (value - mean).powi(2);
        let variance = differences.iter().map(square).sum::<f64>() / differences.len() as f64;
        (noisy, mean, variance.sqrt())
    };
    let grey = RgbImage::new(size, vec![128; size.area() * CHANNELS]).unwrap();
    let (noisy, mean, measured) = deviation(&grey);
    // 60000 draws: five standard errors of the mean and of the deviation are .26 and .18; rounding
    // adds 1/12 to a variance of 162.6.
    assert!(mean.abs() < 0.26, "{mean}");
    assert!((measured - 12.75).abs() < 0.2, "{measured}");
    assert!(
        noisy
            .pixels()
            .chunks_exact(CHANNELS)
            .all(|it| it[0] == it[1] && it[1] == it[2])
    );

    let mut pixels = vec![128; size.area() * CHANNELS];
    pixels[0] = 129;
    let (noisy, _, measured) = deviation(&RgbImage::new(size, pixels).unwrap());
    assert!((measured - 12.75).abs() < 0.2, "{measured}");
    assert!(
        noisy
            .pixels()
            .chunks_exact(CHANNELS)
            .any(|it| it[0] != it[1])
    );
    assert_ne!(
        Change::Noise(0.05).apply(&grey, 4),
        Change::Noise(0.05).apply(&grey, 3)
    );
}

#[test]
fn two_noises_in_a_row_are_not_the_same_noise() {
    let size = Size::new(100, 100);
    let grey = RgbImage::new(size, vec![128; size.area() * CHANNELS]).unwrap();
    let twice = apply_all(&[Change::Noise(0.05); 2], &grey, 1);
    let square = |&value: &u8| (f64::from(value) - 128.0).powi(2);
    let variance = twice.pixels().iter().map(square).sum::<f64>() / twice.pixels().len() as f64;
    // Independent, the variances add up to 325; the same noise twice has 650.
    assert!((300.0..350.0).contains(&variance), "{variance}");
}

#[test]
fn light_ends_at_white_and_rounds() {
    let image = RgbImage::new(Size::new(1, 1), vec![250, 10, 101]).unwrap();
    assert_eq!(
        Change::Light(1.05).apply(&image, 0).pixels(),
        [255, 11, 106]
    );
    assert_eq!(Change::Light(0.95).apply(&image, 0).pixels(), [238, 10, 96]);
}

#[test]
fn a_turn_is_clockwise_and_one_there_and_back_is_near() {
    let size = Size::new(41, 41);
    // One white pixel to the right of the centre.
    let mut pixels = vec![0; size.area() * CHANNELS];
    let right = (20 * 41 + 30) * CHANNELS;
    pixels[right..right + CHANNELS].fill(255);
    let image = RgbImage::new(size, pixels).unwrap();
    let turned = Change::Turn(90.0).apply(&image, 0);
    let below = (30 * 41 + 20) * CHANNELS;
    assert_eq!(turned.pixels()[below], 255);

    let image = smooth(Size::new(80, 100), false);
    for degrees in [3.0, 10.0] {
        let there = Change::Turn(degrees).apply(&image, 0);
        let back = Change::Turn(-degrees).apply(&there, 0);
        assert!(difference(&image, &back, 20) < 1.0, "{degrees}");
        assert!(difference(&image, &there, 20) > 2.0, "{degrees}");
        // In a row, they are one movement, which is none.
        let both = [Change::Turn(degrees), Change::Turn(-degrees)];
        assert!(difference(&image, &apply_all(&both, &image, 0), 0) < 0.01);
    }
}

#[test]
fn movements_in_a_row_are_applied_in_their_order() {
    let image = smooth(Size::new(60, 80), true);
    let row = [
        Change::Shift { x: 6.0, y: -3.0 },
        Change::Turn(5.0),
        Change::Zoom(0.98),
    ];
    let one_by_one = row
        .iter()
        .fold(image.clone(), |image, change| change.apply(&image, 0));
    let at_once = apply_all(&row, &image, 0);
    assert!(difference(&one_by_one, &at_once, 15) < 1.0);
    let reversed: Vec<Change> = row.into_iter().rev().collect();
    assert!(difference(&one_by_one, &apply_all(&reversed, &image, 0), 15) > 1.0);
}

#[test]
fn a_smaller_picture_repeats_its_edge_and_a_blur_keeps_the_mean() {
    let image = smooth(Size::new(50, 50), true);
    let smaller = Change::Zoom(0.5).apply(&image, 0);
    assert_eq!(smaller.pixels()[..CHANNELS], image.pixels()[..CHANNELS]);
    let mean = |image: &RgbImage| {
        let sum: f64 = image.pixels().iter().map(|&value| f64::from(value)).sum();
        sum / image.pixels().len() as f64
    };
    let noisy = Change::Noise(0.1).apply(&image, 1);
    let blurred = Change::Blur(1.5).apply(&noisy, 0);
    assert!((mean(&noisy) - mean(&blurred)).abs() < 0.5);
    assert!(difference(&image, &blurred, 5) < difference(&image, &noisy, 5) / 3.0);
}

#[test]
fn a_blurred_point_is_a_gaussian() {
    let size = Size::new(21, 21);
    let mut pixels = vec![0; size.area() * CHANNELS];
    let at = |row: usize, column: usize| (row * 21 + column) * CHANNELS;
    pixels[at(10, 10)..at(10, 11)].fill(255);
    let blurred = Change::Blur(1.0).apply(&RgbImage::new(size, pixels).unwrap(), 0);
    let peak = 255.0 / std::f64::consts::TAU;
    for (row, column, share) in [
        (10, 10, 1.0),
        (10, 11, 0.6065),
        (11, 11, 0.3679),
        (8, 10, 0.1353),
    ] {
        let value = f64::from(blurred.pixels()[at(row, column)]);
        assert!(
            (value - share * peak).abs() < 1.0,
            "{row} {column}: {value}"
        );
    }
}

#[test]
fn a_jpeg_differs_more_at_a_lower_quality() {
    let noisy = Change::Noise(0.1).apply(&smooth(Size::new(64, 48), false), 1);
    let lost =
        [95, 70, 40].map(|quality| difference(&noisy, &Change::Jpeg(quality).apply(&noisy, 0), 0));
    assert!(lost.is_sorted() && lost[0] > 0.0, "{lost:?}");
}

#[test]
fn the_ends_are_one_at_a_time() {
    let ends = |text: &str| text.parse::<Variation>().unwrap().ends();
    assert_eq!(ends("light=50%"), [Change::Light(0.5), Change::Light(1.5)]);
    assert_eq!(ends("turn=3"), [Change::Turn(-3.0), Change::Turn(3.0)]);
    assert_eq!(ends("noise=2%,blur=0.7,jpeg=60").len(), 3);
    assert_eq!(ends("shift=2").len(), 4);
    assert_eq!(ends("zoom=20%").len(), 2);
}

#[test]
fn changes_read_back_what_they_print_and_are_put_in_order() {
    for (text, canonical) in [
        ("light=-5%", "light=-5%"),
        (" noise = 2% , light=+7%", "light=7%,noise=2%"),
        (
            "jpeg=60,shift=-2,zoom=-2%,turn=-3,blur=0.7",
            "turn=-3,zoom=-2%,shift=-2,blur=0.7,jpeg=60",
        ),
        ("shift=2:-1.5", "shift=2:-1.5"),
        ("shift=0:1", "shift=0:1"),
    ] {
        let list: ChangeList = text.parse().unwrap();
        assert_eq!(list.to_string(), canonical);
        assert_eq!(canonical.parse::<ChangeList>(), Ok(list));
    }
    let list: ChangeList = "zoom=-2%".parse().unwrap();
    assert_eq!(list.changes(), [Change::Zoom(0.98)]);
}

#[test]
fn what_is_not_a_change_is_refused_with_its_remedy() {
    for (text, words) in [
        ("", "light=10%"),
        ("light=10%,", "KIND=VALUE"),
        ("noise", "noise=2%"),
        ("nois=2%", "did you mean `noise`?"),
        ("colour=2%", "light"),
        ("turn=1,turn=2", "`turn` is given twice"),
        ("light=10", "light=10%"),
        ("light=x%", "`x%`"),
        ("noise=nan%", "standard deviation"),
        ("jpeg=60.5", "whole number"),
        ("light=51%", "from 0% to 50%"),
        ("noise=-1%", "from 0% to 20%"),
        ("blur=11", "from 0 to 10"),
        ("jpeg=4", "from 5 to 100"),
        ("shift=inf", "from 0 to 64"),
        ("zoom=21%", "20%"),
        ("turn=46", "45"),
        ("turn=-3", "from 0 to 45"),
    ] {
        let error = text.parse::<Variation>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    for (text, words) in [
        ("light=-51%", "from -50% to 50%"),
        ("noise=-1%", "from 0% to 20%"),
        ("blur=-1", "from 0 to 10"),
        ("shift=1:65", "from -64 to 64"),
        ("shift=1:2:3", "shift=2"),
    ] {
        let error = text.parse::<ChangeList>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
