//! `flawd calibrate`.

use std::fs;

use flawd::bundle::Bundle;
use flawd_core::calibration::Calibration;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{TEST_GOOD, copy_folder, copy_of_bundle, data, flawd, json};

#[test]
fn a_new_threshold_is_the_one_of_the_new_images() {
    let copy = copy_of_bundle();
    let old = Bundle::open(copy.path()).expect("it opens");
    let good = data().join("test/good");
    let arguments = arguments![
        "calibrate",
        copy.path(),
        &good,
        "--false-reject-rate",
        "0.2"
    ];
    flawd(arguments).succeeded();

    let new = Bundle::open(copy.path()).expect("every digest fits");
    assert_eq!(
        new.manifest().version,
        old.manifest().version.recalibrated()
    );
    assert_eq!(new.calibration().n(), TEST_GOOD);
    assert_eq!(new.calibration().alpha(), 0.2);

    // The scores are those that an evaluation of the same images gives.
    let report = copy.path().join("report.json");
    let stdout = flawd(arguments![
        "evaluate",
        copy.path(),
        data(),
        "--json",
        &report
    ])
    .succeeded()
    .stdout;
    let report = json(&report);
    // Which is why it says nothing of other images.
    assert_eq!(report["scored_in_calibration"], TEST_GOOD);
    assert!(stdout.contains("if they are the same"), "{stdout}");
    let scores = report["images"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|image| image["kind"] == "good")
        .map(|image| image["score"].as_f64().expect("a number") as f32)
        .collect();
    let expected = Calibration::from_scores(scores, 0.2).expect("enough");
    assert_eq!(new.calibration(), &expected);

    // Regions and limits come from the same pictures, for the same rate.
    let pixel = new.manifest().pixel.as_ref().expect("it was calibrated");
    assert_eq!((pixel.n(), pixel.alpha()), (TEST_GOOD, 0.2));
    assert_ne!(old.manifest().pixel.as_ref(), Some(pixel));
    let quality = new.manifest().quality.as_ref().expect("it was calibrated");
    assert_eq!(quality.n, TEST_GOOD);
    flawd(arguments!["model", "verify", copy.path()]).succeeded();
}

#[test]
fn too_few_images_say_how_many_it_takes_and_leave_the_bundle_alone() {
    let copy = copy_of_bundle();
    let before = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    let good = data().join("test/good");
    let asked = || {
        arguments![
            "calibrate",
            copy.path(),
            &good,
            "--false-reject-rate",
            "0.01"
        ]
    };
    flawd(asked()).failed(1, &["12 calibration images", "at least 99"]);
    assert_eq!(
        fs::read(copy.path().join("bundle.toml")).expect("it is there"),
        before
    );

    let accepted = asked().into_iter().chain(arguments!["--accept-achievable"]);
    flawd(accepted).succeeded();
    let bundle = Bundle::open(copy.path()).expect("it opens");
    assert_eq!(bundle.calibration().alpha(), 1.0 / 13.0);
}

#[test]
fn images_that_trained_the_model_never_calibrate_it() {
    let copy = copy_of_bundle();
    let before = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    // All but the held-out ones of these trained the model.
    let trained = data().join("train/good");
    flawd(arguments![
        "calibrate",
        copy.path(),
        &trained,
        "--false-reject-rate",
        "0.1"
    ])
    .failed(1, &["40 of the 50 images trained this model"]);
    assert_eq!(
        fs::read(copy.path().join("bundle.toml")).expect("it is there"),
        before
    );
}

#[test]
fn images_that_are_damaged_or_there_twice_are_named_and_left_out() {
    let copy = copy_of_bundle();
    let images = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), images.path());
    let whole = fs::read(images.path().join("000.png")).expect("it is there");
    fs::write(images.path().join("cut.png"), &whole[..whole.len() / 2]).expect("it can be written");
    fs::write(images.path().join("twin.png"), &whole).expect("it can be written");

    flawd(arguments![
        "calibrate",
        copy.path(),
        images.path(),
        "--false-reject-rate",
        "0.1"
    ])
    .succeeded()
    .said(&["cut.png", "twin.png", "the same file as"]);
    let bundle = Bundle::open(copy.path()).expect("it opens");
    assert_eq!(bundle.calibration().n(), TEST_GOOD);
}
