//! The baselines, and variants of the flow, on small made-up features.

use std::path::Path;

use flawd_core::interrupted::Interrupted;
use flawd_train::baseline::{BaselineError, gaussian, neighbour, padim};
use flawd_train::features::{FeatureCache, FeatureSet, ImageFeatures};
use flawd_train::settings::FlowSettings;
use flawd_train::trainer::{EpochError, TrainingSettings};
use flawd_train::variant::Variant;
use flawd_train::view::{FeatureForm, FeatureView};
use ndarray::Array3;

const CHANNELS: usize = 3;

/// A place of the finest map, which is 4x4.
const PLACE: (usize, usize) = (2, 1);

/// Features of an image, different for each seed.
fn features(seed: usize) -> ImageFeatures {
    std::array::from_fn(|scale| {
        let size = 4 >> scale;
        Array3::from_shape_fn((CHANNELS, size, size), |(c, y, x)| {
            let n = seed * 7919 + scale * 977 + c * 131 + y * 17 + x;
            ((n * 104_729) % 1009) as f32 / 1009.0 + c as f32
        })
    })
}

fn set(folder: &Path, images: &[ImageFeatures], form: FeatureForm) -> FeatureSet {
    let cache = FeatureCache::open(folder).expect("a folder");
    let keys: Vec<String> = (0..images.len())
        .map(|image| format!("{form:?}{image}"))
        .collect();
    for (key, features) in keys.iter().zip(images) {
        cache.store(key, "", features).expect("stored");
    }
    FeatureSet::new(cache, keys)
        .expect("readable")
        .seen_as(FeatureView { scales: 0..3, form })
}

fn good(images: std::ops::Range<usize>) -> Vec<ImageFeatures> {
    images.map(features).collect()
}

/// An image that is unusual at [`PLACE`] of the finest map.
fn defect(seed: usize) -> ImageFeatures {
    let mut features = features(seed);
    for channel in 0..CHANNELS {
        features[0][[channel, PLACE.0, PLACE.1]] += 30.0;
    }
    features
}

#[test]
fn the_nearest_neighbour_of_a_training_image_is_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = set(folder.path(), &good(0..9), FeatureForm::Means);
    let scores = neighbour::scores(&train, &train).expect("scored");
    assert_eq!(scores, [0.0; 9]);
    let other = tempfile::tempdir().expect("a folder");
    let test = set(
        other.path(),
        &[features(50), defect(50)],
        FeatureForm::Means,
    );
    let scores = neighbour::scores(&train, &test).expect("scored");
    assert!(0.0 < scores[0] && scores[0] < scores[1], "{scores:?}");
}

#[test]
fn a_gaussian_is_further_from_a_defect_than_from_a_good_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = set(folder.path(), &good(0..30), FeatureForm::MeansAndMaxima);
    let other = tempfile::tempdir().expect("a folder");
    let test = [features(50), defect(50)];
    let test = set(other.path(), &test, FeatureForm::MeansAndMaxima);
    let scores = gaussian::scores(&train, &test).expect("scored");
    assert!(scores[1] > 2.0 * scores[0], "{scores:?}");
}

#[test]
fn one_image_makes_no_gaussian_and_no_padim_and_both_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let means = set(folder.path(), &good(0..1), FeatureForm::Means);
    let error = gaussian::scores(&means, &means).expect_err("refused");
    assert!(error.to_string().contains("1 training images"), "{error}");
    let maps = set(folder.path(), &good(0..1), FeatureForm::Concatenated);
    let error = padim::scores(&maps, &maps, 1).expect_err("refused");
    assert!(matches!(error, BaselineError::Degenerate { images: 1, .. }));
}

#[test]
fn a_padim_map_is_local_and_its_highest_place_is_the_score() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = set(folder.path(), &good(0..30), FeatureForm::Concatenated);
    let other = tempfile::tempdir().expect("a folder");
    let test = set(
        other.path(),
        &[features(50), defect(50)],
        FeatureForm::Concatenated,
    );
    let model = padim::Padim::fit(&train, 1).expect("fitted");
    let maps = model.maps(&test).expect("read");
    let [good, defect] = &maps[..] else {
        panic!("a map an image")
    };
    let place = PLACE.0 * 4 + PLACE.1;
    for (number, (good, defect)) in good.iter().zip(defect).enumerate() {
        if number == place {
            assert!(*defect > 5.0 * good, "{good} {defect}");
        } else {
            assert_eq!(good, defect, "place {number}");
        }
    }
    let scores = padim::scores(&train, &test, 1).expect("scored");
    assert_eq!(scores[1], defect[place]);
}

/// The head of DifferNet: a fully connected flow on pooled features.
fn head(epochs: usize, seed: u64) -> Variant {
    let edge = FlowSettings::edge(seed);
    Variant {
        view: FeatureView {
            scales: 0..3,
            form: FeatureForm::Means,
        },
        cross_scale: true,
        flow: FlowSettings {
            hidden: 8,
            kernels: vec![1; 8],
            training: TrainingSettings {
                batch: 5,
                feature_noise: 0.0,
                ..edge.training.with_epochs(epochs)
            },
            ..edge
        },
    }
}

#[test]
fn a_fully_connected_flow_scores_a_defect_higher_and_the_same_seed_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = set(folder.path(), &good(0..20), FeatureForm::Maps);
    let other = tempfile::tempdir().expect("a folder");
    let test = set(other.path(), &[features(50), defect(50)], FeatureForm::Maps);
    let trained = |seed| {
        let scored = head(10, seed).scores(&train, &test, |_| Ok(()));
        scored.expect("trained")
    };
    let first = trained(1);
    assert!(first.scores[1] > 2.0 * first.scores[0], "{first:?}");
    assert!(first.final_loss < 0.5, "{first:?}");
    assert_eq!(first, trained(1));
    assert_ne!(first.scores, trained(2).scores);
}

#[test]
fn a_variant_stops_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let train = set(folder.path(), &good(0..20), FeatureForm::Maps);
    let stopped = head(10, 1).scores(&train, &train, |step| match step.epoch {
        3 => Err(Interrupted),
        _ => Ok(()),
    });
    assert!(matches!(stopped, Err(EpochError::Interrupted(_))));
}
