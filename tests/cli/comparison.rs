//! `flawd evaluate --compare`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use flawd::bundle::Bundle;
use flawd::files::digest::sha256_file;
use flawd::lab::comparison::{ComparisonPlan, ComparisonStep, Method, PreparedComparison};
use flawd::lab::evaluation::ImageRow;
use flawd::lab::features::ExtractionStep;
use flawd_onnx::filter_bank::filter_bank;
use flawd_onnx::{Runtime, SessionOptions};
use flawd_testing::files::copy_folder;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{backbone, bundle, data, flawd, json};

/// `flawd evaluate` with what a comparison takes.
fn compared(data: PathBuf, backbone: PathBuf, cache: PathBuf, methods: &str) -> Vec<OsString> {
    arguments![
        "evaluate",
        bundle(),
        data,
        "--compare",
        methods,
        "--backbone",
        backbone,
        "--cache",
        cache,
    ]
    .into()
}

#[test]
fn every_method_is_measured_on_the_images_of_the_flow_and_fitted_on_those_that_trained_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let [path, html, cache] =
        ["report.json", "report.html", "cache"].map(|name| folder.path().join(name));
    let mut arguments = compared(
        data().into(),
        backbone(),
        cache,
        "gaussian,knn,padim,differnet",
    );
    arguments.extend(arguments!["--json", &path, "--html", &html]);
    let finished = flawd(arguments).succeeded();
    let report = json(&path);
    let comparison = &report["comparison"];
    let rows = comparison["rows"].as_array().expect("a list");
    let names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["method"].as_str())
        .collect();
    assert_eq!(names, ["cs-flow", "gaussian", "knn", "padim", "differnet"]);
    for name in names {
        assert!(
            finished.stdout.lines().any(|line| line.starts_with(name)),
            "{}",
            finished.stdout
        );
    }
    for metric in ["image_auroc", "image_ap", "f1_max"] {
        assert_eq!(rows[0][metric], report[metric], "the flow's own {metric}");
    }
    let kinds = report["defect_types"].as_object().expect("kinds");
    let html = fs::read_to_string(html).expect("it was written");
    let (_, shown) = html
        .split_once("Beside other methods")
        .expect("there is a section");
    for row in rows {
        let auroc = row["image_auroc"].as_f64().expect("a number");
        assert!((0.0..=1.0).contains(&auroc), "{row}");
        let name = row["method"].as_str().expect("a name");
        let cells = shown.split_once(&format!(">{name}<")).expect("a row").1;
        let cells = cells.split_once("</tr>").expect("an end").0;
        assert!(cells.contains(&format!("<td>{auroc:.4}</td>")), "{cells}");
        let of_kinds = row["defect_types"].as_object().expect("kinds");
        assert!(of_kinds.keys().eq(kinds.keys()), "{row}");
    }
    let bundle = Bundle::open(bundle()).expect("every digest fits");
    assert_eq!(
        comparison["training_images"],
        bundle.manifest().training.as_ref().unwrap().images
    );
}

/// Whatever is fitted sees the features of the very files: a file is at distance 0 from itself.
#[test]
fn training_images_shown_again_are_nearer_than_any_defect() {
    let folder = TempDir::new().expect("a temporary folder");
    let again = folder.path().join("data");
    copy_folder(&data().join("train"), &again.join("train"));
    copy_folder(&data().join("test/stain"), &again.join("test/stain"));
    fs::create_dir_all(again.join("test/good")).expect("writable");
    let bundle = Bundle::open(bundle()).expect("every digest fits");
    for image in fs::read_dir(data().join("train/good")).expect("it is there") {
        let path = image.expect("it is there").path();
        if bundle.was_trained_on(sha256_file(&path).expect("readable")) {
            let name = path.file_name().expect("a file");
            fs::copy(&path, again.join("test/good").join(name)).expect("writable");
        }
    }
    let path = folder.path().join("report.json");
    let mut arguments = compared(again, backbone(), folder.path().join("cache"), "knn");
    arguments.extend(arguments!["--json", &path]);
    flawd(arguments).succeeded();
    assert_eq!(json(&path)["comparison"]["rows"][1]["image_auroc"], 1.0);
}

/// Between the scoring and the comparison a picture may vanish.
#[test]
fn a_picture_that_is_gone_is_left_out_for_every_method() {
    let cache = TempDir::new().expect("a temporary folder");
    let bundle = Bundle::open(bundle()).expect("every digest fits");
    let plan = ComparisonPlan {
        methods: vec![Method::Knn],
        backbone: Some(backbone()),
        images: data().into(),
        good: "good".into(),
        cache: cache.path().into(),
    };
    let row = |path: &str, kind: &str, score| ImageRow {
        path: path.into(),
        kind: kind.into(),
        score,
        p_value: 0.5,
        verdict: "ok",
    };
    let rows = [
        row("test/good/000.png", "good", 1.0),
        row("test/good/gone.png", "good", 9.0),
        row("test/stain/000.png", "stain", 2.0),
    ];
    let runtime = Runtime::load(None).expect("it is there");
    let mut skipped = Vec::new();
    let comparison = PreparedComparison::prepare(&bundle, plan)
        .expect("the training images are there")
        .run(
            &rows,
            data(),
            runtime.with(&SessionOptions::default()),
            &mut |step| {
                if let ComparisonStep::Features(ExtractionStep::Skipped(image)) = step {
                    skipped.push(image.path.clone());
                }
            },
        )
        .expect("two kinds are left");
    assert_eq!(skipped, [data().join("test/good/gone.png")]);
    assert_eq!(comparison.test_images, 2);
    assert_eq!(comparison.rows[0].metrics.image_auroc, 1.0);
}

#[test]
fn another_backbone_than_the_bundles_is_refused_with_both_digests() {
    let folder = TempDir::new().expect("a temporary folder");
    let other = folder.path().join("other.onnx");
    // The same network with a field at the end that no reader knows.
    let mut bytes = filter_bank();
    bytes.extend([0xa0, 0x06, 0x01]);
    fs::write(&other, bytes).expect("writable");
    let digest = Bundle::open(bundle())
        .expect("it opens")
        .manifest()
        .backbone
        .digest;
    let cache = folder.path().join("cache");
    let said = ["other.onnx is not the backbone", &digest.to_string()];
    flawd(compared(data().into(), other, cache, "knn")).failed(78, &said);
}

#[test]
fn methods_are_fitted_on_all_images_that_trained_the_bundle_or_not_at_all() {
    let folder = TempDir::new().expect("a temporary folder");
    let copy = folder.path().join("data");
    copy_folder(data(), &copy);
    let images = fs::read_dir(copy.join("train/good")).expect("it is there");
    for image in images.skip(20) {
        fs::remove_file(image.expect("it is there").path()).expect("removable");
    }
    let cache = folder.path().join("cache");
    let finished = flawd(compared(copy, backbone(), cache, "knn"));
    let said = ["images that trained the bundle are in", "the same images"];
    let finished = finished.failed(64, &said);
    assert!(!finished.stdout.contains("AUROC"), "found before the work");
}

#[test]
fn without_a_backbone_a_comparison_takes_flawds_own_and_a_backbone_alone_is_refused() {
    let cache = TempDir::new().expect("a temporary folder");
    let own = arguments![
        "evaluate",
        bundle(),
        data(),
        "--compare",
        "knn",
        "--cache",
        cache.path()
    ];
    let said = flawd(own).succeeded().stdout;
    assert!(said.contains("\nknn "), "{said}");
    let alone = arguments!["evaluate", bundle(), data(), "--backbone", backbone()];
    flawd(alone).failed(64, &["--compare"]);
}

#[test]
fn several_categories_are_compared_in_one_table_with_the_mean() {
    let place = TempDir::new().expect("a temporary folder");
    let path = |name: &str| place.path().join(name);
    for (folder, target) in [("bundles", bundle()), ("images", data())] {
        fs::create_dir(path(folder)).expect("it can be made");
        for name in ["flange", "gear"] {
            symlink(target, path(folder).join(name)).expect("it can be made");
        }
    }
    let arguments = arguments![
        "evaluate",
        path("bundles"),
        path("images"),
        "--compare",
        "gaussian,knn",
        "--backbone",
        backbone(),
        "--cache",
        path("cache"),
        "--json",
        path("report.json"),
        "--html",
        path("report.html"),
    ];
    let said = flawd(arguments).succeeded().stdout;
    let report = json(&path("report.json"));
    let methods = report["comparison"].as_array().expect("a list");
    let names: Vec<&str> = methods
        .iter()
        .filter_map(|method| method["method"].as_str())
        .collect();
    assert_eq!(names, ["cs-flow", "gaussian", "knn"]);
    let html = fs::read_to_string(path("report.html")).expect("it was written");
    let means: Vec<String> = methods
        .iter()
        .zip(0..)
        .map(|(method, place)| {
            let own = |category: &str| {
                let rows = &report["categories"][category]["comparison"]["rows"];
                rows[place as usize]["image_auroc"]
                    .as_f64()
                    .expect("a number")
            };
            let mean = method["mean"].as_f64().expect("a number");
            assert_eq!(method["image_auroc"]["gear"], own("gear"));
            assert_eq!(mean, (own("flange") + own("gear")) / 2.0);
            format!("{mean:.4}")
        })
        .collect();
    let row = said.lines().rfind(|line| line.starts_with("mean"));
    let printed: Vec<&str> = row.expect("a mean").split_whitespace().skip(1).collect();
    assert_eq!(printed, means);
    let cells = format!("<td>{}</td>", means.join("</td><td>"));
    assert!(html.contains(&cells), "{cells}");
}
