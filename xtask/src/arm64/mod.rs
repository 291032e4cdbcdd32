//! `cargo xtask arm64`: the whole program for arm64, built on x86-64, for a C library as old as that
//! of JetPack 6.

mod emulator;
mod line;
mod test;

use std::path::{Path, PathBuf};

use crate::process::Step;
use crate::{onnxruntime, packages, wheels};

pub(crate) use test::run as test;

/// The target, as rustup calls it.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The C library that it is linked for: that of Ubuntu 22.04, on which JetPack 6 is built.
const GLIBC: &str = "2.35";

/// What fetching the linker takes.
const FETCHING: &str = "The linker for arm64 could not be fetched: Python 3 with pip (on Debian: \
                        apt-get install python3-pip) and a network are needed once";

/// The name of the architecture in ONNX Runtime's wheels.
const ARCHITECTURE: &str = "aarch64";

/// Builds the program and fetches ONNX Runtime for it, and prints where both are.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let program = build(root)?;
    let runtime = onnxruntime::with_notices(root, ARCHITECTURE)?;
    println!("{}", program.display());
    println!("{}", runtime.join(onnxruntime::LIBRARY).display());
    Ok(())
}

/// Builds the program for release, after installing what that takes, and returns its path.
pub(crate) fn build(root: &Path) -> Result<PathBuf, String> {
    if std::env::consts::ARCH == ARCHITECTURE {
        return Err("this machine is arm64: `cargo build --release` builds for it".to_owned());
    }
    packages::install(packages::ARM64)?;
    Step::new("rustup", &["target", "add", TARGET])
        .inside(root)
        .run()?;
    let zig = Zig::install(root)?;
    Step::new("cargo", &["zigbuild", "--release", "--locked"])
        .args(&["--package", "flawd", "--target"])
        .args(&[format!("{TARGET}.{GLIBC}")])
        .inside(root)
        .env("PATH", &zig.path)
        .env("CARGO_ZIGBUILD_ZIG_PATH", &zig.program.to_string_lossy())
        // The camera bindings are generated from the target's kernel header, not this machine's.
        .env(
            "BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu",
            "-I/usr/aarch64-linux-gnu/include",
        )
        .run()?;
    Ok(root.join("target").join(TARGET).join("release/flawd"))
}

/// The linker, in `.runtime/zig`.
struct Zig {
    program: PathBuf,
    /// `$PATH` with cargo-zigbuild in it.
    path: String,
}

impl Zig {
    /// Fetches it with pip unless it is there, with its digests checked.
    fn install(root: &Path) -> Result<Self, String> {
        let folder = root.join(".runtime/zig");
        let requirements = root.join("xtask/zig/requirements.txt");
        wheels::install(&requirements, &folder, FETCHING)?;
        let program = folder.join("ziglang/zig");
        let cargo = folder.join("bin/cargo-zigbuild");
        let own = cargo.parent().expect("the program is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(Self {
            program,
            path: format!("{}:{path}", own.display()),
        })
    }
}
