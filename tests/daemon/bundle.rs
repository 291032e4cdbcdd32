//! A real bundle that takes seconds to make: synthetic parts, the built-in filter bank, a very
//! small flow, trained by `flawd train` itself. It is made once for all tests of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flawd::bundle::Bundle;
use flawd::bundle::scorer::Scorer;
use flawd::synthetic::dataset::{DatasetOptions, write_dataset};
use flawd_core::image::Size;
use flawd_onnx::filter_bank::filter_bank;
use flawd_onnx::{Runtime, SessionOptions};

use crate::station::{errors, flawd};

/// Where the tests' pictures lie, in the layout of MVTec AD: `test/good`, `test/<defect>`.
pub(crate) fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let folder = fresh_folder("images");
        let options = DatasetOptions {
            size: Size::new(96, 96),
            seed: 5,
            train_good: 60,
            test_good: 6,
            test_each_defect: 1,
        };
        write_dataset(&folder, &options).unwrap();
        folder
    })
}

/// The bundle's folder.
pub(crate) fn path() -> &'static Path {
    static BUNDLE: OnceLock<PathBuf> = OnceLock::new();
    BUNDLE.get_or_init(|| train("bundle", "128x128", &["--epochs", "6", "--hidden", "16"]))
}

/// The folder of a bundle whose model takes larger pictures.
pub(crate) fn larger() -> &'static Path {
    static LARGER: OnceLock<PathBuf> = OnceLock::new();
    LARGER.get_or_init(|| train("larger", "128x256", &["--epochs", "1", "--hidden", "8"]))
}

/// The folder of a second bundle, with another model and another kind of map.
pub(crate) fn other() -> &'static Path {
    static OTHER: OnceLock<PathBuf> = OnceLock::new();
    OTHER.get_or_init(|| {
        train(
            "other",
            "128x128",
            &["--epochs", "1", "--hidden", "8", "--map", "product"],
        )
    })
}

fn train(name: &str, size: &str, settings: &[&str]) -> PathBuf {
    let folder = fresh_folder(name);
    let backbone = folder.join("filters.onnx");
    fs::write(&backbone, filter_bank()).unwrap();
    let bundle = folder.join("tiny");
    let output = flawd()
        .arg("train")
        .arg(images())
        .arg("--backbone")
        .arg(&backbone)
        .arg("--out")
        .arg(&bundle)
        .arg("--cache")
        .arg(folder.join("cache"))
        .args(["--feature", "features_s32", "--size", size])
        .args(["--kernels", "3,3", "--false-reject-rate", "0.1"])
        .args(settings)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    bundle
}

/// Scores pictures in this process, with the bundle of the tests.
pub(crate) fn scorer() -> (Bundle, Scorer) {
    let bundle = Bundle::open(path()).unwrap();
    let runtime = Runtime::load(None).unwrap();
    let scorer = Scorer::open(&bundle, runtime.with(&SessionOptions::default())).unwrap();
    (bundle, scorer)
}

/// A folder of this process; what earlier ones left behind is removed.
fn fresh_folder(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemon");
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            // Another process may be doing the same at this moment.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    let folder = all.join(std::process::id().to_string()).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
