//! The filter bank as run by ONNX Runtime: what its channels respond to.

use std::path::Path;

use flawd_core::image::Size;
use flawd_onnx::{
    Backbone, FeatureExtractor, FeatureSpec, SessionOptions, feature_graph, filter_bank,
};
use ndarray::{Array3, s};

use crate::common::runtime;

const SIZE: Size = Size::new(192, 256);

/// Where the means of the finest level lie, and those of its second order.
const FIRST: std::ops::Range<usize> = 0..4;
const SECOND: std::ops::Range<usize> = 4..20;

/// All wavelet responses among the means, and the three colours' means and variances after them.
const TEXTURES: std::ops::Range<usize> = 0..112;
const COLOURS: std::ops::Range<usize> = 112..115;
const VARIANCES: std::ops::Range<usize> = 115..118;

/// Where the maxima begin; they are in the order of the means.
const MAXIMA: usize = 118;

fn backbone() -> Backbone {
    Backbone::from_bytes(Path::new("filter-bank.onnx"), &filter_bank::filter_bank())
        .expect("the filter bank is a backbone")
}

/// The features of a picture, given as the brightness at every row and column, per colour.
fn features(picture: impl Fn(usize, usize) -> [u8; 3]) -> [Array3<f32>; 3] {
    let backbone = backbone();
    let spec = FeatureSpec {
        size: SIZE,
        outputs: vec!["features_s16".to_owned()],
        normalisation: backbone.normalisation().expect("the metadata says it"),
        light: None,
    };
    let graph = feature_graph(&backbone, &spec).expect("a feature graph");
    let mut extractor = FeatureExtractor::load(runtime().with(&SessionOptions::default()), &graph)
        .expect("a session");
    let bytes: Vec<u8> = (0..SIZE.area())
        .flat_map(|place| picture(place / SIZE.width, place % SIZE.width))
        .collect();
    extractor.run(&bytes).expect("features")
}

/// Of a map of the full size, the cells that the zeros beyond the picture's edge do not reach.
fn inner(map: &Array3<f32>) -> Array3<f32> {
    map.slice(s![.., 5..7, 5..11]).to_owned()
}

/// Mean over some channels of the inner cells.
fn mean(map: &Array3<f32>, channels: std::ops::Range<usize>) -> f32 {
    let inner = inner(map);
    let chosen = inner.slice(s![channels, .., ..]);
    chosen.sum() / chosen.len() as f32
}

/// Grey noise that is the same every time, from 0 to 1.
fn grain(row: usize, column: usize) -> f32 {
    let word = (row * SIZE.width + column + 1) as u64;
    let mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f32 / (1 << 24) as f32
}

#[test]
fn the_filter_bank_has_the_shapes_it_states() {
    let backbone = backbone();
    assert_eq!(backbone.outputs(), ["features_s16", "features_s32"]);
    let mut spec = FeatureSpec {
        size: Size::new(256, 384),
        outputs: vec!["features_s16".to_owned()],
        normalisation: backbone.normalisation().expect("the metadata says it"),
        light: None,
    };
    let shape = spec.shape(&backbone).expect("a shape");
    assert_eq!((shape.channels, shape.stride), (filter_bank::CHANNELS, 16));
    assert_eq!(shape.maps[0], Size::new(16, 24));
    spec.outputs = vec![filter_bank::DEFAULT_OUTPUT.to_owned()];
    let shape = spec.shape(&backbone).expect("a shape");
    assert_eq!((shape.channels, shape.stride), (filter_bank::CHANNELS, 32));
    assert_eq!(shape.maps[2], Size::new(2, 3));
}

#[test]
fn a_flat_picture_has_a_colour_and_no_texture() {
    let [map, _, _] = features(|_, _| [200, 100, 50]);
    let inner = inner(&map);
    // Nothing but the floors: ln(0.02^2) in the first order and ln(0.1^2) in the second.
    for order in [
        inner.slice(s![TEXTURES, .., ..]),
        inner.slice(s![MAXIMA.., .., ..]),
    ] {
        for (place, channel) in order.outer_iter().enumerate() {
            let floor = channel[[0, 0]];
            let expected = [-7.824, -4.605].iter().any(|&x| (floor - x).abs() < 0.02);
            assert!(expected, "channel {place}: {floor}");
            assert!(channel.iter().all(|x| (x - floor).abs() < 0.02), "{place}");
        }
    }
    // Red over green and yellow over blue: both positive, and no deviation.
    let colours = inner.slice(s![COLOURS, .., ..]);
    assert!(colours.slice(s![1.., .., ..]).iter().all(|&x| x > 0.3));
    let variances = inner.slice(s![VARIANCES, .., ..]);
    assert!(variances.iter().all(|&x| x < -7.0), "{variances:?}");
}

#[test]
fn a_grating_answers_in_the_channel_of_its_orientation_wherever_it_lies() {
    // Stripes of two pixels each: the wavelets' own period, running along x, then along y.
    let upright = |shift: usize| {
        features(move |_, column| [if (column + shift) % 4 < 2 { 220 } else { 40 }; 3])
    };
    let lying = features(|row, _| [if row % 4 < 2 { 220 } else { 40 }; 3]);
    let strongest = |map: &Array3<f32>| {
        FIRST
            .max_by(|&a, &b| mean(map, a..a + 1).total_cmp(&mean(map, b..b + 1)))
            .expect("four orientations")
    };
    let [map, _, _] = upright(0);
    assert_eq!(strongest(&map), 0);
    assert_eq!(strongest(&lying[0]), 2);
    let [shifted, _, _] = upright(1);
    let apart = mean(&map, 0..1) - mean(&shifted, 0..1);
    assert!(apart.abs() < 0.04, "{apart}");
}

#[test]
fn exposure_moves_the_first_order_by_a_constant_and_the_second_not_at_all() {
    let exposed = |light: f32| {
        let [map, _, _] =
            features(move |row, column| [(light * (20.0 + 235.0 * grain(row, column))) as u8; 3]);
        map
    };
    let (bright, dark) = (exposed(1.0), exposed(0.5));
    let first = mean(&bright, FIRST) - mean(&dark, FIRST);
    assert!((first - 4f32.ln()).abs() < 0.03, "{first}");
    let second = mean(&bright, SECOND) - mean(&dark, SECOND);
    assert!(second.abs() < 0.03, "{second}");
}

#[test]
fn what_is_small_shows_in_the_maxima() {
    let picture = |scratch: bool| {
        let [map, _, _] = features(move |row, column| {
            let on_scratch = scratch && column == 128 && (88..92).contains(&row);
            let tone = if on_scratch {
                40.0
            } else {
                150.0 + 20.0 * grain(row, column)
            };
            [tone as u8; 3]
        });
        map
    };
    let (whole, scratched) = (picture(false), picture(true));
    let change = |channels: std::ops::Range<usize>| {
        let apart = &inner(&scratched) - &inner(&whole);
        let chosen = apart.slice(s![channels, .., ..]).to_owned();
        chosen.fold(0.0_f32, |largest, x| largest.max(x.abs()))
    };
    let (in_means, in_maxima) = (change(FIRST), change(MAXIMA..MAXIMA + 4));
    assert!(in_maxima > 4.0 * in_means, "{in_maxima} and {in_means}");
}
