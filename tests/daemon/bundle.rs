//! A real bundle that takes seconds to make: synthetic parts, the built-in filter bank, a very
//! small flow, trained by `flawd train` itself.

use std::path::Path;
use std::sync::OnceLock;

use flawd::bundle::Bundle;
use flawd::bundle::scorer::Scorer;
use flawd::synthetic::dataset::{DatasetOptions, write_dataset};
use flawd_core::image::Size;
use flawd_onnx::filter_bank::filter_bank;
use flawd_onnx::{Runtime, SessionOptions};
use flawd_testing::bundles::{Bundles, Trained};
use flawd_testing::cache::Kept;

/// The pictures, and what trains bundles on them.
fn made() -> &'static (Bundles, Kept) {
    static MADE: OnceLock<(Bundles, Kept)> = OnceLock::new();
    MADE.get_or_init(|| {
        let runtime = Runtime::load(None).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemon");
        let program = Path::new(env!("CARGO_BIN_EXE_flawd"));
        let bundles = Bundles::new(folder, program, runtime.library());
        let options = DatasetOptions {
            size: Size::new(96, 96),
            seed: 5,
            train_good: 60,
            test_good: 6,
            test_each_defect: 1,
        };
        let images = bundles.pictures("images", &format!("{options:?}"), |folder| {
            write_dataset(folder, &options).unwrap();
        });
        (bundles, images)
    })
}

fn train(name: &str, settings: &str) -> Trained {
    let (bundles, images) = made();
    bundles.train(name, images, &filter_bank(), settings)
}

/// Where the tests' pictures lie, in the layout of MVTec AD: `test/good`, `test/<defect>`.
pub(crate) fn images() -> &'static Path {
    made().1.path()
}

/// The bundle's folder.
pub(crate) fn path() -> &'static Path {
    static BUNDLE: OnceLock<Trained> = OnceLock::new();
    let settings = "--feature features_s16 --size 64x64 --epochs 6 --hidden 16";
    BUNDLE.get_or_init(|| train("bundle", settings)).path()
}

/// The folder of a bundle whose model takes larger pictures.
pub(crate) fn larger() -> &'static Path {
    static LARGER: OnceLock<Trained> = OnceLock::new();
    let settings = "--feature features_s16 --size 64x128 --epochs 1 --hidden 8";
    LARGER.get_or_init(|| train("larger", settings)).path()
}

/// The folder of a second bundle, with another model and another kind of map.
pub(crate) fn other() -> &'static Path {
    static OTHER: OnceLock<Trained> = OnceLock::new();
    let settings = "--feature features_s16 --size 64x64 --epochs 1 --hidden 8 --map product";
    OTHER.get_or_init(|| train("other", settings)).path()
}

/// Scores pictures in this process, with the bundle of the tests.
pub(crate) fn scorer() -> (Bundle, Scorer) {
    let bundle = Bundle::open(path()).unwrap();
    let runtime = Runtime::load(None).unwrap();
    let scorer = Scorer::open(&bundle, runtime.with(&SessionOptions::default())).unwrap();
    (bundle, scorer)
}
