//! Training runs on small made-up features: what they learn, what they keep, when they stop.

use std::path::Path;

use flawd_core::flow::FlowSpec;
use flawd_core::interrupted::Interrupted;
use flawd_core::permutation::PermutationKind;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_train::adam::AdamSettings;
use flawd_train::checkpoint::Checkpoint;
use flawd_train::features::{FeatureCache, FeatureSet, ImageFeatures};
use flawd_train::network::Latents;
use flawd_train::trainer::{EpochError, Schedule, Trainer, TrainingSettings};
use flawd_train::transform::{self, TransformKind};
use ndarray::{Array3, Axis};

const CHANNELS: usize = 4;

/// Features of an image whose channels are correlated, each with its own level and spread.
fn features(seed: usize) -> ImageFeatures {
    std::array::from_fn(|scale| {
        let size = 8 >> scale;
        Array3::from_shape_fn((CHANNELS, size, size), |(c, y, x)| {
            let at = |n: usize| ((n * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
            let common = at(y * size + x + scale * 64);
            let own = at((c + 1) * 977 + y * size + x);
            (c as f32 + 1.0) * (common + 0.3 * own) + 5.0 * c as f32
        })
    })
}

fn feature_set(folder: &Path, images: usize) -> FeatureSet {
    let cache = FeatureCache::open(folder).expect("a folder");
    let keys: Vec<String> = (0..images).map(|image| format!("image{image}")).collect();
    for (image, key) in keys.iter().enumerate() {
        cache.store(key, "", &features(image)).expect("stored");
    }
    FeatureSet::new(cache, keys).expect("readable")
}

fn spec() -> FlowSpec {
    FlowSpec {
        channels: CHANNELS,
        hidden: 8,
        kernels: vec![3, 3],
        clamp: 3.0,
        permutation: PermutationKind::NumpyLegacy,
        scales: 3,
        cross_scale: true,
    }
}

fn settings(epochs: usize) -> TrainingSettings {
    let adam = AdamSettings {
        learning_rate: 2e-3,
        epsilon: 1e-6,
        ..AdamSettings::default()
    };
    TrainingSettings {
        epochs,
        least_steps: 0,
        batch: 5,
        seed: 3,
        adam,
        schedule: Schedule::Cosine,
        feature_noise: 0.0,
    }
}

/// Trains until `trainer` is done.
fn finish(trainer: &mut Trainer) {
    while !trainer.is_finished() {
        trainer.epoch(|_| Ok(())).expect("trained");
    }
}

fn latents(trainer: &Trainer, set: &FeatureSet, transform: &FeatureTransform) -> Latents {
    let samples: Vec<usize> = (0..set.len()).collect();
    let batch = set.load(&samples).expect("readable");
    trainer.flow().forward(transform::apply(transform, batch)).0
}

#[test]
fn training_raises_the_likelihood() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 12);
    let transform = transform::fit(TransformKind::Standardise, &set).expect("fitted");
    let mut trainer = Trainer::new(spec(), settings(100), &set, &transform).expect("valid");
    let mean = |losses: Vec<f64>| losses.iter().sum::<f64>() / losses.len() as f64;
    let before = mean(latents(&trainer, &set, &transform).losses());
    finish(&mut trainer);
    let after = mean(latents(&trainer, &set, &transform).losses());
    assert!(
        (before - 0.5).abs() < 1e-3,
        "standardised features cost 1/2 each: {before}"
    );
    assert!(after < before - 0.2, "{before} to {after}");
    assert_eq!(trainer.epochs().len(), 100);
}

/// Epochs are added, and the learning rate falls over all of them.
#[test]
fn a_run_takes_its_least_steps() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 12);
    let transform = transform::fit(TransformKind::None, &set).expect("fitted");
    let finished = |settings: TrainingSettings| {
        let mut trainer = Trainer::new(spec(), settings, &set, &transform).expect("valid");
        finish(&mut trainer);
        assert_eq!(trainer.epochs().len(), trainer.planned_epochs());
        trainer.epochs().to_vec()
    };
    // 12 images in batches of 5 are 3 steps.
    let more = finished(TrainingSettings {
        least_steps: 10,
        ..settings(2)
    });
    let same = finished(settings(4));
    assert_eq!(more.len(), 4);
    for (more, same) in more.iter().zip(&same) {
        assert_eq!(
            (more.loss, more.learning_rate),
            (same.loss, same.learning_rate)
        );
    }
}

#[test]
fn standardised_features_have_mean_0_and_deviation_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 12);
    let transform = transform::fit(TransformKind::Standardise, &set).expect("fitted");
    let samples: Vec<usize> = (0..set.len()).collect();
    for maps in transform::apply(&transform, set.load(&samples).expect("readable")) {
        for channel in maps.axis_iter(Axis(0)) {
            assert!(channel.mean().expect("values").abs() < 1e-4);
            assert!((channel.std(0.0) - 1.0).abs() < 1e-4);
        }
    }
}

#[test]
fn an_interrupted_run_ends_as_an_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 12);
    let transform = transform::fit(TransformKind::Standardise, &set).expect("fitted");
    let new = || Trainer::new(spec(), settings(4), &set, &transform).expect("valid");
    let mut whole = new();
    finish(&mut whole);

    let path = folder.path().join("checkpoint");
    let mut first = new();
    for _ in 0..2 {
        first.epoch(|_| Ok(())).expect("trained");
    }
    first.checkpoint("run").save(&path).expect("saved");
    let stopped = first.epoch(|_| Err(Interrupted)).expect_err("stopped");
    assert!(matches!(stopped, EpochError::Interrupted(_)));
    assert_eq!(first.epochs().len(), 2);

    let mut second = new();
    second.resume(
        Checkpoint::load(&path, "run")
            .expect("whole")
            .expect("there"),
    );
    finish(&mut second);
    assert_eq!(second.flow().parameters, whole.flow().parameters);
}

#[test]
fn the_same_seed_gives_the_same_parameters_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 12);
    let transform = transform::fit(TransformKind::Standardise, &set).expect("fitted");
    let trained = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| {
            let mut trainer = Trainer::new(spec(), settings(2), &set, &transform).expect("valid");
            finish(&mut trainer);
            trainer.into_flow().parameters
        })
    };
    assert_eq!(trained(1), trained(2));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = feature_set(folder.path(), 6);
    let huge = ChannelTransform::Affine {
        mean: vec![0.0; 4],
        scale: vec![f32::MAX; 4],
    };
    let transform = FeatureTransform {
        scales: vec![huge; 3],
    };
    let mut trainer = Trainer::new(spec(), settings(2), &set, &transform).expect("valid");
    let error = trainer.epoch(|_| Ok(())).expect_err("not finite");
    assert!(
        error.to_string().contains("not finite in epoch 1, step 1"),
        "{error}"
    );
    assert!(trainer.epochs().is_empty());
}
