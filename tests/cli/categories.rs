//! `flawd evaluate` on several categories in one call.

use std::fs;
use std::os::unix::fs::symlink;

use flawd_testing::files::copy_folder;
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, data, flawd, json};

/// Two categories, of which the second has some of the images, and one without a bundle.
fn place() -> TempDir {
    let place = TempDir::new().expect("a temporary folder");
    let make = |folder: &str| {
        let folder = place.path().join(folder);
        fs::create_dir_all(&folder).expect("it can be made");
        folder
    };
    let (bundles, images) = (make("bundles"), make("images"));
    for name in ["flange", "gear"] {
        symlink(bundle(), bundles.join(name)).expect("it can be made");
    }
    symlink(data(), images.join("flange")).expect("it can be made");
    for kind in ["good", "scratch", "stain"] {
        let part = format!("test/{kind}");
        copy_folder(&data().join(&part), &images.join("gear").join(&part));
    }
    make("images/valve/test/good");
    place
}

#[test]
fn several_categories_have_a_report_each_and_a_mean() {
    let place = place();
    let path = |name: &str| place.path().join(name);
    let stdout = flawd(arguments![
        "evaluate",
        path("bundles"),
        path("images"),
        "--json",
        path("report.json"),
        "--html",
        path("report.html"),
        "--out",
        path("maps")
    ])
    .succeeded()
    .stdout;
    let report = json(&path("report.json"));
    let categories = report["categories"].as_object().expect("by name");
    assert_eq!(categories.keys().collect::<Vec<_>>(), ["flange", "gear"]);
    assert_eq!(report["left_out"], Value::from(["valve"].to_vec()));
    for name in [
        "image_auroc",
        "image_ap",
        "f1_max",
        "false_reject_rate",
        "escape_rate",
    ] {
        let numbers = categories.values().map(|category| category[name].as_f64());
        let numbers: Vec<f64> = numbers.collect::<Option<_>>().expect("each is determined");
        let mean = report["mean"][name].as_f64().expect("a mean");
        assert!(
            (mean - numbers.iter().sum::<f64>() / 2.0).abs() < 1e-12,
            "{name}"
        );
    }
    // gear has no masks, so there is no mean over both.
    assert!(categories["flange"]["aupro"].is_number());
    assert_eq!(report["mean"]["aupro"], Value::Null);
    for line in ["flange ", "gear ", "mean ", "no bundle for  valve"] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    assert!(path("maps/gear/scratch/000.png").is_file());

    // Each is what it is alone.
    let alone = flawd(arguments![
        "evaluate",
        path("bundles/gear"),
        path("images/gear"),
        "--json",
        path("alone.json")
    ]);
    alone.succeeded();
    assert_eq!(json(&path("alone.json")), categories["gear"]);
}

#[test]
fn a_bundle_without_images_of_its_name_is_named() {
    let place = place();
    fs::remove_file(place.path().join("images/flange")).expect("it is there");
    flawd(arguments![
        "evaluate",
        place.path().join("bundles"),
        place.path().join("images")
    ])
    .failed(64, &["bundles/flange", "images/flange"]);
}
