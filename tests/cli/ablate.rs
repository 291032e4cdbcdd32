//! `flawd ablate`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use flawd_testing::files::copy_folder;
use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Running, backbone, data, flawd, json};

/// An ablation of tiny flows; `more` are flags with their values.
fn ablation(data: &Path, cache: &Path, more: &str) -> Vec<OsString> {
    let mut all: Vec<OsString> =
        arguments!["ablate", data, "--backbone", backbone(), "--cache", cache,].into();
    let settings = "--feature features_s32 --size 128x128 --epochs 1 --hidden 4 --kernels 3,3";
    let words = settings.split_whitespace().chain(more.split_whitespace());
    all.extend(words.map(OsString::from));
    all
}

fn rows(report: &Value, group: &str) -> Vec<Value> {
    let groups = report["groups"].as_array().expect("a list");
    let found = groups.iter().find(|one| one["group"] == group);
    let rows = found.expect("the group")["rows"].as_array();
    rows.expect("a list").clone()
}

#[test]
fn a_table_has_every_variant_with_every_seed_and_a_second_run_trains_nothing() {
    let folder = TempDir::new().expect("a temporary folder");
    let (cache, path) = (
        folder.path().join("cache"),
        folder.path().join("table.json"),
    );
    let mut arguments = ablation(data(), &cache, "--only scales,fusion,baselines --seeds 2");
    arguments.extend(arguments!["--json", &path]);
    let finished = flawd(&arguments).succeeded();
    // 5 of scales and 2 more of fusion; of the baselines 4 without a seed and 2 with one.
    assert!(finished.stderr.contains("[22/22]"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("kept"), "{}", finished.stderr);
    let report = json(&path);

    let (scales, fusion) = (rows(&report, "scales"), rows(&report, "fusion"));
    assert_eq!((scales.len(), fusion.len()), (5, 3));
    let is_base = |row: &&Value| row["is_base"] == true;
    let base = scales.iter().find(is_base).expect("the flow itself");
    assert_eq!(base["runs"], fusion[0]["runs"], "it is trained once");
    let parameters = |row: &Value| row["parameters"].as_u64().expect("a number");
    assert!(
        parameters(&fusion[0]) > parameters(&fusion[1]),
        "links cost"
    );
    assert_eq!(parameters(&fusion[1]), 3 * parameters(&scales[0]));
    for row in scales.iter().chain(&fusion) {
        let runs = row["runs"].as_array().expect("a list");
        let seeds: Vec<_> = runs.iter().map(|run| run["seed"].as_u64()).collect();
        assert_eq!(seeds, [Some(1), Some(2)]);
        let aurocs: Vec<f64> = runs
            .iter()
            .map(|run| run["image_auroc"].as_f64().expect("a number"))
            .collect();
        let mean = row["image_auroc"]["mean"].as_f64().expect("a number");
        assert!(
            (mean - (aurocs[0] + aurocs[1]) / 2.0).abs() < 1e-12,
            "{row}"
        );
    }
    let runs = |row: &Value| row["runs"].as_array().expect("a list").len();
    let counts: Vec<usize> = rows(&report, "baselines").iter().map(runs).collect();
    assert_eq!(counts, [1, 1, 1, 1, 2, 2]);

    let again = flawd(&arguments).succeeded();
    let kept = |line: &&str| line.ends_with("kept");
    assert_eq!(again.stderr.lines().filter(kept).count(), 22);
    assert_eq!(again.stdout, finished.stdout);
    assert_eq!(json(&path), report);
}

#[test]
fn an_interrupted_ablation_goes_on_with_the_next_variant() {
    let folder = TempDir::new().expect("a temporary folder");
    let cache = folder.path().join("cache");
    let start = || Running::start(ablation(data(), &cache, "--only blocks --seeds 100"));
    let mut running = start();
    running.says("[2/600] blocks: 2, seed 1");
    running.interrupt();

    let mut running = start();
    let finished = running.lines().filter(|line| line.starts_with('['));
    let first: Vec<String> = finished.take(2).collect();
    assert!(first.iter().all(|line| line.ends_with("kept")), "{first:?}");
    running.kill();
}

#[test]
fn good_test_images_alone_tell_nothing_apart() {
    let folder = TempDir::new().expect("a temporary folder");
    let only_good = folder.path().join("data");
    for part in ["train/good", "test/good"] {
        copy_folder(&data().join(part), &only_good.join(part));
    }
    flawd(ablation(&only_good, &folder.path().join("cache"), "")).failed(64, &["one kind only"]);
}

#[test]
fn a_finished_run_that_is_damaged_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let cache = folder.path().join("cache");
    flawd(ablation(data(), &cache, "--only kernel")).succeeded();
    for file in fs::read_dir(cache.join("ablations")).expect("it is there") {
        fs::write(file.expect("it is there").path(), "{").expect("writable");
    }
    let said = ["the finished run", ".json is damaged", "--fresh"];
    flawd(ablation(data(), &cache, "--only kernel")).failed(1, &said);
    flawd(ablation(data(), &cache, "--only kernel --fresh")).succeeded();
}
