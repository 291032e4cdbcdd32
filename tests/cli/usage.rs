//! Wrong command lines and environments.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, data, flawd};

#[test]
fn a_wrong_command_line_ends_with_64() {
    flawd(["frobnicate"]).failed(64, &["frobnicate"]);
    flawd(arguments![
        "calibrate",
        bundle(),
        data(),
        "--false-reject-rate",
        "1.5"
    ])
    .failed(64, &["1.5", "between 0 and 1"]);
    flawd(["--help"]).succeeded();
}

#[test]
fn a_command_whose_reader_has_gone_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_flawd"))
        .arg("doctor")
        .stdout(writer)
        .output()
        .expect("flawd starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(141), ""));
}

#[test]
fn a_folder_without_images_ends_with_64_and_says_what_is_looked_for() {
    let empty = TempDir::new().expect("a temporary folder");
    for command in ["calibrate", "predict"] {
        flawd(arguments![command, bundle(), empty.path()])
            .failed(64, &["there are no images", "png"]);
    }
    flawd(arguments!["evaluate", bundle(), empty.path()]).failed(64, &["test/good"]);
}

#[test]
fn a_runtime_library_that_is_missing_or_none_is_named_with_the_way_out() {
    let folder = TempDir::new().expect("a temporary folder");
    let missing = folder.path().join("libonnxruntime.so");
    let image = data().join("test/good/000.png");
    let predict = || {
        flawd(arguments![
            "predict",
            bundle(),
            &image,
            "--onnxruntime",
            &missing
        ])
    };
    let name = missing.display().to_string();
    predict().failed(78, &[&name, "xtask"]);
    fs::write(&missing, b"no library").expect("it can be written");
    predict().failed(78, &[&name]);
}

/// Microsoft's builds of ONNX Runtime keep an identifier in the home folder and report their use,
/// unless they are told not to.
#[test]
fn nothing_is_kept_or_reported_behind_the_users_back() {
    let home = TempDir::new().expect("a temporary folder");
    let done = Command::new(env!("CARGO_BIN_EXE_flawd"))
        .args(arguments![
            "predict",
            bundle(),
            data().join("test/good/000.png")
        ])
        .env("HOME", home.path())
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env_remove("XDG_CACHE_HOME")
        .output()
        .expect("the binary was built");
    assert!(done.status.success());
    let left: Vec<_> = fs::read_dir(home.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}
