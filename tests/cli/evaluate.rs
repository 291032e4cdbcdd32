//! `flawd evaluate`.

use std::fs;

use flawd::files::digest::sha256;
use flawd::synthetic::DefectKind;
use flawd_core::evaluation::{Ranking, Rate};
use flawd_testing::files::copy_folder;
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{TEST_EACH_DEFECT, TEST_GOOD, bundle, copy_of_bundle, data, flawd, json};

/// The scores of a report's images that are good, or of one kind, or with any defect.
fn scores(report: &Value, wanted: impl Fn(&str) -> bool) -> Vec<f32> {
    let images = report["images"].as_array().expect("a list").iter();
    images
        .filter(|image| wanted(image["kind"].as_str().expect("a name")))
        .map(|image| image["score"].as_f64().expect("a number") as f32)
        .collect()
}

#[test]
fn the_report_holds_what_its_own_image_scores_give() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("deep/report.json");
    flawd(arguments!["evaluate", bundle(), data(), "--json", &path]).succeeded();
    let report = json(&path);
    let threshold = report["threshold"].as_f64().expect("a number") as f32;
    let good = scores(&report, |kind| kind == "good");
    assert_eq!(good.len(), TEST_GOOD);

    let check = |metrics: &Value, defect: &[f32]| {
        let ranking = Ranking::new(&good, defect).expect("both kinds");
        let false_rejects = Rate::false_rejects(&good, threshold).expect("good ones");
        let escapes = Rate::escapes(defect, threshold).expect("defects");
        for (name, expected) in [
            ("image_auroc", ranking.auroc()),
            ("image_ap", ranking.average_precision()),
            ("f1_max", ranking.f1_max().f1),
            ("false_reject_rate", false_rejects.value()),
            ("escape_rate", escapes.value()),
        ] {
            let actual = metrics[name].as_f64().expect("a number");
            // The reader of JSON may be off in the last place.
            assert!(
                (actual - expected).abs() < 1e-12,
                "{name}: {actual} {expected}"
            );
        }
        for (name, expected) in [
            ("good", TEST_GOOD),
            ("false_rejects", false_rejects.count()),
            ("defect", defect.len()),
            ("escapes", escapes.count()),
        ] {
            assert_eq!(metrics["counts"][name], expected, "{name}");
        }
        for name in ["pixel_auroc", "aupro", "aupro_error"] {
            let pixels = metrics[name].as_f64().expect("there are masks");
            assert!((0.0..=1.0).contains(&pixels), "{name}: {pixels}");
        }
    };
    check(&report, &scores(&report, |kind| kind != "good"));
    for kind in DefectKind::ALL {
        let defect = scores(&report, |other| other == kind.name());
        assert_eq!(defect.len(), TEST_EACH_DEFECT);
        check(&report["defect_types"][kind.name()], &defect);
    }
    for image in report["images"].as_array().expect("a list") {
        let above = image["score"].as_f64().expect("a number") as f32 > threshold;
        assert_eq!(image["verdict"], if above { "ng" } else { "ok" });
    }
}

/// A row has the path as text, and rows have the order of the folders: good parts, then the kinds.
#[test]
fn every_image_has_its_row_in_the_order_of_the_folder() {
    let folder = TempDir::new().expect("a temporary folder");
    for (from, to) in [
        ("good/001.png", "good/b.png"),
        ("good/000.png", "good/a.png"),
        ("stain/000.png", "zinc/a.png"),
        ("scratch/000.png", "crack/ä.png"),
    ] {
        let target = folder.path().join("test").join(to);
        fs::create_dir_all(target.parent().expect("it has one")).expect("it can be made");
        fs::copy(data().join("test").join(from), target).expect("it can be copied");
    }
    let path = folder.path().join("report.json");
    let arguments = arguments!["evaluate", bundle(), folder.path(), "--json", &path];
    flawd(arguments).succeeded();
    let report = json(&path);
    let rows = report["images"].as_array().expect("a list");
    let named: Vec<_> = rows
        .iter()
        .map(|row| [&row["path"], &row["kind"]])
        .collect();
    assert_eq!(
        named,
        [
            ["test/good/a.png", "good"],
            ["test/good/b.png", "good"],
            ["test/crack/ä.png", "crack"],
            ["test/zinc/a.png", "zinc"],
        ]
    );
    for row in rows {
        let keys: Vec<_> = row.as_object().expect("a row").keys().collect();
        assert_eq!(keys, ["kind", "p_value", "path", "score", "verdict"]);
        let p_value = row["p_value"].as_f64().expect("a number");
        assert!(0.0 < p_value && p_value <= 1.0, "{row}");
    }
}

#[test]
fn an_image_that_is_damaged_is_named_counted_and_left_out() {
    let folder = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test"), &folder.path().join("test"));
    let cut = folder.path().join("test/good/000.png");
    let whole = fs::read(&cut).expect("it is there");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("it can be written");
    fs::write(folder.path().join("test/good/empty.jpg"), b"").expect("it can be written");

    let report = folder.path().join("report.json");
    let finished = flawd(arguments![
        "evaluate",
        bundle(),
        folder.path(),
        "--json",
        &report
    ])
    .succeeded()
    .said(&["test/good/000.png", "test/good/empty.jpg"]);
    assert!(
        finished.stdout.contains("skipped        2"),
        "{}",
        finished.stdout
    );
    let report = json(&report);
    assert_eq!(report["counts"]["good"], TEST_GOOD - 1);
    let skipped = report["skipped"].as_array().expect("a list");
    let paths: Vec<_> = skipped.iter().map(|row| row["path"].as_str()).collect();
    assert_eq!(
        paths,
        [Some("test/good/000.png"), Some("test/good/empty.jpg")]
    );
    assert_eq!(report["pixel_auroc"], Value::Null, "there are no masks");
    assert_eq!(report["aupro"], Value::Null, "there are no masks");
}

#[test]
fn images_none_of_which_can_be_scored_are_a_failure() {
    let folder = TempDir::new().expect("a temporary folder");
    let good = folder.path().join("test/good");
    fs::create_dir_all(&good).expect("it can be made");
    fs::write(good.join("a.png"), b"no image").expect("it can be written");
    flawd(arguments!["evaluate", bundle(), folder.path()])
        .failed(1, &["a.png", "none of the 1 images"]);
}

#[test]
fn good_images_alone_have_rates_and_no_ranking() {
    let folder = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), &folder.path().join("test/good"));
    let path = folder.path().join("report.json");
    flawd(arguments![
        "evaluate",
        bundle(),
        folder.path(),
        "--json",
        &path
    ])
    .succeeded();
    let report = json(&path);
    assert_eq!(report["image_auroc"], Value::Null);
    assert_eq!(report["escape_rate"], Value::Null);
    assert!(report["false_reject_rate"].is_number());
}

#[test]
fn an_overlay_is_written_for_every_image() {
    let folder = TempDir::new().expect("a temporary folder");
    let out = folder.path().join("overlays");
    flawd(arguments!["evaluate", bundle(), data(), "--out", &out]).succeeded();
    for image in ["good/000.png", "good/011.png", "scratch/001.png"] {
        let overlay =
            flawd::pictures::decode::decode_file(&out.join(image), None).expect("it was written");
        let original = flawd::pictures::decode::decode_file(&data().join("test").join(image), None);
        assert_eq!(overlay.size(), original.expect("it is there").size());
    }
}

#[test]
fn heatmaps_that_would_overwrite_the_pictures_are_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let good = folder.path().join("data/test/good");
    fs::create_dir_all(&good).expect("it can be made");
    let picture = good.join("000.png");
    fs::write(&picture, "not opened").expect("it is writable");
    for out in ["data/test", "data/train/../test"] {
        fs::create_dir_all(folder.path().join("data/train")).expect("it can be made");
        let out = folder.path().join(out);
        let data = folder.path().join("data");
        flawd(arguments!["evaluate", bundle(), &data, "--out", &out])
            .failed(64, &["would overwrite the image"]);
    }
    assert_eq!(fs::read(&picture).expect("it is there"), b"not opened");
}

#[test]
fn a_place_where_nothing_can_be_written_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, b"").expect("it can be written");
    let report = file.join("report.json");
    flawd(arguments!["evaluate", bundle(), data(), "--json", &report])
        .failed(1, &["cannot write", "file/report.json"]);
    flawd(arguments!["evaluate", bundle(), data(), "--out", &file]).failed(
        1,
        &["cannot make the folder", "file/ for heatmaps", "--out"],
    );
}

#[test]
fn metrics_are_recorded_in_the_bundle_where_that_is_asked() {
    let copy = copy_of_bundle();
    flawd(arguments!["evaluate", copy.path(), data(), "--record"]).succeeded();
    let inspected = flawd(arguments!["model", "inspect", copy.path()]).succeeded();
    assert!(
        inspected.stdout.contains("12 good and"),
        "{}",
        inspected.stdout
    );
}

/// The list of files is what `sha256sum` prints, so that its digest can be reproduced.
#[test]
fn the_digest_of_the_files_is_that_of_their_list() {
    let folder = TempDir::new().expect("a temporary folder");
    for file in [
        "test/good/000.png",
        "test/stain/000.png",
        "test/stain/001.png",
        "ground_truth/stain/000_mask.png",
    ] {
        let target = folder.path().join(file);
        fs::create_dir_all(target.parent().expect("it has one")).expect("it can be made");
        fs::copy(data().join(file), target).expect("it can be copied");
    }
    let mut list = String::new();
    for file in [
        "test/good/000.png",
        "test/stain/000.png",
        "ground_truth/stain/000_mask.png",
        "test/stain/001.png",
    ] {
        let bytes = fs::read(folder.path().join(file)).expect("it is there");
        list += &format!("{}  {file}\n", sha256(&bytes).hex());
    }
    let path = folder.path().join("report.json");
    let arguments = arguments!["evaluate", bundle(), folder.path(), "--json", &path];
    flawd(arguments).succeeded();
    assert_eq!(json(&path)["files"], sha256(list.as_bytes()).to_string());
}

#[test]
fn whether_the_promise_was_kept_is_measured_where_there_are_enough_scores() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("report.json");
    let evaluate = |seed: &str| {
        let arguments = arguments![
            "evaluate",
            bundle(),
            data(),
            "--json",
            &path,
            "--splits",
            "20",
            "--seed",
            seed
        ];
        (flawd(arguments).succeeded().stdout, json(&path))
    };
    let (stdout, report) = evaluate("1");
    let rows = report["kept_promise"].as_array().expect("a list");
    let promised: Vec<_> = rows.iter().map(|row| row["promised"].as_f64()).collect();
    // 10 scores of the calibration and 12 of good images: half of them can promise 10 %.
    assert_eq!(promised, [Some(0.05), Some(0.01), Some(0.1)]);
    let too_few = rows[0]["too_few"].as_str().expect("a reason");
    assert!(too_few.contains("at least 19"), "{too_few}");
    assert!(stdout.contains(too_few), "{stdout}");
    let kept = &rows[2]["measured"];
    let sizes = ["splits", "calibration", "test"].map(|name| kept[name].as_u64());
    assert_eq!(sizes, [Some(20), Some(11), Some(11)]);
    let mean = kept["mean"].as_f64().expect("a number");
    let ends: Vec<f64> = serde_json::from_value(kept["interval"].clone()).expect("two numbers");
    assert!(ends[0] <= mean && mean <= ends[1], "{kept}");
    assert!(stdout.contains("20 splits of 22 good scores"), "{stdout}");

    assert_eq!(evaluate("1").1["kept_promise"], report["kept_promise"]);
    assert_ne!(evaluate("2").1["kept_promise"], report["kept_promise"]);
    flawd(arguments!["evaluate", bundle(), data(), "--splits", "3"]).failed(64, &["from 10"]);
}

#[test]
fn golden_inputs_are_scored_and_images_that_trained_the_model_are_counted() {
    let folder = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), &folder.path().join("test/good"));
    let list = fs::read_to_string(bundle().join("training-files.txt")).expect("it is there");
    let names = list
        .lines()
        .map(|line| line.split_once(' ').expect("a name").1);
    let mut files = names.filter(|name| !name.starts_with("pixels of "));
    let trained_on = files.next().expect("a file");
    fs::copy(trained_on, folder.path().join("test/good/known.png")).expect("it can be copied");
    // The same pixels in other bytes.
    let trained_on = image::open(files.next().expect("a file")).expect("an image");
    let other = folder.path().join("test/good/other.bmp");
    trained_on.save(other).expect("it can be written");
    let path = folder.path().join("report.json");
    let arguments = arguments!["evaluate", bundle(), folder.path(), "--json", &path];
    let stdout = flawd(arguments).succeeded().stdout;
    let report = json(&path);
    assert_eq!(report["seen_in_training"], 2);
    assert_eq!(report["scored_in_calibration"], 0);
    assert!(!stdout.contains("if they are the same"), "{stdout}");
    assert!(
        stdout.contains("2 of the images trained the model"),
        "{stdout}"
    );
    let golden = report["golden"].as_array().expect("a list");
    assert!(!golden.is_empty());
    for golden in golden {
        assert_eq!(golden["reproduced"], true, "{golden}");
        assert_eq!(golden["score"], golden["expected"], "the same machine");
    }
}
