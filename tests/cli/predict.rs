//! `flawd predict`.

use std::path::Path;

use flawd_core::image::Size;
use image::{DynamicImage, GrayImage, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, data, flawd, json};

fn rows(stdout: &str) -> Vec<Value> {
    let row = |line: &str| serde_json::from_str(line).expect("each line is JSON");
    stdout.lines().map(row).collect()
}

#[test]
fn scores_and_verdicts_are_those_of_an_evaluation() {
    let folder = TempDir::new().expect("a temporary folder");
    let report = folder.path().join("report.json");
    flawd(arguments!["evaluate", bundle(), data(), "--json", &report]).succeeded();
    let report = json(&report);

    let good = data().join("test/good");
    let predicted = flawd(arguments!["predict", bundle(), &good, "--json"]).succeeded();
    let expected = report["images"].as_array().expect("a list").iter();
    let mut count = 0;
    for (row, expected) in rows(&predicted.stdout).iter().zip(expected) {
        count += 1;
        let path = expected["path"].as_str().expect("a path");
        assert!(row["path"].as_str().expect("a path").ends_with(path));
        for field in ["score", "p_value", "verdict"] {
            assert_eq!(row[field], expected[field], "{field} of {path}");
        }
        assert_eq!(row["threshold"], report["threshold"]);
    }
    assert_eq!(count, crate::fixture::TEST_GOOD);
}

#[test]
fn any_size_and_grey_are_scored_and_transparency_is_refused_by_name() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let save = |name: &str, image: DynamicImage| image.save(path(name)).expect("it can be saved");
    save(
        "grey.png",
        DynamicImage::ImageLuma8(GrayImage::new(40, 300)),
    );
    save("one-pixel.png", DynamicImage::new_rgb8(1, 1));
    let opaque = RgbaImage::from_pixel(30, 30, Rgba([9, 9, 9, 255]));
    save("opaque.png", DynamicImage::ImageRgba8(opaque));
    let glass = RgbaImage::from_pixel(30, 30, Rgba([9, 9, 9, 100]));
    save("glass.png", DynamicImage::ImageRgba8(glass));

    let fine = ["grey.png", "one-pixel.png", "opaque.png"].map(path);
    flawd(arguments![
        "predict",
        bundle(),
        &fine[0],
        &fine[1],
        &fine[2]
    ])
    .succeeded();
    let mixed = flawd(arguments![
        "predict",
        bundle(),
        path("glass.png"),
        &fine[0],
        "--json"
    ])
    .failed(1, &["glass.png", "transparent", "1 of 2 images"]);
    assert_eq!(rows(&mixed.stdout).len(), 1, "the other one is scored");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    flawd(arguments!["predict", bundle(), "nowhere.png"])
        .failed(1, &["nowhere.png", "No such file"]);
}

#[test]
fn a_heatmap_has_the_size_of_its_picture() {
    let folder = TempDir::new().expect("a temporary folder");
    let image = data().join("test/good/003.png");
    flawd(arguments![
        "predict",
        bundle(),
        &image,
        "--out",
        folder.path()
    ])
    .succeeded();
    let overlay = flawd::decode::decode_file(&folder.path().join("003.png.png"));
    assert_eq!(overlay.expect("it was written").size(), Size::new(96, 128));
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("it can be written");
    let image: &Path = &data().join("test/good/003.png");
    flawd(arguments!["predict", bundle(), image, "--out", &file])
        .failed(1, &["cannot write the overlay", "file/003.png.png"]);
}
