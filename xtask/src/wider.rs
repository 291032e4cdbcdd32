//! Checks that take another compiler, another target or a network: the workflows run them beside
//! `cargo xtask test`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::at;
use crate::process::Step;

/// The target of the boards that flawd is meant for.
const BOARD: &str = "aarch64-unknown-linux-gnu";

/// Compiles everything with the oldest compiler that Cargo.toml claims to support.
pub(crate) fn msrv(root: &Path) -> Result<(), String> {
    let manifest = root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .ok_or("Cargo.toml has no rust-version")?
        .trim_matches('"');
    toolchain(version)?;
    with(
        version,
        &["check", "--workspace", "--all-targets", "--locked"],
    )
    .inside(root)
    .env("CARGO_TARGET_DIR", "target/msrv")
    .run()
}

/// Compiles the program without its camera source, and checks that nothing of it is left.
pub(crate) fn without_cameras(root: &Path) -> Result<(), String> {
    let this = ["--package", "flawd", "--no-default-features", "--locked"];
    let tree = Step::new(
        "cargo",
        &["tree", "--edges", "normal,build", "--prefix", "none"],
    )
    .args(&this)
    .inside(root)
    .answer()
    .ok_or("cargo tree fails")?;
    for name in ["clang-sys", "v4l2-sys", "nokhwa"] {
        if let Some(line) = tree.lines().find(|line| line.starts_with(name)) {
            return Err(format!("{line} is needed without the feature v4l2"));
        }
    }
    Step::new("cargo", &["check"])
        .args(&this)
        .inside(root)
        .env("CARGO_TARGET_DIR", "target/without-cameras")
        .run()
}

/// Compiles everything for the boards.
pub(crate) fn aarch64(root: &Path) -> Result<(), String> {
    Step::new("rustup", &["target", "add", BOARD])
        .inside(root)
        .run()?;
    let config = ["--config", "cross/aarch64.toml", "--target", BOARD];
    Step::new("cargo", &["check", "--workspace", "--locked"])
        .args(&config)
        .inside(root)
        .run()
}

/// Checks every dependency against the database of advisories.
pub(crate) fn advisories(root: &Path) -> Result<(), String> {
    Step::new("cargo", &["deny", "check", "advisories"])
        .inside(root)
        .run()
}

/// Compiles everything with the oldest versions of our dependencies that Cargo.toml allows.
pub(crate) fn minimal_versions(root: &Path) -> Result<(), String> {
    toolchain("nightly")?;
    let _lock = Kept::file(&root.join("Cargo.lock"))?;
    with("nightly", &["update", "-Zdirect-minimal-versions"])
        .inside(root)
        .run()?;
    Step::new("cargo", &["check", "--workspace", "--all-targets"])
        .inside(root)
        .env("CARGO_TARGET_DIR", "target/minimal-versions")
        .run()
}

/// Installs a missing toolchain.
fn toolchain(name: &str) -> Result<(), String> {
    if Step::new("rustup", &["run", name, "rustc", "--version"])
        .answer()
        .is_some()
    {
        return Ok(());
    }
    Step::new(
        "rustup",
        &["toolchain", "install", name, "--profile", "minimal"],
    )
    .run()
}

/// cargo of that toolchain, whichever one runs this program.
fn with(toolchain: &str, arguments: &[&str]) -> Step {
    Step::new("rustup", &["run", toolchain, "cargo"]).args(arguments)
}

/// A file that is restored when this is dropped.
struct Kept {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Kept {
    fn file(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(at(path))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.bytes) {
            eprintln!("xtask: {} is not what it was: {error}", self.path.display());
        }
    }
}
