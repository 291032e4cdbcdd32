//! `flawd predict`.

use std::path::Path;

use flawd::bundle::Bundle;
use flawd::synthetic::DefectKind;
use flawd_core::image::Size;
use image::{DynamicImage, GrayImage, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, data, flawd, json};

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
    let overlay = flawd::pictures::decode::decode_file(&folder.path().join("003.png.png"), None);
    assert_eq!(overlay.expect("it was written").size(), Size::new(96, 128));
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("it can be written");
    let image: &Path = &data().join("test/good/003.png");
    flawd(arguments!["predict", bundle(), image, "--out", &file])
        .failed(1, &["cannot make the folder", "file for heatmaps", "--out"]);
}

/// The calibration's result for its own pictures: at most two of ten show a region at 0.2, all have
/// the quality that it asks for. And a region is inside the picture.
#[test]
fn regions_are_as_rare_in_the_calibration_images_as_promised_and_lie_in_the_picture() {
    let copy = copy_of_bundle();
    let good = data().join("test/good");
    let rate = ["--false-reject-rate", "0.2"];
    flawd(arguments![
        "calibrate",
        copy.path(),
        &good,
        rate[0],
        rate[1]
    ])
    .succeeded();
    let of = |folder: &str| {
        let images = data().join(folder);
        rows(
            &flawd(arguments!["predict", copy.path(), &images, "--json"])
                .succeeded()
                .stdout,
        )
    };
    let regions = |row: &Value| row["regions"].as_array().expect("a list").clone();

    let good = of("test/good");
    let with_region = good.iter().filter(|row| !regions(row).is_empty());
    // Of 12 maxima the threshold is the 11th smallest.
    assert_eq!(with_region.count(), 1);
    assert!(good.iter().all(|row| row["image_quality"].is_null()));

    let pixel = Bundle::open(copy.path())
        .expect("it opens")
        .manifest()
        .pixel
        .clone();
    let threshold = f64::from(pixel.expect("it was calibrated").threshold());
    let mut found = 0;
    for kind in DefectKind::ALL {
        for region in of(&format!("test/{}", kind.name()))
            .iter()
            .flat_map(regions)
        {
            let number = |field: &str| region[field].as_u64().expect("a whole number");
            assert!(number("width") > 0 && number("x") + number("width") <= 128);
            assert!(number("height") > 0 && number("y") + number("height") <= 96);
            assert!(region["score"].as_f64().expect("a number") > threshold);
            found += 1;
        }
    }
    assert!(found > 0, "no defect shows a region");
}

#[test]
fn a_picture_that_the_line_would_not_judge_is_said_to_be_one() {
    let folder = TempDir::new().expect("a temporary folder");
    let black = folder.path().join("black.png");
    DynamicImage::new_rgb8(128, 96)
        .save(&black)
        .expect("it can be saved");
    let said = flawd(arguments!["predict", bundle(), &black]).succeeded();
    assert!(
        said.stdout.contains("(too dark: mean luma 0.0"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_bundle_from_before_regions_and_limits_still_predicts() {
    let copy = copy_of_bundle();
    let path = copy.path().join("bundle.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let mut manifest: flawd_core::manifest::Manifest = text.parse().expect("it was written");
    assert!(manifest.pixel.take().is_some() && manifest.quality.take().is_some());
    std::fs::write(&path, manifest.to_string()).expect("it can be written");

    let image = data().join("test/good/003.png");
    let predicted = flawd(arguments!["predict", copy.path(), &image, "--json"]).succeeded();
    let row = &rows(&predicted.stdout)[0];
    assert!(
        row["score"].is_number() && row.get("regions").is_none(),
        "{row}"
    );
    flawd(arguments!["model", "verify", copy.path()]).succeeded();
}
