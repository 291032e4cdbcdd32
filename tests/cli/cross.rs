//! `flawd train --cross-calibrate`: every good image trains and calibrates, and none calibrates a
//! flow that it trained.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd_core::calibration::CalibrationMethod;
use flawd_core::image::Size;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, Running, TEST_GOOD, data, flawd, good_parts, json, training};

/// Good images, not divisible by the folds.
const IMAGES: usize = 11;

/// A folder with a backbone, good images, and room for bundles and cache.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        Self {
            folder: good_parts(Size::new(96, 128), 3, IMAGES as u64),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn good(&self) -> PathBuf {
        self.path("data/train/good")
    }

    /// The arguments of a short run in three folds with a cache of this name.
    fn arguments(&self, cache: &str, more: &str) -> Vec<OsString> {
        let mut all = training(self.folder.path(), cache);
        all.extend(arguments!["--out", self.path(&format!("{cache}-bundle"))]);
        let settings = "--feature features_s32 --size 128x128 --epochs 3 --hidden 4 --kernels 3 \
                        --batch 4 --name part --cross-calibrate 3";
        all.extend(settings.split_whitespace().map(OsString::from));
        all.extend(more.split_whitespace().map(OsString::from));
        all
    }

    fn train(&self, cache: &str) -> Finished {
        flawd(self.arguments(cache, "--false-reject-rate 0.2"))
    }

    /// Kills a run with the cache `cut` when it says a line that begins so.
    #[track_caller]
    fn cut_off_at(&self, line: &str) {
        let mut running = Running::start(self.arguments("cut", "--false-reject-rate 0.2"));
        running.says(line);
        running.kill();
    }

    fn bundle(&self, cache: &str) -> Bundle {
        let bundle = self.path(&format!("{cache}-bundle"));
        Bundle::open(&bundle).expect("every digest fits")
    }
}

/// What lies in the cache for unfinished runs.
fn unfinished(cache: &Path) -> Vec<String> {
    let entries = fs::read_dir(cache.join("runs")).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("listed")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn every_image_trains_and_calibrates_and_the_promise_says_what_it_is() {
    let workshop = Workshop::new();
    let trained = workshop.train("one").succeeded().said(&[
        "fold 1/3  7 images train",
        "4 calibrate",
        "fold 3/3  8 images train",
        "3 calibrate",
        "fold 3/3  exported; its scores differ",
        "11 images are scored, each by a flow that was not trained on it",
        "\n11 images train",
        "calibrated on 11 images",
    ]);
    assert!(trained.stdout.contains("no bound"), "{}", trained.stdout);
    assert!(unfinished(&workshop.path("one")).is_empty());

    let bundle = workshop.bundle("one");
    let manifest = bundle.manifest();
    assert_eq!(manifest.training.as_ref().unwrap().images, IMAGES);
    let calibration = bundle.calibration();
    assert_eq!(calibration.n(), IMAGES);
    assert_eq!(calibration.method(), CalibrationMethod::Cross { folds: 3 });
    let pixel = manifest.pixel.as_ref().expect("it is calibrated");
    assert_eq!(pixel.n(), IMAGES);
    assert!(pixel.promise().contains("no bound"), "{}", pixel.promise());
    for image in fs::read_dir(workshop.good()).expect("there") {
        let bytes = fs::read(image.expect("listed").path()).expect("readable");
        assert!(bundle.was_trained_on(flawd::files::digest::sha256(&bytes)));
    }

    // The flow that ships knows the images, so it scores them lower than the others did: nothing of
    // the calibration is its own.
    let predicted = flawd(arguments![
        "predict",
        bundle.folder(),
        workshop.good(),
        "--json"
    ])
    .succeeded();
    let mut own: Vec<f32> = predicted
        .stdout
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            row["score"].as_f64().expect("a number") as f32
        })
        .collect();
    own.sort_by(f32::total_cmp);
    assert!(
        own.iter()
            .all(|score| !calibration.scores().contains(score))
    );
    let sum = |scores: &[f32]| scores.iter().sum::<f32>();
    assert!(
        sum(&own) < sum(calibration.scores()),
        "{own:?} {calibration:?}"
    );

    let inspected = flawd(arguments!["model", "inspect", bundle.folder()]).succeeded();
    for part in [
        "cross, 3 folds",
        "no bound",
        "about 0.2",
        "11 images, 3 epochs",
    ] {
        assert!(
            inspected.stdout.contains(part),
            "`{part}`: {}",
            inspected.stdout
        );
    }
    flawd(arguments!["model", "verify", bundle.folder()]).succeeded();
}

/// Whenever a run is interrupted, it resumes from there to the same bundle.
#[test]
fn an_interrupted_cross_calibration_ends_as_an_uninterrupted_one() {
    let workshop = Workshop::new();
    workshop.train("whole").succeeded();

    // In the midst of a fold, before a fold, and in the midst of the flow that ships.
    for line in ["fold 2/3  epoch 2/5", "fold 2/3  exported", "epoch 2/3"] {
        workshop.cut_off_at(line);
        assert!(!workshop.path("cut-bundle").exists(), "{line}");
    }
    workshop.train("cut").succeeded().said(&[
        "fold 1/3  its scores are there from an interrupted run",
        "fold 2/3  its scores are there from an interrupted run",
        "fold 3/3  its scores are there from an interrupted run",
        "\ngoing on after",
    ]);
    assert!(unfinished(&workshop.path("cut")).is_empty());
    let [whole, cut] = ["whole", "cut"].map(|cache| workshop.bundle(cache));
    assert_eq!(cut.manifest().model, whole.manifest().model);
    assert_eq!(cut.calibration(), whole.calibration());
    assert_eq!(cut.manifest().pixel, whole.manifest().pixel);
    assert_eq!(cut.manifest().quality, whole.manifest().quality);
    assert_eq!(cut.manifest().golden, whole.manifest().golden);
}

#[test]
fn a_later_calibration_with_held_out_images_is_a_split_one_again() {
    let workshop = Workshop::new();
    workshop.train("one").succeeded();
    let bundle = workshop.path("one-bundle");
    flawd(arguments![
        "calibrate",
        &bundle,
        workshop.good(),
        "--accept-achievable"
    ])
    .failed(1, &["11 of the 11 images trained this model"]);

    let [report, page] = ["report.json", "report.html"].map(|name| workshop.path(name));
    let evaluated = flawd(arguments![
        "evaluate",
        &bundle,
        data(),
        "--json",
        &report,
        "--html",
        &page
    ])
    .succeeded();
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.contains(", about 20 %") && !page.contains("at most 20 %"));
    assert!(
        evaluated.stdout.contains("expected: about 20.0 %"),
        "{}",
        evaluated.stdout
    );
    assert_eq!(json(&report)["calibration_method"], "cross, 3 folds");

    let good = data().join("test/good");
    let rate = ["--false-reject-rate", "0.2"];
    flawd(arguments!["calibrate", &bundle, &good, rate[0], rate[1]]).succeeded();
    let calibration = workshop.bundle("one");
    let calibration = calibration.calibration();
    assert_eq!(calibration.method(), CalibrationMethod::Split);
    assert_eq!(calibration.n(), TEST_GOOD);
}

#[test]
fn folds_that_make_no_calibration_are_refused_before_training() {
    let workshop = Workshop::new();
    let refused = |more: &str, code: i32, said: &[&str]| {
        let mut arguments = workshop.arguments("none", "");
        let folds = arguments
            .iter()
            .position(|word| word == "--cross-calibrate");
        arguments.drain(folds.expect("it is given")..);
        arguments.extend(more.split_whitespace().map(OsString::from));
        let finished = flawd(arguments).failed(code, said);
        assert!(
            !finished.stderr.contains("images train"),
            "{}",
            finished.stderr
        );
    };
    refused(
        "--cross-calibrate 12 --false-reject-rate 0.2",
        78,
        &["all 11 images", "11 images cannot make 12 folds"],
    );
    refused(
        "--cross-calibrate 5 --false-reject-rate 0.01",
        78,
        &["all 11 images", "at least 99"],
    );
    refused("--cross-calibrate 1", 64, &["`1` is not a number of folds"]);
    refused(
        "--cross-calibrate 5 --hold-out 0.3",
        64,
        &["cannot be used with", "--hold-out"],
    );
}

#[test]
fn damaged_scores_of_a_fold_are_named_and_never_used() {
    let workshop = Workshop::new();
    workshop.cut_off_at("fold 2/3");

    let names = unfinished(&workshop.path("cut"));
    let name = names.iter().find(|name| name.ends_with(".scores.toml"));
    let name = name.expect("the first fold is done");
    let file = workshop.path("cut/runs").join(name);
    let whole = fs::read_to_string(&file).expect("there");
    fs::write(&file, &whole[..whole.len() / 2]).expect("writable");
    workshop
        .train("cut")
        .failed(1, &[name, "is damaged", "delete it"]);
    let (head, _last) = whole.rsplit_once("[[images]]").expect("several images");
    fs::write(&file, head).expect("writable");
    workshop
        .train("cut")
        .failed(1, &[name, "it has other images"]);
    fs::remove_file(&file).expect("there");
    workshop.train("cut").succeeded();
}
