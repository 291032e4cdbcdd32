//! `flawd train`: what it refuses before any time is spent.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd_onnx::filter_bank::filter_bank;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, bundle, copy_folder, data, flawd};

/// A place for a training run, with a backbone.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: TempDir::new().expect("a temporary folder"),
        };
        fs::write(place.path("filters.onnx"), filter_bank()).expect("it can be written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A short training on `images` into `bundle`, with these arguments besides.
    fn train(&self, images: &Path, more: &str) -> Finished {
        let mut arguments: Vec<OsString> = arguments![
            "train",
            images,
            "--backbone",
            self.path("filters.onnx"),
            "--out",
            self.path("bundle"),
            "--cache",
            self.path("cache"),
        ]
        .into();
        let short = "--epochs 1 --hidden 4 --kernels 3 --false-reject-rate 0.1";
        arguments.extend(short.split_whitespace().map(OsString::from));
        arguments.extend(more.split_whitespace().map(OsString::from));
        flawd(arguments)
    }
}

#[test]
fn an_output_that_the_backbone_lacks_is_named_with_those_that_it_has() {
    Place::new()
        .train(data(), "--feature features_s64 --size 128x128")
        .failed(78, &["features_s64", "features_s16", "features_s32"]);
    Place::new()
        .train(data(), "--size 128x128")
        .failed(78, &["features_s16", "features_s32", "--feature"]);
}

#[test]
fn a_size_that_the_scales_cannot_divide_is_refused_with_sizes_that_work() {
    Place::new()
        .train(data(), "--feature features_s32 --size 200x128")
        .failed(78, &["200x128", "128", "256x128"]);
}

#[test]
fn a_folder_without_images_is_refused() {
    let place = Place::new();
    place
        .train(place.folder.path(), "--feature features_s32 --size 128x128")
        .failed(64, &["there are no images"]);
}

#[test]
fn too_few_images_for_the_rate_are_refused_before_the_training() {
    let place = Place::new();
    let asked = "--feature features_s32 --size 128x128 --false-reject-rate 0.01";
    let refused = place.train(data(), asked).failed(78, &["at least 99"]);
    assert!(!refused.stderr.contains("epoch"), "{}", refused.stderr);
    assert!(!place.path("bundle").exists());
}

#[test]
fn a_place_that_is_taken_or_not_writable_is_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.path("bundle")).expect("it can be made");
    fs::write(place.path("bundle/photo.jpg"), b"dear").expect("it can be written");
    let wanted = "--feature features_s32 --size 128x128";
    place
        .train(data(), wanted)
        .failed(78, &["is no bundle", "not overwritten"]);
    assert_eq!(
        fs::read(place.path("bundle/photo.jpg")).expect("it is there"),
        b"dear"
    );

    let place = Place::new();
    fs::write(place.path("file"), b"").expect("it can be written");
    let below_a_file = place.path("file/bundle").display().to_string();
    place
        .train(data(), &format!("{wanted} --out {below_a_file}"))
        .failed(64, &["--out"]);
}

#[test]
fn an_image_that_is_damaged_is_named_and_left_out() {
    let place = Place::new();
    let images = place.path("images");
    copy_folder(&data().join("train/good"), &images);
    let cut = images.join("000.png");
    let whole = fs::read(&cut).expect("it is there");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("it can be written");
    place
        .train(
            &images,
            "--feature features_s32 --size 128x128 --hold-out 0.3",
        )
        .succeeded()
        .said(&["skipped", "000.png"]);
    let trained = Bundle::open(&place.path("bundle")).expect("every digest fits");
    let manifest = trained.manifest();
    assert_eq!(manifest.training.images + manifest.calibration.n(), 49);
}

#[test]
fn the_same_images_and_seed_give_the_same_model() {
    let place = Place::new();
    let settings = "--feature features_s32 --epochs 4 --hidden 8 --kernels 3,3 --size 128x128";
    // Later arguments override earlier ones only where clap is told so; these are all given once.
    let mut arguments: Vec<OsString> = arguments![
        "train",
        data(),
        "--backbone",
        place.path("filters.onnx"),
        "--out",
        place.path("tiny"),
        "--cache",
        place.path("cache"),
        "--false-reject-rate",
        "0.1",
    ]
    .into();
    arguments.extend(settings.split_whitespace().map(OsString::from));
    flawd(arguments).succeeded();
    let again = Bundle::open(&place.path("tiny")).expect("every digest fits");
    let first = Bundle::open(bundle()).expect("every digest fits");
    assert_eq!(again.manifest().model.digest, first.manifest().model.digest);
    assert_eq!(again.calibration(), first.calibration());
}
