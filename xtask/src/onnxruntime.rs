//! ONNX Runtime's shared library, taken out of the wheel on PyPI.
//!
//! pip downloads the wheel and checks its digest (`onnxruntime/requirements.txt`); the library is
//! unpacked to `.runtime/onnxruntime/`, where flawd looks for it, and its own digest is checked
//! each time. Nothing is installed into a Python.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Step;

const LIBRARY: &str = "libonnxruntime.so.1.32.0";

/// SHA-256 of [`LIBRARY`] inside the wheel of each architecture.
const DIGESTS: [(&str, &str); 2] = [
    (
        "x86_64",
        "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    ),
    (
        "aarch64",
        "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ),
];

/// Unpacks one member of a wheel: `python3 -c UNPACK WHEEL MEMBER TARGET`.
const UNPACK: &str = "\
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel).open(member) as source, open(target, 'wb') as copy:
    shutil.copyfileobj(source, copy)";

/// Puts the library into `.runtime/onnxruntime/` unless the right one is there.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    let architecture = std::env::consts::ARCH;
    let digest = DIGESTS
        .iter()
        .find(|(name, _)| *name == architecture && cfg!(target_os = "linux"))
        .map(|(_, digest)| *digest)
        .ok_or_else(|| {
            format!(
                "there is no pinned ONNX Runtime for {architecture} {}; name a library of your \
                 own in FLAWD_ONNXRUNTIME",
                std::env::consts::OS
            )
        })?;
    let folder = root.join(".runtime/onnxruntime");
    let library = folder.join(LIBRARY);
    if library.exists() && sha256(&library)? == digest {
        return Ok(());
    }

    let scratch = Scratch::new(&folder)?;
    let wheel = download(root, architecture, &scratch.0)?;
    let unpacked = scratch.0.join(LIBRARY);
    Step::new("python3", &["-c", UNPACK])
        .args(&[
            wheel.to_string_lossy(),
            format!("onnxruntime/capi/{LIBRARY}").into(),
            unpacked.to_string_lossy(),
        ])
        .answer()
        .ok_or_else(|| format!("{} holds no {LIBRARY}", wheel.display()))?;
    let found = sha256(&unpacked)?;
    if found != digest {
        return Err(format!(
            "{LIBRARY} has the SHA-256 {found}, expected is {digest}"
        ));
    }
    fs::rename(&unpacked, &library)
        .map_err(|error| format!("cannot write {}: {error}", library.display()))
}

/// Fetches the wheel for this architecture, with its digest checked by pip.
fn download(root: &Path, architecture: &str, into: &Path) -> Result<PathBuf, String> {
    if Step::new("python3", &["-m", "pip", "--version"])
        .answer()
        .is_none()
    {
        return Err(format!(
            "Python 3 with pip is needed to fetch ONNX Runtime (on Debian: apt-get install \
             python3-pip). Or put {LIBRARY} into .runtime/onnxruntime/ yourself"
        ));
    }
    let requirements = root.join("xtask/onnxruntime/requirements.txt");
    Step::new(
        "python3",
        &[
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--require-hashes",
        ],
    )
    .args(&[
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        "3.11",
    ])
    .args(&[
        "--abi",
        "cp311",
        "--platform",
        &format!("manylinux_2_28_{architecture}"),
    ])
    .args(&["--requirement", &requirements.to_string_lossy()])
    .args(&["--dest", &into.to_string_lossy()])
    .run()
    .map_err(|error| {
        format!(
            "{error}. ONNX Runtime could not be fetched: without a network, copy {LIBRARY} \
                 into .runtime/onnxruntime/ from a machine that has it"
        )
    })?;
    let entries = fs::read_dir(into).map_err(|error| format!("{}: {error}", into.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("pip left no wheel in {}", into.display()))
}

fn sha256(path: &Path) -> Result<String, String> {
    Step::new("sha256sum", &[&path.to_string_lossy()])
        .answer()
        .and_then(|line| line.split_whitespace().next().map(str::to_owned))
        .ok_or_else(|| format!("sha256sum cannot read {}", path.display()))
}

/// A folder beside the library, so that the last step is a rename; removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(beside: &Path) -> Result<Self, String> {
        let path = beside.join(format!("download-{}", std::process::id()));
        fs::create_dir_all(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("xtask: remove {} by hand: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_and_the_library_are_of_one_version_and_pinned_for_every_architecture() {
        let requirements = include_str!("../onnxruntime/requirements.txt");
        let version = LIBRARY.trim_start_matches("libonnxruntime.so.");
        assert!(requirements.contains(&format!("onnxruntime=={version}")));
        assert_eq!(
            requirements.matches("--hash=sha256:").count(),
            DIGESTS.len()
        );
        assert!(DIGESTS.iter().all(|(_, digest)| digest.len() == 64));
    }

    #[test]
    fn a_digest_is_read_from_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(Path::new("/dev/null")).as_deref(), Ok(empty));
        assert!(sha256(Path::new("/nowhere/at/all")).is_err());
    }
}
