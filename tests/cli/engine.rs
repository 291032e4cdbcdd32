//! `flawd model engine` on a machine without TensorRT: what is refused and why, and what is
//! removed.

use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, flawd};

/// An engine of the tests' bundle that was built on another machine.
fn stale_engine(cache: &Path) -> PathBuf {
    let model = Bundle::open(bundle())
        .expect("it opens")
        .manifest()
        .model
        .digest;
    let folder = cache.join(format!("{}-{}", &model.hex()[..16], "0".repeat(16)));
    fs::create_dir_all(&folder).expect("it can be made");
    let record = format!(
        "[key]\nmodel = \"{model}\"\nfp16 = true\ndevice = 0\n[key.machine]\n\
         onnxruntime = \"1.0.0\"\ntensorrt = \"8.6.1\"\ndriver = \"535.0\"\ngpu = \"NVIDIA T4\"\n\
         [files]\n"
    );
    fs::write(folder.join("engine.toml"), record).expect("it can be written");
    folder
}

fn configuration(folder: &Path, inference: &str) -> PathBuf {
    let path = folder.join("flawd.toml");
    let text = format!(
        "[station]\nname = \"s\"\n[inference]\nbundle = \"{}\"\n{inference}\n\
         [camera.top.synthetic]\n",
        bundle().display()
    );
    fs::write(&path, text).expect("it can be written");
    path
}

#[test]
fn without_tensorrt_the_provider_is_named_with_cause_and_way_out_and_nothing_is_left() {
    let folder = TempDir::new().expect("a temporary folder");
    let cache = folder.path().join("engines");
    let configuration = configuration(
        folder.path(),
        "providers = [\"tensorrt\"]\n[inference.tensorrt]\ncache = \"engines\"",
    );
    for arguments in [
        &arguments!["model", "engine", bundle(), "--cache", &cache][..],
        &arguments!["model", "engine", "-c", &configuration],
        &arguments!["model", "engine", bundle(), "-c", &configuration],
    ] {
        let failed = flawd(arguments).failed(
            78,
            &[
                "`tensorrt` cannot be used",
                "not enabled in this build",
                "install what it needs, or list another provider",
            ],
        );
        assert!(
            failed.stdout.contains("GPU           unknown"),
            "{}",
            failed.stdout
        );
        let left: Vec<_> = fs::read_dir(&cache).expect("it was made").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn engines_that_are_of_no_use_are_listed_and_removed_where_that_is_asked_for() {
    let cache = TempDir::new().expect("a temporary folder");
    let stale = stale_engine(cache.path());
    let foreign = cache.path().join("notes");
    fs::create_dir(&foreign).expect("it can be made");
    let reason = "TensorRT is 8.6.1 there and unknown here";
    let list = arguments!["model", "engine", bundle(), "--cache", cache.path()];
    let listed = flawd(&list).failed(78, &[]).stdout;
    assert!(
        listed.contains("of no use") && listed.contains(reason),
        "{listed}"
    );
    assert!(stale.exists());
    let prune = [&list[..], &arguments!["--prune"]].concat();
    let pruned = flawd(prune).failed(78, &[]).stdout;
    assert!(
        pruned.contains("removed") && pruned.contains(reason),
        "{pruned}"
    );
    assert!(!stale.exists() && foreign.exists());
}

#[test]
fn a_configuration_without_tensorrt_has_no_engines() {
    let folder = TempDir::new().expect("a temporary folder");
    let configuration = configuration(folder.path(), "");
    flawd(arguments!["model", "engine", "-c", &configuration])
        .failed(78, &["flawd.toml", "neither `tensorrt` nor `openvino`"]);
    flawd(arguments!["model", "engine", bundle(), "--provider", "cpu"])
        .failed(78, &["list neither `tensorrt` nor `openvino`"]);
}

#[test]
fn what_contradicts_itself_is_wrong_usage() {
    flawd(["model", "engine"]).failed(64, &["--config"]);
    flawd(arguments![
        "model",
        "engine",
        "-c",
        "flawd.toml",
        "--cache",
        "engines"
    ])
    .failed(64, &["--cache"]);
    flawd(arguments![
        "model",
        "engine",
        bundle(),
        "--memory-limit",
        "0"
    ])
    .failed(64, &["--memory-limit"]);
    for setting in [&["--no-fp16"][..], &["--device", "1"]] {
        let engine = arguments!["model", "engine", bundle(), "--provider", "openvino"];
        let settings = setting.iter().map(std::ffi::OsString::from);
        flawd(engine.into_iter().chain(settings)).failed(64, &["not for openvino", "--config"]);
    }
}

#[test]
fn a_damaged_bundle_is_refused_before_anything_is_built() {
    let copy = copy_of_bundle();
    fs::write(copy.path().join("model.onnx"), "no model").expect("it can be written");
    let cache = TempDir::new().expect("a temporary folder");
    let failed = flawd(arguments![
        "model",
        "engine",
        copy.path(),
        "--cache",
        cache.path()
    ]);
    failed.failed(78, &["model.onnx", "damaged"]);
}
