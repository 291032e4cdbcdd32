//! `flawd model`, and bundles that are not what they should be.

use std::fs;
use std::path::Path;

use flawd::bundle::Bundle;
use flawd::files::digest::sha256_file;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, data, flawd};

fn change_manifest(bundle: &Path, change: impl Fn(&str) -> String) {
    let path = bundle.join("bundle.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let changed = change(&text);
    assert_ne!(changed, text, "nothing was changed");
    fs::write(&path, changed).expect("it can be written");
}

#[test]
fn a_fresh_bundle_verifies_and_says_where_it_comes_from() {
    let verified = flawd(arguments!["model", "verify", bundle()]).succeeded();
    assert!(
        verified.stdout.ends_with("ok on cpu\n"),
        "{}",
        verified.stdout
    );
    let inspected = flawd(arguments!["model", "inspect", bundle()])
        .succeeded()
        .stdout;
    for part in [
        "tiny 1.0.0",
        "filters.onnx",
        "40 images, 4 epochs",
        "sha256:",
        "at most 0.1",
        "good part shows any region",
        "mean luma",
        "from 10 good images",
    ] {
        assert!(inspected.contains(part), "`{part}` is not in:\n{inspected}");
    }
}

#[test]
fn a_model_that_is_cut_short_is_named_with_both_digests() {
    let copy = copy_of_bundle();
    let model = copy.path().join("model.onnx");
    let expected = sha256_file(&model).expect("it is there").to_string();
    let whole = fs::read(&model).expect("it is there");
    fs::write(&model, &whole[..whole.len() / 2]).expect("it can be written");
    let actual = sha256_file(&model).expect("it is there").to_string();
    let image = data().join("test/good/000.png");
    for arguments in [
        &arguments!["model", "inspect", copy.path()][..],
        &arguments!["predict", copy.path(), &image],
        &arguments!["evaluate", copy.path(), data()],
    ] {
        flawd(arguments).failed(78, &["model.onnx", &expected, &actual]);
    }
    // The same file under a manifest that says it is right is refused by the runtime.
    change_manifest(copy.path(), |text| text.replace(&expected, &actual));
    flawd(arguments!["model", "verify", copy.path()]).failed(78, &["model.onnx", "cut short"]);
}

#[test]
fn a_manifest_with_an_unknown_key_or_a_newer_format_is_refused() {
    let copy = copy_of_bundle();
    change_manifest(copy.path(), |text| text.replace("epochs = ", "epoks = "));
    flawd(arguments!["model", "inspect", copy.path()])
        .failed(78, &["bundle.toml", "epoks", "line"]);
    change_manifest(copy.path(), |text| text.replace("format = 1", "format = 9"));
    flawd(arguments!["model", "inspect", copy.path()]).failed(78, &["format 9", "update flawd"]);
}

#[test]
fn a_folder_that_is_no_bundle_is_said_to_be_none() {
    flawd(arguments!["model", "inspect", data()]).failed(78, &["is not a bundle"]);
}

#[test]
fn golden_scores_that_are_not_reproduced_are_named_with_both_scores() {
    let copy = copy_of_bundle();
    let golden = Bundle::open(copy.path())
        .expect("it opens")
        .manifest()
        .golden[0]
        .clone();
    let score = format!("score = {}", golden.score);
    change_manifest(copy.path(), |text| {
        text.replace(&score, &format!("score = {}", golden.score * 1.5))
    });
    flawd(arguments!["model", "verify", copy.path()])
        .failed(78, &[&golden.file, "cannot be trusted"]);
}
