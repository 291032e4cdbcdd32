//! Pictures of more than 8 bits per channel: read with the depth of their camera, which the bundle
//! keeps, and never silently with another one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd_core::image::Size;
use flawd_testing::files::copy_folder;
use image::{DynamicImage, ImageBuffer};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, bundle, copy_of_bundle, data, flawd, good_parts};

/// The picture with values to `white` in 16 bits: `white` stands for 255. Its levels are the same.
fn deepen(path: &Path, white: u32) {
    let image = image::open(path).expect("it is a picture").into_rgb8();
    let values = image.as_raw().iter();
    let values = values.map(|&value| ((u32::from(value) * white + 127) / 255) as u16);
    let deep = ImageBuffer::from_raw(image.width(), image.height(), values.collect());
    let deep = DynamicImage::ImageRgb16(deep.expect("it has as many"));
    deep.save(path).expect("writable");
}

/// The pictures in a folder and below.
fn pictures(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it can be listed");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let below = |path: PathBuf| match path.is_dir() {
        true => pictures(&path),
        false => vec![path],
    };
    let mut all: Vec<PathBuf> = paths.flat_map(below).collect();
    all.sort();
    all
}

struct Workshop {
    folder: TempDir,
}

impl Workshop {
    /// Twenty good pictures of 12 bits.
    fn new() -> Self {
        let folder = good_parts(Size::new(96, 96), 5, 20);
        for path in pictures(&folder.path().join("data/train/good")) {
            deepen(&path, 4095);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn good(&self, name: &str) -> PathBuf {
        self.path("data/train/good").join(name)
    }

    fn train(&self, more: &[&str]) -> Finished {
        let mut all = Vec::from(arguments![
            "train",
            self.path("data"),
            "--backbone",
            self.path("filters.onnx"),
            "--cache",
            self.path("cache"),
            "--out",
            self.path("bundle"),
        ]);
        let settings = "--feature features_s32 --size 128x128 --epochs 2 --hidden 4 --kernels 3 \
                        --batch 4 --false-reject-rate 0.2 --hold-out 0.3";
        all.extend(settings.split_whitespace().map(OsString::from));
        all.extend(more.iter().map(OsString::from));
        flawd(all)
    }

    fn depth(&self) -> Option<u8> {
        let bundle = Bundle::open(&self.path("bundle")).expect("every digest fits");
        bundle.manifest().model.depth.map(u8::from)
    }
}

/// What a prediction says about each picture.
fn scores(bundle: &Path, images: &Path) -> Vec<Value> {
    let finished = flawd(arguments!["predict", bundle, images, "--json"]).succeeded();
    let rows = finished.stdout.lines();
    rows.map(|line| {
        let mut row: Value = serde_json::from_str(line).expect("a line of JSON");
        row.as_object_mut().expect("an object").remove("path");
        row
    })
    .collect()
}

#[test]
fn the_depth_is_found_in_the_training_said_kept_and_used() {
    let workshop = Workshop::new();
    let finished = workshop.train(&[]).succeeded();
    let finished = finished.said(&["12 bits", "20 pictures", "--depth BITS"]);
    assert!(!finished.stderr.contains("skipped"), "{}", finished.stderr);
    assert_eq!(workshop.depth(), Some(12));
    let bundle = workshop.path("bundle");
    let inspected = flawd(arguments!["model", "inspect", &bundle]).succeeded();
    assert!(inspected.stdout.contains("12 bits"), "{}", inspected.stdout);

    // The same levels in 8 and in 12 bits are the same picture.
    let twelve = workshop.path("twelve");
    copy_folder(&data().join("test/good"), &twelve);
    pictures(&twelve).iter().for_each(|path| deepen(path, 4095));
    let expected = scores(&bundle, &data().join("test/good"));
    assert_eq!(scores(&bundle, &twelve), expected);

    // More than 12 bits are refused by name, and the others are scored.
    let bright = twelve.join("bright.png");
    fs::copy(data().join("test/good/000.png"), &bright).expect("writable");
    deepen(&bright, 5000);
    flawd(arguments!["predict", &bundle, &twelve])
        .failed(1, &["bright.png", "12 bits end at 4095", "--depth"]);

    // Another depth makes other features of the same files.
    let model = |workshop: &Workshop| {
        let bundle = Bundle::open(&workshop.path("bundle")).expect("every digest fits");
        bundle.manifest().model.digest
    };
    let of_twelve = model(&workshop);
    workshop
        .train(&["--depth", "14"])
        .succeeded()
        .said(&["14 bits, as --depth says", "0 of them from the cache"]);
    assert_eq!(workshop.depth(), Some(14));
    assert_ne!(model(&workshop), of_twelve);
}

#[test]
fn what_does_not_fit_together_is_refused_before_the_work() {
    let workshop = Workshop::new();
    workshop
        .train(&["--depth", "10"])
        .failed(64, &["--depth 10", "1023", ".png", "state 12"]);
    workshop
        .train(&["--depth", "7"])
        .failed(64, &["8 to 16 bits"]);
    fs::copy(data().join("test/good/000.png"), workshop.good("a.png")).expect("writable");
    workshop.train(&[]).failed(
        64,
        &["20 pictures have 16 bits", "1 have 8", "--depth BITS", "12"],
    );
    workshop.train(&["--depth", "12"]).succeeded();
    assert_eq!(workshop.depth(), Some(12));
}

#[test]
fn a_bundle_of_eight_bits_takes_deeper_pictures_when_their_depth_was_stated() {
    let bundle = {
        let opened = Bundle::open(bundle()).expect("every digest fits");
        assert_eq!(opened.manifest().model.depth, None, "its pictures had 8");
        copy_of_bundle()
    };
    let bundle = bundle.path();
    let folder = TempDir::new().expect("a temporary folder");
    let test = folder.path().join("data/test");
    for kind in ["good", "scratch"] {
        let kind = fs::read_dir(data().join("test"))
            .expect("it can be listed")
            .map(|entry| entry.expect("it can be listed").file_name())
            .find(|name| (kind == "good") == (name == "good"))
            .expect("both kinds are there");
        copy_folder(&data().join("test").join(&kind), &test.join(&kind));
    }
    pictures(&test).iter().for_each(|path| deepen(path, 4095));
    let good = test.join("good");
    flawd(arguments!["predict", bundle, &good]).failed(1, &["000.png", "16 bits", "--depth BITS"]);
    let calibrate = |more: &[&str]| {
        let mut all = Vec::from(arguments!["calibrate", bundle, &good]);
        all.extend(["--false-reject-rate", "0.2"].map(OsString::from));
        all.extend(more.iter().map(OsString::from));
        flawd(all)
    };
    calibrate(&[]).failed(1, &["skipped", "--depth BITS"]);
    calibrate(&["--depth", "12"]).succeeded();
    let depth = Bundle::open(bundle).expect("every digest fits");
    assert_eq!(depth.manifest().model.depth.map(u8::from), Some(12));
    assert_eq!(
        scores(bundle, &good),
        scores(bundle, &data().join("test/good"))
    );
    flawd(arguments!["model", "verify", bundle]).succeeded();
    let evaluated = flawd(arguments!["evaluate", bundle, folder.path().join("data")]).succeeded();
    assert!(
        !evaluated.stderr.contains("skipped"),
        "{}",
        evaluated.stderr
    );

    calibrate(&["--depth", "14"]).failed(64, &["--depth 14", "12 bits", "train again"]);
    flawd(arguments![
        "calibrate",
        bundle,
        "--false-reject-rate",
        "0.3",
        "--depth",
        "12"
    ])
    .failed(64, &["--depth", "give a folder"]);
}
