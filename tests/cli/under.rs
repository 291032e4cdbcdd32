//! `flawd evaluate --under`: pictures that are changed before they are scored.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, data, flawd, json};

/// The report of an evaluation, what it printed, and its page.
fn evaluate(more: &[&str]) -> (Value, String, String) {
    let folder = TempDir::new().expect("a temporary folder");
    let (report, page) = (folder.path().join("a.json"), folder.path().join("a.html"));
    let mut arguments = arguments!["evaluate", bundle(), data()].to_vec();
    arguments.extend(more.iter().map(Into::into));
    arguments.extend(arguments!["--json", &report, "--html", &page]);
    let stdout = flawd(arguments).succeeded().stdout;
    let page = fs::read_to_string(page).expect("it was written");
    (json(&report), stdout, page)
}

#[test]
fn every_picture_is_changed_and_all_results_say_so() {
    let (plain, stdout, page) = evaluate(&[]);
    assert_eq!(plain.get("under"), None);
    assert!(!stdout.contains("changed before") && !page.contains("changed before"));

    let (changed, stdout, page) = evaluate(&["--under", "noise=5%, light=-10%"]);
    let said = "light=-10%,noise=5%";
    assert_eq!(changed["under"], said);
    assert!(
        stdout.contains(&format!("under          {said}")),
        "{stdout}"
    );
    assert!(page.contains(said) && page.contains("changed before it was scored"));
    // The files are the originals, and every one of them scores otherwise.
    assert_eq!(changed["files"], plain["files"]);
    assert_eq!(changed["masks"], plain["masks"]);
    let rows = |report: &Value| report["images"].as_array().expect("a list").clone();
    let (before, after) = (rows(&plain), rows(&changed));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["path"], after["path"]);
        assert_ne!(before["score"], after["score"], "{after}");
    }

    let (again, ..) = evaluate(&["--under", "noise=5%,light=-10%"]);
    assert_eq!(again["images"], changed["images"]);
}

#[test]
fn changes_of_nothing_give_the_same_numbers() {
    let (mut plain, ..) = evaluate(&[]);
    let (same, ..) = evaluate(&["--under", "turn=0,zoom=0%,shift=0,light=0%,blur=0,noise=0%"]);
    plain["under"] = same["under"].clone();
    assert_eq!(plain, same);
}

#[test]
fn a_mask_moves_with_its_picture() {
    let (plain, ..) = evaluate(&[]);
    let (moved, ..) = evaluate(&["--under", "shift=16:-8"]);
    assert_eq!(moved["masks"], plain["masks"]);
    let pixels = |report: &Value| report["pixel_auroc"].as_f64().expect("there are masks");
    // A mask that stays behind does not cover the defect any longer.
    assert!(
        pixels(&moved) > pixels(&plain) - 0.05,
        "{} {}",
        pixels(&moved),
        pixels(&plain)
    );
}

#[test]
fn metrics_of_changed_pictures_are_neither_recorded_nor_compared() {
    let copy = copy_of_bundle();
    let before = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    for other in [&["--record"][..], &["--compare", "knn"]] {
        let mut arguments =
            arguments!["evaluate", copy.path(), data(), "--under", "noise=2%"].to_vec();
        arguments.extend(other.iter().map(Into::into));
        flawd(arguments).failed(64, &["--under", other[0]]);
    }
    let after = fs::read(copy.path().join("bundle.toml")).expect("it is there");
    assert_eq!(before, after);
}

#[test]
fn what_is_not_a_change_is_named_with_its_remedy() {
    for (changes, words) in [
        ("nois=2%", "did you mean `noise`?"),
        ("noise=2", "noise=2%"),
        ("light=-60%", "from -50% to 50%"),
        ("turn=1,turn=2", "twice"),
    ] {
        flawd(arguments!["evaluate", bundle(), data(), "--under", changes]).failed(64, &[words]);
    }
}
