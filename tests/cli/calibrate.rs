//! `flawd calibrate`.

use std::fs;

use flawd::bundle::Bundle;
use flawd_core::calibration::Calibration;
use flawd_testing::files::copy_folder;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{TEST_GOOD, copy_of_bundle, data, flawd, json};

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
    let pixels = image::load_from_memory(&whole).expect("an image");
    let again = images.path().join("again.bmp");
    pixels.save(again).expect("it can be written");

    flawd(arguments![
        "calibrate",
        copy.path(),
        images.path(),
        "--false-reject-rate",
        "0.1"
    ])
    .succeeded()
    .said(&["cut.png", "twin.png", "again.bmp", "the same pixels as"]);
    let bundle = Bundle::open(copy.path()).expect("it opens");
    assert_eq!(bundle.calibration().n(), TEST_GOOD);
}

#[test]
fn a_picture_that_trained_the_model_is_known_in_other_bytes_too() {
    let copy = copy_of_bundle();
    let images = TempDir::new().expect("a temporary folder");
    for entry in fs::read_dir(data().join("train/good")).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_stem().expect("it has one").to_string_lossy();
        let pixels = image::open(&path).expect("an image");
        let other = images.path().join(format!("{name}.bmp"));
        pixels.save(other).expect("it can be written");
    }
    flawd(arguments![
        "calibrate",
        copy.path(),
        images.path(),
        "--false-reject-rate",
        "0.1"
    ])
    .failed(1, &["40 of the 50 images trained this model", ".bmp"]);
}

#[test]
fn another_rate_is_chosen_from_the_scores_that_the_bundle_has() {
    let copy = copy_of_bundle();
    let old = Bundle::open(copy.path()).expect("it opens");
    assert_eq!(old.calibration().n(), 10);
    let at = |rate: &str| {
        flawd(arguments![
            "calibrate",
            copy.path(),
            "--false-reject-rate",
            rate
        ])
    };
    let finished = at("0.3").succeeded();
    assert!(
        finished.stdout.contains("at most 0.3"),
        "{}",
        finished.stdout
    );
    let new = Bundle::open(copy.path()).expect("every digest fits");
    let expected = old.calibration().at_rate(0.3).expect("ten support that");
    assert_eq!(new.calibration(), &expected);
    assert_eq!(new.calibration().threshold(), old.calibration().scores()[7]);
    let pixel = |bundle: &Bundle| bundle.manifest().pixel.clone().expect("it has one");
    assert_eq!(pixel(&new).alpha(), 0.3);
    assert_eq!(pixel(&new).maxima(), pixel(&old).maxima());
    assert_eq!(new.manifest().quality, old.manifest().quality);
    assert_eq!(
        new.manifest().version,
        old.manifest().version.recalibrated()
    );
    // No golden input lies on the new threshold, where its verdict would flip.
    flawd(arguments!["model", "verify", copy.path()]).succeeded();

    let said = [
        "10 calibration images",
        "at least 99",
        "leave --false-reject-rate out",
    ];
    at("0.01").failed(1, &said);
    assert_eq!(
        Bundle::open(copy.path()).expect("it opens").calibration(),
        &expected
    );
    flawd(arguments!["calibrate", copy.path()]).failed(64, &["folder", "--false-reject-rate"]);
}

/// The pictures of `test/good`, a black frame, one of which half was lost, and a defect.
fn with_odd_ones() -> TempDir {
    let images = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), images.path());
    let good = image::open(images.path().join("000.png")).expect("an image");
    let save = |name: &str, pixels: image::RgbImage| {
        let saved = pixels.save(images.path().join(name));
        saved.expect("it can be written");
    };
    let mut half = good.to_rgb8();
    for (_, row, pixel) in half.enumerate_pixels_mut() {
        if row >= good.height() / 2 {
            *pixel = image::Rgb([128; 3]);
        }
    }
    save("half.png", half);
    save(
        "black.png",
        image::RgbImage::new(good.width(), good.height()),
    );
    let defect = data().join("test/stain/000.png");
    fs::copy(defect, images.path().join("stain.png")).expect("it can be copied");
    images
}

#[test]
fn odd_pictures_are_named_and_set_no_threshold_unless_the_user_says_so() {
    let copy = copy_of_bundle();
    let before = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    let images = with_odd_ones();
    let calibrate = |more: &[&str]| {
        let mut all = Vec::from(arguments!["calibrate", copy.path(), images.path()]);
        all.extend(more.iter().map(std::ffi::OsString::from));
        flawd(all)
    };
    let refused = calibrate(&[]).failed(
        1,
        &[
            "stand apart from the others",
            "black.png: ",
            "too dark: mean luma 0.0",
            "half.png: score ",
            "the highest of the others: ",
            "--exclude NAME",
            "--accept-outliers",
        ],
    );
    // The third one is named too, whether it stands apart or is the highest of the others.
    assert!(refused.stderr.contains("stain.png"), "{}", refused.stderr);
    let after = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    assert_eq!(after, before);

    let out = [
        "--exclude",
        "black.png",
        "--exclude",
        "half.png",
        "--exclude",
        "stain.png",
    ];
    let finished = calibrate(&out).succeeded();
    assert!(
        finished.stdout.contains("12, 3 left out"),
        "{}",
        finished.stdout
    );
    assert!(
        finished.stdout.contains(" sets the threshold, "),
        "{}",
        finished.stdout
    );
    let clean = Bundle::open(copy.path()).expect("it opens");
    let selection = &clean.manifest().selection;
    assert_eq!(selection.excluded, ["black.png", "half.png", "stain.png"]);
    let inspected = flawd(arguments!["model", "inspect", copy.path()]).succeeded();
    assert!(
        inspected.stdout.contains("black.png, by hand"),
        "{}",
        inspected.stdout
    );
    calibrate(&["--exclude", "nowhere.png"]).failed(64, &["--exclude nowhere.png"]);

    calibrate(&["--accept-outliers"]).succeeded();
    let accepted = Bundle::open(copy.path()).expect("it opens");
    assert_eq!(accepted.calibration().n(), TEST_GOOD + 3);
    let named = &accepted.manifest().selection.accepted;
    assert!(
        named
            .iter()
            .any(|picture| picture.starts_with("half.png: score")),
        "{named:?}"
    );
    // The rule of the promise is as it was, and the line has a threshold that rejects nothing.
    assert!(accepted.calibration().threshold() > 2.0 * clean.calibration().threshold());
    // A black frame opens no limit.
    let dark = |bundle: &Bundle| {
        bundle
            .manifest()
            .quality
            .as_ref()
            .unwrap()
            .limits
            .brightness_min
    };
    assert!((dark(&accepted) - dark(&clean)).abs() < 0.1 * dark(&clean));
}
