//! The demo as a user runs it: the program, in a folder, with an exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flawd"))
        .arg("demo")
        .args(arguments)
        .output()
        .expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).expect("the folder was made").count()
}

#[test]
fn the_demo_finds_defects_and_gives_every_part_one_verdict() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("demo");
    let output = demo(&[
        "--out",
        &out.to_string_lossy(),
        "--parts",
        "40",
        "--rate",
        "20",
    ]);
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    let log = fs::read_to_string(out.join("daemon.log")).unwrap_or_default();
    assert!(
        output.status.success(),
        "{said}\n{complained}\ndaemon:\n{log}"
    );
    assert_eq!(
        said.lines().filter(|line| line.contains(" score ")).count(),
        40,
        "{said}"
    );
    assert!(said.contains("promise: a good part is rejected with a probability of at most 0.02"));
    assert!(said.contains("verdicts               40"), "{said}");
    assert!(count(&out.join("heatmaps")) >= 3, "{said}");
    assert!(log.contains("Stopped"), "{log}");
}

#[test]
fn a_folder_that_holds_other_things_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("thesis.txt"), "mine").expect("it is writable");
    let output = demo(&["--out", &folder.path().to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    let complained = text(&output.stderr);
    assert!(
        complained.contains("holds other things; give an empty folder"),
        "{complained}"
    );
    assert_eq!(count(folder.path()), 1);
}

#[test]
fn the_configuration_of_a_station_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("flawd.toml");
    fs::write(&config, "[station]\nname = \"press-3\"\n").expect("it is writable");
    let output = demo(&["--out", &folder.path().to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let kept = fs::read_to_string(&config).expect("it is readable");
    assert_eq!(kept, "[station]\nname = \"press-3\"\n");
}

#[test]
fn a_line_can_be_written_as_a_data_set() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = demo(&["--write", &folder.path().to_string_lossy(), "--seed", "5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(count(&folder.path().join("train/good")), 500);
    assert_eq!(count(&folder.path().join("test")), 6);
    assert_eq!(count(&folder.path().join("ground_truth/chip")), 20);
}
