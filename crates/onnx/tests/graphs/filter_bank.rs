//! The filter bank as ONNX Runtime sees it: what its channels answer to.

use crate::common::runtime;
use flawd_core::image::Size;
use flawd_onnx::{
    Backbone, FeatureExtractor, FeatureSpec, SessionOptions, feature_graph, filter_bank,
};
use ndarray::{Array3, s};
use std::path::Path;

const SIZE: Size = Size::new(128, 192);

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
    };
    let graph = feature_graph(&backbone, &spec).expect("a feature graph");
    let mut extractor =
        FeatureExtractor::load(&runtime(), &graph, &SessionOptions::default()).expect("a session");
    let bytes: Vec<u8> = (0..SIZE.area())
        .flat_map(|place| picture(place / SIZE.width, place % SIZE.width))
        .collect();
    extractor.run(&bytes).expect("features")
}

/// Of a map, the cells that the zeros beyond the picture's edge do not reach.
fn inner(map: &Array3<f32>) -> Array3<f32> {
    map.slice(s![.., 3..5, 3..9]).to_owned()
}

#[test]
fn the_filter_bank_has_the_shapes_it_states() {
    let backbone = backbone();
    assert_eq!(backbone.outputs(), ["features_s16", "features_s32"]);
    let mut spec = FeatureSpec {
        size: Size::new(256, 384),
        outputs: vec!["features_s16".to_owned()],
        normalisation: backbone.normalisation().expect("the metadata says it"),
    };
    let shape = spec.shape(&backbone).expect("a shape");
    assert_eq!((shape.channels, shape.stride), (filter_bank::CHANNELS, 16));
    assert_eq!(shape.maps[0], Size::new(16, 24));
    spec.outputs = vec!["features_s32".to_owned()];
    assert_eq!(
        spec.shape(&backbone).expect("a shape").maps[2],
        Size::new(2, 3)
    );
}

#[test]
fn a_flat_picture_has_a_colour_and_no_texture() {
    let [map, _, _] = features(|_, _| [200, 100, 50]);
    let inner = inner(&map);
    let textures = inner.slice(s![..64, .., ..]);
    assert!(
        textures.iter().all(|energy| energy.abs() < 1e-3),
        "{textures:?}"
    );
    // Red over green and yellow over blue: both positive, and no deviation.
    assert!(
        inner
            .slice(s![65..67, .., ..])
            .iter()
            .all(|&colour| colour > 0.3)
    );
    assert!(
        inner
            .slice(s![67..70, .., ..])
            .iter()
            .all(|&deviation| deviation < 1e-2)
    );
}

#[test]
fn a_grating_answers_in_the_channel_of_its_orientation_wherever_it_lies() {
    // Stripes of two pixels each: the wavelets' own period, running along x, then along y.
    let upright = |shift: usize| {
        features(move |_, column| [if (column + shift) % 4 < 2 { 220 } else { 40 }; 3])
    };
    let lying = features(|row, _| [if row % 4 < 2 { 220 } else { 40 }; 3]);
    let strongest = |map: &Array3<f32>| {
        let inner = inner(map);
        let energy = |channel: usize| inner.slice(s![channel, .., ..]).sum();
        (0..4)
            .max_by(|&a, &b| energy(a).total_cmp(&energy(b)))
            .expect("four orientations")
    };
    let [map, _, _] = upright(0);
    assert_eq!(strongest(&map), 0);
    assert_eq!(strongest(&lying[0]), 2);
    let [shifted, _, _] = upright(1);
    let (first, second) = (inner(&map), inner(&shifted));
    for (a, b) in first
        .slice(s![0, .., ..])
        .iter()
        .zip(second.slice(s![0, .., ..]))
    {
        assert!((a - b).abs() < 0.02 * a.abs(), "{a} {b}");
    }
}
