//! Changes of a synthetic part's pictures, from the pixels to the alarm.

use std::f64::consts::TAU;

use super::*;
use crate::drift::ConditionWatch;
use crate::image::CHANNELS;
use crate::preprocess::Preprocessor;
use crate::quality;
use crate::random::SplitMix64;

const SIZE: Size = Size {
    height: 200,
    width: 240,
};

/// How a picture was taken.
#[derive(Clone, Copy, Debug)]
struct Setting {
    gain: f64,
    noise: f64,
    /// Width of an edge in pixels.
    edge: f64,
    right: f64,
    zoom: f64,
    turn: f64,
    blocks: bool,
}

const USUAL: Setting = Setting {
    gain: 1.0,
    noise: 1.5,
    edge: 0.7,
    right: 0.0,
    zoom: 1.0,
    turn: 0.0,
    blocks: false,
};

fn normal(generator: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - generator.unit()).ln()).sqrt();
    radius * (TAU * generator.unit()).cos()
}

/// A grey plate with a stripe and a texture on a dark belt; light and place vary a little.
fn picture(generator: &mut SplitMix64, setting: Setting) -> RgbImage {
    let light = setting.gain * (1.0 + 0.005 * normal(generator));
    let [x0, y0] = [0, 1].map(|_| 0.3 * normal(generator));
    let turn = (setting.turn + 0.1 * normal(generator)).to_radians();
    let phase = TAU * generator.unit();
    let soft = |distance: f64| 0.5 * (1.0 + (distance / setting.edge).tanh());
    let mut pixels = Vec::new();
    for place in 0..SIZE.area() {
        let (row, column) = (place / SIZE.width, place % SIZE.width);
        let x = (column as f64 - 119.5 - x0 - setting.right) / setting.zoom;
        let y = (row as f64 - 99.5 - y0) / setting.zoom;
        let (x, y) = (
            x * turn.cos() + y * turn.sin(),
            y * turn.cos() - x * turn.sin(),
        );
        let plate = soft(70.0 - x.abs()) * soft(50.0 - y.abs());
        let stripe = soft(6.0 - (x - 20.0).abs());
        let texture = 6.0 * (0.9 * x + phase).sin() * (0.7 * y).sin();
        let mut luma = 40.0 + plate * (110.0 - 50.0 * stripe + texture);
        if setting.blocks {
            let is_even = (row / 8 + column / 8).is_multiple_of(2);
            luma += if is_even { 2.0 } else { -2.0 };
        }
        let value = luma * light + setting.noise * normal(generator);
        pixels.extend([value.round().clamp(0.0, 255.0) as u8; CHANNELS]);
    }
    RgbImage::new(SIZE, pixels).expect("the pixels fit")
}

fn measure(picture: &RgbImage) -> Option<Condition> {
    let size = Size::new(96, 96);
    let mut tensor = vec![0; size.area() * CHANNELS];
    let geometry = Geometry::default();
    let mut preprocessor = Preprocessor::new(size, geometry);
    preprocessor.run(picture, &mut tensor).expect("it fits");
    let measured = quality::measure(picture, &geometry, &tensor, size);
    measured.expect("it fits").condition
}

fn pictures(generator: &mut SplitMix64, count: usize, setting: Setting) -> Vec<Condition> {
    (0..count)
        .map(|_| measure(&picture(generator, setting)).expect("it is large enough"))
        .collect()
}

fn summary(good: &[Condition]) -> UsualPictures {
    let good: Vec<&Condition> = good.iter().collect();
    UsualPictures::from_good(&good).expect("there are some")
}

/// Returns the causes after 30 pictures of a line that was stable for 20.
fn causes(usual: &UsualPictures, generator: &mut SplitMix64, setting: Setting) -> Vec<String> {
    let mut watch = ConditionWatch::new(usual, 0.01, 7).expect("a rate");
    for measured in pictures(generator, 20, USUAL) {
        assert!(!watch.observe(&measured), "{:?}", watch.findings());
    }
    for measured in pictures(generator, 30, setting) {
        watch.observe(&measured);
    }
    watch.findings().iter().map(ToString::to_string).collect()
}

#[test]
fn each_change_is_named_within_30_parts_with_its_number() {
    let mut generator = SplitMix64::new(3);
    let usual = summary(&pictures(&mut generator, 42, USUAL));
    assert_eq!(causes(&usual, &mut generator, USUAL), [""; 0]);
    let changes: [(Setting, &[Cause]); 9] = [
        (
            Setting {
                gain: 0.95,
                ..USUAL
            },
            &[Cause::Light],
        ),
        (
            Setting {
                gain: 1.05,
                ..USUAL
            },
            &[Cause::Light],
        ),
        (
            Setting {
                noise: 5.0,
                ..USUAL
            },
            &[Cause::Noise],
        ),
        (Setting { edge: 1.6, ..USUAL }, &[Cause::Focus]),
        (
            Setting {
                blocks: true,
                ..USUAL
            },
            &[Cause::Compression],
        ),
        (
            Setting {
                right: 2.0,
                ..USUAL
            },
            &[Cause::Position],
        ),
        (
            Setting {
                zoom: 0.98,
                ..USUAL
            },
            &[Cause::Zoom, Cause::Light],
        ),
        (Setting { turn: 1.0, ..USUAL }, &[Cause::Turn]),
        (
            Setting {
                turn: -3.0,
                ..USUAL
            },
            &[Cause::Turn],
        ),
    ];
    for (setting, expected) in changes {
        let found = causes(&usual, &mut generator, setting);
        let is_expected = |text: &String| {
            let mut names = expected.iter().map(|cause| cause.as_str());
            names.any(|name| text.starts_with(name))
        };
        let first = expected[0].as_str();
        assert!(
            found.iter().any(|text| text.starts_with(first)),
            "{setting:?} {found:?}"
        );
        assert!(found.iter().all(is_expected), "{setting:?} {found:?}");
    }
}

#[test]
fn a_change_that_the_promise_covers_is_no_news_and_a_greater_one_is() {
    let mut generator = SplitMix64::new(4);
    let mut usual = summary(&pictures(&mut generator, 42, USUAL));
    let noisy = |noise| Setting { noise, ..USUAL };
    let told = pictures(&mut generator, 20, noisy(5.0));
    usual.cover(&told.iter().collect::<Vec<_>>());
    assert!(usual.is_possible());
    for noise in [3.0, 5.0] {
        assert_eq!(causes(&usual, &mut generator, noisy(noise)), [""; 0]);
    }
    let found = causes(&usual, &mut generator, noisy(7.0));
    assert!(
        found.iter().any(|text| text.starts_with("noise")),
        "{found:?}"
    );
    let brighter = Setting {
        gain: 1.05,
        ..USUAL
    };
    let found = causes(&usual, &mut generator, brighter);
    assert!(
        found.iter().any(|text| text.starts_with("light")),
        "{found:?}"
    );
    usual.covered.insert(Quantity::Noise, [2.0, 1.0]);
    assert!(!usual.is_possible());
}

#[test]
fn a_motion_is_found_in_its_units() {
    let mut generator = SplitMix64::new(5);
    let usual = summary(&pictures(&mut generator, 20, USUAL));
    let gauge = usual.gauge();
    let mut mean = |setting, quantity| {
        let measured = pictures(&mut generator, 12, setting);
        let values = measured.iter().map(|it| {
            let values = gauge.values(it);
            values
                .iter()
                .find(|(it, _)| *it == quantity)
                .expect("it is there")
                .1
        });
        values.sum::<f32>() / 12.0
    };
    let near = |value: f32, expected: f32, within: f32| {
        assert!((value - expected).abs() < within, "{value} {expected}");
    };
    near(
        mean(
            Setting {
                right: 2.4,
                ..USUAL
            },
            Quantity::Right,
        ),
        1.0,
        0.2,
    );
    near(
        mean(
            Setting {
                zoom: 0.98,
                ..USUAL
            },
            Quantity::Zoom,
        ),
        -2.0,
        0.4,
    );
    near(
        mean(Setting { turn: 1.0, ..USUAL }, Quantity::Turn),
        1.0,
        0.2,
    );
    near(
        mean(
            Setting {
                turn: -3.0,
                ..USUAL
            },
            Quantity::Turn,
        ),
        -3.0,
        0.6,
    );
    near(mean(USUAL, Quantity::Noise), 1.5, 0.2);
    near(
        mean(
            Setting {
                noise: 6.0,
                ..USUAL
            },
            Quantity::Noise,
        ),
        6.0,
        0.6,
    );
    near(mean(USUAL, Quantity::Compression), 1.0, 0.1);
}

#[test]
fn a_summary_reads_back_and_keeps_at_most_200_values() {
    let mut generator = SplitMix64::new(9);
    let few = pictures(&mut generator, 3, USUAL);
    let usual = summary(&few);
    let text = toml::to_string(&usual).expect("it can be written");
    assert_eq!(
        toml::from_str::<UsualPictures>(&text).expect("it reads back"),
        usual
    );
    assert!(usual.is_possible());
    let many: Vec<Condition> = few.iter().cycle().take(500).cloned().collect();
    let usual = summary(&many);
    assert!(usual.values.len() == 9 && usual.values.values().all(|it| it.len() == MOST));
    assert_eq!(UsualPictures::from_good(&[]), None);
    let one = UsualPictures::from_good(&[&few[0]]);
    assert_eq!(one, None, "nothing is left to compare it with");
    for damaged in ["view = \"00", "aspect = \"x"] {
        let text = text.replace(damaged.split_at(6).0, damaged);
        assert!(toml::from_str::<UsualPictures>(&text).is_err());
    }
    let mut descending = usual.clone();
    descending.values.insert(Quantity::Noise, vec![2.0, 1.0]);
    assert!(!descending.is_possible());
}

#[test]
fn a_picture_that_is_too_small_has_no_condition() {
    let size = Size::new(40, 15);
    let picture = RgbImage::new(size, vec![80; size.area() * CHANNELS]).expect("it fits");
    assert_eq!(measure(&picture), None);
}

/// Each part is different, so that the mean view shows nothing that all have in common.
#[test]
fn parts_that_are_all_different_raise_no_alarm() {
    let mut generator = SplitMix64::new(11);
    let mut alarms = 0;
    for seed in 0..20 {
        let mut part = || {
            let mut cells = [0; 12 * 12].map(|_: u8| 60 + (120.0 * generator.unit()) as u8);
            cells[0] = 0;
            let size = Size::new(96, 96);
            let place = |at: usize| (at / 96 / 8) * 12 + at % 96 / 8;
            let pixels = (0..size.area()).flat_map(|at| [cells[place(at)]; CHANNELS]);
            let picture = RgbImage::new(size, pixels.collect()).expect("the pixels fit");
            measure(&picture).expect("it is large enough")
        };
        let good: Vec<Condition> = (0..60).map(|_| part()).collect();
        let mut watch = ConditionWatch::new(&summary(&good), 0.01, seed).expect("a rate");
        (0..200).for_each(|_| {
            watch.observe(&part());
        });
        alarms += usize::from(!watch.findings().is_empty());
    }
    // At 1 % more than 2 of 20 have a probability of 0.001.
    assert!(alarms <= 2, "{alarms}");
}
