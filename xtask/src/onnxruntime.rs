//! ONNX Runtime's shared library, taken out of wheels on PyPI.
//!
//! pip downloads the wheel and checks its digest (`onnxruntime/*.txt`); the library is unpacked to
//! `.runtime/onnxruntime/`, where flawd looks for it, and its own digest is checked each time. The
//! build with OpenVINO goes to `.runtime/openvino/`, for the tests that need it. Nothing is
//! installed into a Python.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{at, sha256};
use crate::process::Step;

/// The library of the build for processors.
pub(crate) const LIBRARY: &str = "libonnxruntime.so.1.32.0";

/// What has to accompany the library if it is passed on.
pub(crate) const NOTICES: [&str; 2] = ["LICENSE", "ThirdPartyNotices.txt"];

/// What is taken out of a wheel.
struct Wheel {
    /// What it gives, for messages.
    name: &'static str,
    /// The file below `xtask/onnxruntime` that pins it.
    requirements: &'static str,
    /// The folder below `.runtime`.
    folder: &'static str,
    /// ONNX Runtime's library in it.
    library: &'static str,
    /// SHA-256 of the library, by architecture.
    digests: &'static [(&'static str, &'static str)],
    /// The other files that it needs beside it.
    others: &'static [&'static str],
}

/// The build for processors.
const DEFAULT: Wheel = Wheel {
    name: "ONNX Runtime",
    requirements: "requirements.txt",
    folder: "onnxruntime",
    library: LIBRARY,
    digests: &[
        (
            "x86_64",
            "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
        ),
        (
            "aarch64",
            "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
        ),
    ],
    others: &[],
};

/// The build with OpenVINO, as far as the processor needs it.
const OPENVINO: Wheel = Wheel {
    name: "ONNX Runtime with OpenVINO",
    requirements: "openvino.txt",
    folder: "openvino",
    library: "libonnxruntime.so.1.24.1",
    digests: &[(
        "x86_64",
        "2d963a419b96018b79dfe63bb50120ddcb724149912a8a6d8ac747a557c089f4",
    )],
    others: &[
        "libonnxruntime_providers_openvino.so",
        "libonnxruntime_providers_shared.so",
        "libopenvino.so.2541",
        "libopenvino_intel_cpu_plugin.so",
        "libopenvino_onnx_frontend.so.2541",
        "libtbb.so.12",
    ],
};

/// Unpacks members of a wheel: `python3 -c UNPACK WHEEL FOLDER MEMBER…`.
const UNPACK: &str = "\
import shutil, sys, zipfile
wheel, folder, *names = sys.argv[1:]
with zipfile.ZipFile(wheel) as members:
    for name in names:
        target = folder + '/' + name.split('/')[-1]
        with members.open('onnxruntime/' + name) as source, open(target, 'wb') as copy:
            shutil.copyfileobj(source, copy)";

/// Puts the library into `.runtime/onnxruntime/` unless the right one is there.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    DEFAULT.install(root, std::env::consts::ARCH, DEFAULT.folder, &[])?;
    Ok(())
}

/// Returns a folder with the library of an architecture and its [`NOTICES`], for a package.
pub(crate) fn with_notices(root: &Path, architecture: &str) -> Result<PathBuf, String> {
    let folder = format!("onnxruntime-{architecture}");
    DEFAULT.install(root, architecture, &folder, &NOTICES)
}

/// Puts the build with OpenVINO into `.runtime/openvino/`. Where there is none for this
/// architecture, the tests that need it say that they are absent.
pub(crate) fn install_openvino(root: &Path) -> Result<(), String> {
    let architecture = std::env::consts::ARCH;
    if OPENVINO.digest(architecture).is_some() {
        OPENVINO.install(root, architecture, OPENVINO.folder, &[])?;
    }
    Ok(())
}

impl Wheel {
    /// Returns the library's digest; `None` if there is no build for this architecture.
    fn digest(&self, architecture: &str) -> Option<&'static str> {
        let mut digests = self.digests.iter();
        digests
            .find(|(name, _)| *name == architecture && cfg!(target_os = "linux"))
            .map(|(_, digest)| *digest)
    }

    /// Puts the library, what it needs and these notices into this folder below `.runtime` unless
    /// they are there, and returns the folder.
    fn install(
        &self,
        root: &Path,
        architecture: &str,
        folder: &str,
        notices: &[&str],
    ) -> Result<PathBuf, String> {
        let digest = self.digest(architecture).ok_or_else(|| {
            format!(
                "there is no pinned {} for {architecture} {}; name a library of your own in \
                 FLAWD_ONNXRUNTIME",
                self.name,
                std::env::consts::OS
            )
        })?;
        let folder = root.join(".runtime").join(folder);
        let library = folder.join(self.library);
        let has_notices = notices.iter().all(|notice| folder.join(notice).exists());
        if has_notices && library.exists() && sha256(&library)? == digest {
            return Ok(folder);
        }
        let scratch = Scratch::new(&folder)?;
        let wheel = self.download(root, architecture, &scratch.0)?;
        // The library comes last: it says that the others are there.
        let names = notices.iter().chain(self.others).chain([&self.library]);
        let libraries = self.others.iter().chain([&self.library]);
        let members = libraries.map(|name| format!("capi/{name}"));
        let members = members.chain(notices.iter().map(|name| (*name).to_owned()));
        Step::new("python3", &["-c", UNPACK])
            .args(&[wheel.to_string_lossy(), scratch.0.to_string_lossy()])
            .args(&members.collect::<Vec<_>>())
            .answer()
            .ok_or_else(|| format!("{} lacks a part of {}", wheel.display(), self.name))?;
        let found = sha256(&scratch.0.join(self.library))?;
        if found != digest {
            return Err(format!(
                "{} has the SHA-256 {found}, expected is {digest}",
                self.library
            ));
        }
        for name in names {
            fs::rename(scratch.0.join(name), folder.join(name))
                .map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
        }
        Ok(folder)
    }

    /// Fetches the wheel for this architecture, with its digest checked by pip.
    fn download(&self, root: &Path, architecture: &str, into: &Path) -> Result<PathBuf, String> {
        let (name, library, folder) = (self.name, self.library, self.folder);
        let pip = ["-m", "pip"];
        if Step::new("python3", &pip)
            .args(&["--version"])
            .answer()
            .is_none()
        {
            return Err(format!(
                "Python 3 with pip is needed to fetch {name} (on Debian: apt-get install \
                 python3-pip). Or put {library} into .runtime/{folder}/ yourself"
            ));
        }
        let requirements = root.join("xtask/onnxruntime").join(self.requirements);
        let platform = format!("manylinux_2_28_{architecture}");
        Step::new("python3", &pip)
            .args(&["download", "--quiet", "--no-deps", "--require-hashes"])
            .args(&["--only-binary=:all:", "--implementation", "cp"])
            .args(&["--python-version", "3.11", "--abi", "cp311"])
            .args(&["--platform", &platform])
            .args(&["--requirement", &requirements.to_string_lossy()])
            .args(&["--dest", &into.to_string_lossy()])
            .run()
            .map_err(|error| {
                format!(
                    "{error}. {name} could not be fetched: without a network, copy {library} into \
                     .runtime/{folder}/ from a machine that has it"
                )
            })?;
        let entries = fs::read_dir(into).map_err(at(into))?;
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| format!("pip left no wheel in {}", into.display()))
    }
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
    fn a_wheel_and_its_library_are_of_one_version_and_pinned_for_every_architecture() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnxruntime");
        for wheel in [DEFAULT, OPENVINO] {
            let requirements = fs::read_to_string(folder.join(wheel.requirements)).unwrap();
            let version = wheel.library.trim_start_matches("libonnxruntime.so.");
            assert!(requirements.contains(&format!("=={version}")));
            assert_eq!(
                requirements.matches("--hash=sha256:").count(),
                wheel.digests.len()
            );
            assert!(wheel.digests.iter().all(|(_, digest)| digest.len() == 64));
        }
    }
}
