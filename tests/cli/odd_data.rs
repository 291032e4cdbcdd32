//! Data sets as found in practice: masks in other forms, folders with other names, files that are
//! not pictures, names that are not text. What is meant is found, and what is not used is reported.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use flawd::synthetic::DefectKind;
use flawd_testing::files::copy_folder;
use image::{DynamicImage, ImageFormat, Luma, Rgba, imageops};
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Running, TEST_EACH_DEFECT, TEST_GOOD, bundle, data, flawd, json};

/// A copy of what an evaluation reads.
fn copy_of_data() -> TempDir {
    let copy = TempDir::new().expect("a temporary folder");
    for part in ["test", "ground_truth"] {
        copy_folder(&data().join(part), &copy.path().join(part));
    }
    copy
}

/// The report of an evaluation, and what it printed.
fn evaluated(folder: &Path, more: &[&str]) -> (Value, String) {
    let report = TempDir::new().expect("a temporary folder");
    let report = report.path().join("report.json");
    let mut arguments = Vec::from(arguments!["evaluate", bundle(), folder, "--json", &report]);
    arguments.extend(more.iter().map(Into::into));
    let finished = flawd(arguments).succeeded();
    (json(&report), finished.stdout + &finished.stderr)
}

/// Everything that is said about pixels, overall and by kind.
fn pixels(report: &Value) -> Vec<f64> {
    let kinds = report["defect_types"].as_object().expect("kinds").values();
    let all = std::iter::once(report).chain(kinds);
    let numbers = |metrics: &Value| {
        ["pixel_auroc", "aupro"].map(|name| metrics[name].as_f64().expect("a number"))
    };
    all.flat_map(numbers).collect()
}

/// Writes each mask again: `number` counts them from 0, `stem` is `000`.
fn rewrite(folder: &Path, write: impl Fn(usize, &Path, &str, DynamicImage)) {
    let mut number = 0;
    for kind in DefectKind::ALL {
        let masks = folder.join("ground_truth").join(kind.name());
        for stem in (0..TEST_EACH_DEFECT).map(|stem| format!("{stem:03}")) {
            let path = masks.join(format!("{stem}_mask.png"));
            let mask = image::open(&path).expect("it is a mask");
            fs::remove_file(&path).expect("removable");
            write(number, &masks, &stem, mask);
            number += 1;
        }
    }
}

/// The same marks, saved in another way each.
fn save_otherwise(number: usize, masks: &Path, stem: &str, mask: DynamicImage) {
    let mask = mask.into_luma8();
    let save = |image: &DynamicImage, name: String, format: ImageFormat| {
        let path = masks.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        image.save_with_format(path, format).expect("writable");
    };
    let mapped = |level: fn(u8) -> u8| -> DynamicImage {
        let mut mask = mask.clone();
        mask.pixels_mut()
            .for_each(|pixel| *pixel = Luma([level(pixel[0])]));
        mask.into()
    };
    let coloured = |colour: fn(u8) -> Rgba<u8>| -> DynamicImage {
        let mut image = image::RgbaImage::new(mask.width(), mask.height());
        let pixels = image.pixels_mut().zip(mask.pixels());
        pixels.for_each(|(pixel, mask)| *pixel = colour(mask[0]));
        image.into()
    };
    match number % 8 {
        0 => save(
            &mapped(|x| x / 255),
            format!("{stem}_mask.png"),
            ImageFormat::Png,
        ),
        1 => {
            let blue = coloured(|x| Rgba([0, 0, x, 255])).into_rgb8();
            save(&blue.into(), format!("{stem}_mask.PNG"), ImageFormat::Png);
        }
        2 => save(&mapped(|x| x), format!("{stem}_mask.bmp"), ImageFormat::Bmp),
        3 => save(&mapped(|x| x / 2), format!("{stem}.png"), ImageFormat::Png),
        4 => {
            let painted = coloured(|x| Rgba([9, 200, 7, x]));
            save(&painted, format!("{stem}_mask.png"), ImageFormat::Png);
        }
        5 => save(
            &mapped(|x| x / 100),
            format!("{stem}/000.png"),
            ImageFormat::Png,
        ),
        6 => {
            let (width, height) = (3 * mask.width(), 3 * mask.height());
            let large = imageops::resize(&mask, width, height, imageops::FilterType::Nearest);
            save(&large.into(), format!("{stem}_gt.tif"), ImageFormat::Tiff);
        }
        // Two halves in two files.
        _ => {
            let middle = mask.width() / 2;
            for half in 0..2 {
                let mut own = mask.clone();
                for (x, _, pixel) in own.enumerate_pixels_mut() {
                    if u32::from(x >= middle) != half {
                        *pixel = Luma([0]);
                    }
                }
                save(&own.into(), format!("{stem}/{half}.png"), ImageFormat::Png);
            }
        }
    }
}

#[test]
fn masks_in_any_of_the_usual_forms_give_the_same_numbers() {
    let (expected, said) = evaluated(data(), &[]);
    let defects = DefectKind::ALL.len() * TEST_EACH_DEFECT;
    assert_eq!(expected["masks"]["used"], defects);
    assert!(
        said.contains(&format!("{defects} of {defects} defects have one")),
        "{said}"
    );
    for shift in 0..8 {
        let copy = copy_of_data();
        rewrite(copy.path(), |number, masks, stem, mask| {
            save_otherwise(number + shift, masks, stem, mask);
        });
        let (report, said) = evaluated(copy.path(), &[]);
        assert_eq!(
            report["skipped"].as_array().expect("a list").len(),
            0,
            "{said}"
        );
        assert_eq!(report["masks"]["used"], defects, "shift {shift}: {said}");
        assert_eq!(pixels(&report), pixels(&expected), "shift {shift}");
    }
}

#[test]
fn doubtful_masks_are_refused_by_name_and_the_count_says_how_many_are_left() {
    let copy = copy_of_data();
    rewrite(copy.path(), |number, masks, stem, mask| {
        let mask = mask.into_luma8();
        let path = masks.join(format!("{stem}_mask.png"));
        match number {
            // Nothing is marked.
            0 => image::GrayImage::new(mask.width(), mask.height()).save(path),
            // Other proportions.
            1 => image::GrayImage::new(mask.width(), mask.width()).save(path),
            // The picture itself.
            2 => {
                let folder = masks.file_name().expect("a kind");
                let image = data().join("test").join(folder).join(format!("{stem}.png"));
                fs::copy(image, path).map(drop).map_err(Into::into)
            }
            _ => mask.save(path),
        }
        .expect("writable");
    });
    let (report, said) = evaluated(copy.path(), &[]);
    let defects = DefectKind::ALL.len() * TEST_EACH_DEFECT;
    assert_eq!(report["counts"]["defect"], defects, "all are scored");
    assert_eq!(report["masks"]["used"], defects - 3);
    let skipped = report["skipped"].as_array().expect("a list").iter();
    let errors: Vec<&str> = skipped.filter_map(|row| row["error"].as_str()).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for why in [
        "black all over",
        "not the same proportions",
        "no black pixel",
    ] {
        assert!(errors.iter().any(|error| error.contains(why)), "{errors:?}");
    }
    let used = defects - 3;
    assert!(
        said.contains(&format!("{used} of {defects} defects have one")),
        "{said}"
    );
}

#[test]
fn inverted_masks_are_called_so() {
    let copy = copy_of_data();
    rewrite(copy.path(), |_, masks, stem, mask| {
        let mut mask = mask.into_luma8();
        imageops::invert(&mut mask);
        mask.save(masks.join(format!("{stem}_mask.png")))
            .expect("writable");
    });
    let (report, said) = evaluated(copy.path(), &[]);
    assert_eq!(report["masks"]["used"], report["masks"]["mostly_marked"]);
    assert!(said.contains("invert them"), "{said}");
}

#[test]
fn a_folder_that_is_called_like_good_is_no_kind_of_defect() {
    for name in ["ok", "Good", "OK", "normal"] {
        let copy = copy_of_data();
        let test = copy.path().join("test");
        fs::rename(test.join("good"), test.join(name)).expect("it is there");
        let arguments = arguments!["evaluate", bundle(), copy.path()];
        flawd(arguments).failed(64, &[&format!("test/{name}"), "--good NAME"]);
        let (report, _) = evaluated(copy.path(), &["--good", name]);
        assert_eq!(report["counts"]["good"], TEST_GOOD);
        assert_eq!(report["defect_types"][name], Value::Null);
        assert!(
            report["images"][0]["path"]
                .as_str()
                .expect("a path")
                .contains(name)
        );
    }
}

#[test]
fn without_good_parts_that_is_said() {
    let copy = copy_of_data();
    fs::remove_dir_all(copy.path().join("test/good")).expect("it is there");
    let (report, said) = evaluated(copy.path(), &[]);
    assert_eq!(report["image_auroc"], Value::Null);
    assert!(said.contains("nothing is said of false rejects"), "{said}");
}

#[test]
fn what_an_evaluation_does_not_use_is_named_with_its_number() {
    let copy = copy_of_data();
    let test = copy.path().join("test");
    let picture = test.join("good/000.png");
    for (folder, names) in [
        ("", &["a.png", "b.png"][..]),
        ("crack", &["x.png.tmp", "y.gif", "z.gif"]),
        ("crack/more", &["x.png"]),
    ] {
        fs::create_dir_all(test.join(folder)).expect("writable");
        for name in names {
            fs::copy(&picture, test.join(folder).join(name)).expect("writable");
        }
    }
    let (report, said) = evaluated(copy.path(), &[]);
    let left_out = report["left_out"].as_array().expect("a list");
    let seen: Vec<(&str, u64)> = left_out
        .iter()
        .map(|row| {
            let path = row["path"].as_str().expect("a path");
            (path, row["files"].as_u64().expect("a number"))
        })
        .collect();
    assert_eq!(
        seen,
        [("test", 2), ("test/crack", 3), ("test/crack/more", 1)]
    );
    for part in ["2 .gif, 1 .tmp", "2 files of", "not used       6 files"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Names that are not text, as an archive from another system leaves them.
fn with_odd_names(folder: &Path) {
    for name in [&b"gut_\xe4.png"[..], b"gut_\xe5.png"] {
        let good = folder.join("test/good");
        fs::copy(good.join("000.png"), good.join(OsStr::from_bytes(name))).expect("writable");
    }
    let kind = folder.join("test").join(OsStr::from_bytes(b"ri\xdf"));
    copy_folder(&folder.join("test/scratch"), &kind);
}

#[test]
fn names_that_are_no_text_lose_no_evaluation() {
    let copy = copy_of_data();
    with_odd_names(copy.path());
    let place = TempDir::new().expect("a temporary folder");
    let (page, maps) = (place.path().join("page.html"), place.path().join("maps"));
    let arguments = [
        "--html",
        page.to_str().unwrap(),
        "--out",
        maps.to_str().unwrap(),
    ];
    let (report, _) = evaluated(copy.path(), &arguments);
    assert_eq!(report["counts"]["good"], TEST_GOOD + 2);
    let paths: Vec<_> = report["images"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    let paths: Vec<_> = paths
        .iter()
        .filter_map(|row| row["path"].as_str())
        .collect();
    for name in [
        "test/good/gut_\\xe4.png",
        "test/good/gut_\\xe5.png",
        "test/ri\\xdf/000.png",
    ] {
        assert!(paths.contains(&name), "{paths:?}");
    }
    let page = fs::read_to_string(page).expect("it is text");
    assert!(page.contains("ri\\xdf"));
}

#[test]
fn names_that_are_no_text_stop_no_prediction() {
    let copy = copy_of_data();
    with_odd_names(copy.path());
    let good = copy.path().join("test/good");
    let predicted = flawd(arguments!["predict", bundle(), &good, "--json"]).succeeded();
    let lines: Vec<&str> = predicted.stdout.lines().collect();
    assert_eq!(lines.len(), TEST_GOOD + 2);
    assert!(
        lines[TEST_GOOD].contains(r"gut_\\xe4.png"),
        "{}",
        lines[TEST_GOOD]
    );
}

/// A data set from elsewhere may have any names, and what is printed may reach a terminal.
#[test]
fn names_with_control_characters_reach_no_terminal() {
    let copy = copy_of_data();
    let good = copy.path().join("test/good");
    for name in ["\u{1b}[31m.png", "new\nline.png"] {
        fs::copy(good.join("000.png"), good.join(name)).expect("writable");
    }
    fs::write(good.join("broken\u{1b}]0;title\u{7}.png"), b"").expect("writable");
    let kind = copy.path().join("test/kind\u{1b}[2J");
    copy_folder(&copy.path().join("test/scratch"), &kind);
    let none = copy.path().join("none\u{1b}[2J");
    let has_control = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');

    let predicted = flawd(arguments!["predict", bundle(), &good]);
    assert_eq!(predicted.code, 1);
    let rows = predicted.stdout.lines().count();
    assert_eq!(rows, 1 + TEST_GOOD + 2, "{}", predicted.stdout);
    let evaluated = flawd(arguments!["evaluate", bundle(), copy.path()]).succeeded();
    let refused = flawd(arguments!["evaluate", bundle(), none]);
    for (finished, named) in [
        (predicted, r"new\nline.png"),
        (evaluated, r"kind\u{1b}[2J"),
        (refused, r"none\u{1b}[2J"),
    ] {
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains(named), "{named} is not in:\n{said}");
        assert!(!has_control(&said), "{said:?}");
    }
}

/// A path that was mistyped, or completed by the shell.
#[test]
fn an_output_takes_the_place_of_no_picture_no_model_and_no_weights() {
    let copy = copy_of_data();
    let own = TempDir::new().expect("a temporary folder");
    copy_folder(bundle(), own.path());
    let picture = copy.path().join("test/good/000.png");
    let model = own.path().join("model.onnx");
    let weights = copy.path().join("weights.safetensors");
    let source = "crates/onnx/tests/data/efficientnet-torchvision/weights.safetensors";
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(source), &weights).expect("there is space");
    let evaluate = |flag: &str, output: &Path| {
        arguments!["evaluate", own.path(), copy.path(), flag, output].to_vec()
    };
    let build = arguments![
        "backbone",
        "build",
        "--weights",
        &weights,
        "--out",
        &weights
    ];
    for (arguments, file) in [
        (evaluate("--json", &picture), &picture),
        (evaluate("--html", &model), &model),
        (
            [&build[..], &arguments!["--padding", "torchvision"]].concat(),
            &weights,
        ),
    ] {
        let before = fs::read(file).expect("it is there");
        let said = ["so it is not overwritten", file.to_str().expect("text")];
        flawd(arguments).failed(1, &said);
        assert!(fs::read(file).expect("it is there") == before);
    }
    let report = copy.path().join("report");
    let both = [
        &evaluate("--json", &report)[..],
        &arguments!["--html", &report],
    ]
    .concat();
    flawd(both).failed(64, &["two outputs would both be"]);
    // An earlier report is replaced.
    for _ in 0..2 {
        flawd(evaluate("--json", &report)).succeeded();
    }
}

#[test]
fn the_folder_that_is_wrong_is_the_one_that_is_blamed() {
    let none = TempDir::new().expect("a temporary folder");
    let bundles = none.path().join("bundles");
    fs::create_dir(&bundles).expect("writable");
    for wrong in [&bundles, &none.path().join("nosuch")] {
        let said = [wrong.to_str().expect("text"), "not a bundle"];
        flawd(arguments!["evaluate", wrong, none.path()]).failed(78, &said);
    }
    let nowhere = none.path().join("nowhere");
    let said = ["cannot list the folder", nowhere.to_str().expect("text")];
    flawd(arguments!["evaluate", bundle(), &nowhere]).failed(64, &said);
    let above = data().parent().expect("it has one");
    flawd(arguments!["evaluate", bundle(), above]).failed(64, &["there is one in", "data"]);
    let copy = copy_of_data();
    let arguments = arguments!["evaluate", bundle(), copy.path(), "--compare", "knn"];
    let said = ["train/good, which is not there", "has no folder `train`"];
    flawd(arguments).failed(64, &said);
}

/// Twenty files that are not pictures, before all others, so that there are lines to wait for.
fn with_broken_ones(folder: &Path) {
    for number in 0..20 {
        fs::write(folder.join(format!("000_{number:02}.png")), b"").expect("writable");
    }
}

#[test]
fn a_picture_that_vanishes_meanwhile_is_named_and_the_rest_is_finished() {
    let copy = copy_of_data();
    let good = copy.path().join("test/good");
    with_broken_ones(&good);
    let gone = copy.path().join("test/stain/001.png");
    let report = copy.path().join("report.json");
    let arguments = arguments!["evaluate", bundle(), copy.path(), "--json", &report];
    let mut running = Running::start(arguments);
    running.says("skipped");
    fs::remove_file(&gone).expect("it was listed and is not read yet");
    let said: Vec<String> = running.lines().collect();
    assert!(
        said.iter().any(|line| line.contains("stain/001.png")),
        "{said:?}"
    );
    let report = json(&report);
    let skipped = report["skipped"].as_array().expect("a list");
    assert_eq!(skipped.len(), 21);
    let defects = DefectKind::ALL.len() * TEST_EACH_DEFECT;
    assert_eq!(report["counts"]["defect"], defects - 1);
}

#[test]
fn a_category_that_fails_loses_no_other_one() {
    let place = TempDir::new().expect("a temporary folder");
    let path = |name: &str| place.path().join(name);
    for folder in ["bundles", "images/gear/test/good"] {
        fs::create_dir_all(path(folder)).expect("writable");
    }
    for name in ["flange", "gear"] {
        symlink(bundle(), path("bundles").join(name)).expect("it can be made");
    }
    symlink(data(), path("images/flange")).expect("it can be made");
    fs::write(path("images/gear/test/good/a.png"), b"no image").expect("writable");
    let report = path("report.json");
    let (bundles, images) = (path("bundles"), path("images"));
    let arguments = arguments!["evaluate", bundles, images, "--json", &report];
    let finished = flawd(arguments).failed(1, &["failed gear: none of the 1 images"]);
    assert!(finished.stdout.contains("flange "), "{}", finished.stdout);
    assert_eq!(
        json(&report)["categories"]["flange"]["counts"]["good"],
        TEST_GOOD
    );
}
