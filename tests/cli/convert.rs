//! `flawd model convert --half`: a bundle that judges alike is written, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd_core::calibration::Calibration;
use flawd_core::manifest::{GoldenRecord, Manifest};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, data, flawd};

#[test]
fn a_bundle_in_half_precision_judges_alike_and_says_what_it_is() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("half");
    let images = data().join("train/good");
    let convert = arguments![
        "model",
        "convert",
        "--half",
        bundle(),
        &out,
        "--images",
        images
    ];
    let converted = flawd(&convert).succeeded().stdout;
    for part in ["half in", "every verdict is the same", "largest", "sha256:"] {
        assert!(converted.contains(part), "`{part}` is not in:\n{converted}");
    }
    let open = |path: &Path| Bundle::open(path).expect("it opens");
    let (old, new) = (open(bundle()), open(&out));
    let (old, new) = (old.manifest(), new.manifest());
    assert_ne!(new.model.digest, old.model.digest);
    assert_eq!(new.calibration, old.calibration);
    assert_eq!(new.training, old.training);
    let scores = |golden: &[GoldenRecord]| {
        golden
            .iter()
            .map(|it| (it.score, it.tolerance))
            .collect::<Vec<_>>()
    };
    assert_eq!(scores(&new.golden), scores(&old.golden));
    let conversion = new.conversion.as_ref().expect("it says so");
    assert_eq!(conversion.of, old.model.digest);
    assert!(conversion.largest_difference < 0.01);
    assert!(conversion.largest_difference > 0.0, "it is another model");

    // Half the size, but for what is no weight.
    let size = |bundle: &Path| {
        fs::metadata(bundle.join("model.onnx"))
            .expect("it is there")
            .len()
    };
    assert!(size(&out) < size(bundle()));
    flawd(arguments!["model", "verify", &out]).prints("ok on cpu");
    let inspected = flawd(arguments!["model", "inspect", &out])
        .succeeded()
        .stdout;
    assert!(
        inspected.contains("to half precision, from sha256:"),
        "{inspected}"
    );

    // It cannot be converted again, and it is not written over itself.
    let again = folder.path().join("again");
    flawd(arguments!["model", "convert", "--half", &out, &again])
        .failed(1, &["is in half precision already"]);
    flawd(arguments!["model", "convert", "--half", &out, &out])
        .failed(64, &["is the bundle itself"]);
    assert!(!again.exists());
}

/// The scores of these pictures, in order.
fn scores(bundle: &Path, pictures: &[PathBuf]) -> Vec<f32> {
    let mut predict = Vec::from(arguments!["predict", bundle, "--json"]);
    predict.extend(pictures.iter().map(|path| path.clone().into_os_string()));
    let stdout = flawd(&predict).succeeded().stdout;
    let rows = stdout.lines().map(|line| {
        let row: Value = serde_json::from_str(line).expect("each line is JSON");
        row["score"].as_f64().expect("a number") as f32
    });
    rows.collect()
}

#[test]
fn a_verdict_that_flips_is_refused_with_its_numbers_and_nothing_is_written() {
    let folder = TempDir::new().expect("a temporary folder");
    let half = folder.path().join("half");
    let convert = arguments!["model", "convert", "--half", bundle(), &half];
    flawd(&convert).succeeded();
    let good = fs::read_dir(data().join("test/good")).expect("it is a folder");
    let pictures: Vec<PathBuf> = good.map(|it| it.expect("listed").path()).collect();
    let (single, half) = (scores(bundle(), &pictures), scores(&half, &pictures));
    let apart = |place: &usize| (single[*place] - half[*place]).abs();
    let most = (0..pictures.len()).max_by(|a, b| apart(a).total_cmp(&apart(b)));
    let most = most.expect("there are pictures");

    // A bundle whose threshold lies between the two scores of one picture.
    let threshold = single[most].min(half[most]);
    let copy = copy_of_bundle();
    let path = copy.path().join("bundle.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let mut manifest: Manifest = text.parse().expect("a manifest");
    let scores = vec![threshold; manifest.calibration.n()];
    manifest.calibration = Calibration::from_scores(scores, 0.1).expect("a calibration");
    fs::write(&path, manifest.to_string()).expect("writable");
    let images = folder.path().join("images");
    fs::create_dir(&images).expect("writable");
    fs::copy(&pictures[most], images.join("part.png")).expect("writable");

    let out = folder.path().join("out");
    let convert = arguments![
        "model",
        "convert",
        "--half",
        copy.path(),
        &out,
        "--images",
        &images
    ];
    let single = single[most].to_string();
    let said = [
        "stays in single precision",
        "part.png",
        &single,
        "the threshold",
        "lies between",
    ];
    flawd(&convert).failed(1, &said);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|it| it.expect("listed").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["half", "images"]);
}

#[test]
fn what_cannot_be_converted_is_said_before_anything_is_written() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("half");
    flawd(arguments!["model", "convert", bundle(), &out]).failed(64, &["--half"]);
    flawd(arguments![
        "model",
        "convert",
        "--half",
        folder.path(),
        &out
    ])
    .failed(78, &["is not a bundle"]);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
