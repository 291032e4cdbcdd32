//! The provider `openvino`, which runs on any x86-64 processor: scores and verdicts are those of the
//! processor's own provider, and what is compiled is kept and used again.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, bundle, data, flawd, flawd_in};

/// The folder with ONNX Runtime's build with OpenVINO; `None`, said, where `cargo xtask test` has
/// not put it.
fn openvino() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".runtime/openvino");
    if !folder.exists() {
        println!("absent: ONNX Runtime with OpenVINO, which `cargo xtask test` fetches on x86-64");
        return None;
    }
    Some(folder)
}

fn with_openvino(runtime: &Path, arguments: &[std::ffi::OsString]) -> Finished {
    flawd_in(arguments, |command| {
        command.env("FLAWD_ONNXRUNTIME", runtime);
    })
}

fn configuration(folder: &Path, openvino: &str) -> PathBuf {
    let path = folder.join("flawd.toml");
    let text = format!(
        "[station]\nname = \"s\"\n[inference]\nbundle = \"{}\"\nproviders = [\"openvino\"]\n\
         [inference.openvino]\ncache = \"engines\"\n{openvino}\n[camera.top.synthetic]\n",
        bundle().display()
    );
    fs::write(&path, text).expect("it can be written");
    path
}

/// The rows of `flawd predict --json` for every picture of the test set.
fn predicted(finished: Finished) -> Vec<Value> {
    let stdout = finished.succeeded().stdout;
    let row = |line: &str| serde_json::from_str(line).expect("each line is JSON");
    stdout.lines().map(row).collect()
}

#[test]
fn scores_and_verdicts_are_those_of_the_processors_own_provider() {
    let Some(runtime) = openvino() else { return };
    let kinds = fs::read_dir(data().join("test")).expect("it is a folder");
    let folders = kinds.map(|kind| kind.expect("listed").path().into_os_string());
    let mut arguments = Vec::from(arguments!["predict", bundle(), "--json"]);
    arguments.extend(folders);
    let expected = predicted(flawd(&arguments));
    arguments.extend(arguments!["--provider", "openvino"]);
    let found = predicted(with_openvino(&runtime, &arguments));
    assert_eq!(found.len(), expected.len());
    let mut rejected = 0;
    for (found, expected) in found.iter().zip(&expected) {
        let path = &expected["path"];
        assert_eq!(&found["path"], path);
        assert_eq!(found["verdict"], expected["verdict"], "{path}");
        rejected += u32::from(expected["verdict"] == "ng");
        let score = |row: &Value| row["score"].as_f64().expect("a number");
        let (found, expected) = (score(found), score(expected));
        let difference = (found - expected).abs() / expected.abs();
        assert!(difference < 1e-4, "{path}: {found}, {expected}");
    }
    assert!(rejected > 0, "the pictures of defects are told apart");
}

#[test]
fn what_is_compiled_is_kept_for_its_settings_and_compiled_again_once_it_is_damaged() {
    let Some(runtime) = openvino() else { return };
    let folder = TempDir::new().expect("a temporary folder");
    let build = |settings: &str| {
        let configuration = configuration(folder.path(), settings);
        let arguments = arguments!["model", "engine", "-c", &configuration];
        with_openvino(&runtime, &arguments).succeeded().stdout
    };
    let first = build("");
    for part in ["engine        built in", "OpenVINO", "processor", "golden"] {
        assert!(first.contains(part), "`{part}` is not in:\n{first}");
    }
    assert!(build("").contains("engine        was there"));
    let another = build("precision = \"f16\"");
    assert!(another.contains("engine        built in"), "{another}");
    assert!(
        another.contains("precision is f32 there and f16 here"),
        "{another}"
    );

    for engine in fs::read_dir(folder.path().join("engines")).expect("it was made") {
        for file in fs::read_dir(engine.expect("listed").path()).expect("it is a folder") {
            let file = file.expect("listed").path();
            if file
                .extension()
                .is_some_and(|extension| extension == "blob")
            {
                fs::write(&file, "no model").expect("it can be written");
            }
        }
    }
    assert!(build("").contains("engine        built in"));
}

#[test]
fn a_device_that_is_not_there_or_none_at_all_is_refused_by_its_name() {
    let Some(runtime) = openvino() else { return };
    let folder = TempDir::new().expect("a temporary folder");
    for (settings, said) in [
        (
            "device = \"XPU\"",
            &["openvino.device", "`XPU`", "GPU.1"][..],
        ),
        ("device = \"AUTO\"", &["openvino.device", "`AUTO`"]),
        ("precision = \"int8\"", &["openvino.precision", "`int8`"]),
        ("device = \"NPU\"", &["`openvino` cannot be used", "NPU"]),
    ] {
        let configuration = configuration(folder.path(), settings);
        let arguments = arguments!["model", "engine", "-c", &configuration];
        with_openvino(&runtime, &arguments).failed(78, said);
    }
}
