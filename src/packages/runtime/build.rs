//! The known builds of ONNX Runtime: published files with their digests.

use std::fmt;

use crate::packages::{PinnedWheel, digest};

/// What a build can run models on, besides the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing else.
    Cpu,
    /// Intel's processors, GPUs and NPUs through OpenVINO.
    OpenVino,
    /// NVIDIA's GPUs.
    Cuda,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::OpenVino, Self::Cuda];

    /// Returns the name in commands and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A published build for one kind of machine.
#[derive(Clone, Debug)]
pub struct Build {
    /// What it runs models on.
    pub kind: Kind,
    /// The machine's architecture, as [`std::env::consts::ARCH`].
    pub machine: &'static str,
    /// Its file. The library in it is the same for every Python.
    pub wheel: PinnedWheel,
    /// The size of the download in MB.
    pub megabytes: u32,
    /// What has to be on the machine besides, if anything.
    pub needs: Option<&'static str>,
}

const X86_64: &[&str] = &[
    "--implementation",
    "cp",
    "--python-version",
    "3.11",
    "--abi",
    "cp311",
    "--platform",
    "manylinux_2_28_x86_64",
];

const AARCH64: &[&str] = &[
    "--implementation",
    "cp",
    "--python-version",
    "3.11",
    "--abi",
    "cp311",
    "--platform",
    "manylinux_2_28_aarch64",
];

/// The known builds. The first three are those that the tests run with (`xtask/onnxruntime`).
const BUILDS: [Build; 4] = [
    Build {
        kind: Kind::Cpu,
        machine: "x86_64",
        wheel: PinnedWheel {
            name: "onnxruntime",
            version: "1.32.0",
            file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            digest: digest(
                0x5a34fc4dfeb5a7b4a74c95dcba1e773d,
                0x722abda720b474edf1b0c419dc6d163d,
            ),
            tags: X86_64,
        },
        megabytes: 28,
        needs: None,
    },
    Build {
        kind: Kind::Cpu,
        machine: "aarch64",
        wheel: PinnedWheel {
            name: "onnxruntime",
            version: "1.32.0",
            file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
            digest: digest(
                0x2303372a85299b6757b0e11e1cbf13e4,
                0x10ddf7e10c37f4b37e99d1c90e7daf7c,
            ),
            tags: AARCH64,
        },
        megabytes: 23,
        needs: None,
    },
    Build {
        kind: Kind::OpenVino,
        machine: "x86_64",
        wheel: PinnedWheel {
            name: "onnxruntime-openvino",
            version: "1.24.1",
            file: "onnxruntime_openvino-1.24.1-cp311-cp311-manylinux_2_28_x86_64.whl",
            digest: digest(
                0x3007c803634cc69c6d52af1dea7ce729,
                0xd9bb62b9a11070fd2f959119199007a8,
            ),
            tags: X86_64,
        },
        megabytes: 84,
        needs: None,
    },
    Build {
        kind: Kind::Cuda,
        machine: "x86_64",
        wheel: PinnedWheel {
            name: "onnxruntime-gpu",
            version: "1.31.1",
            file: "onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl",
            digest: digest(
                0xe26c475fe361b2015f45b4b824bd13f0,
                0xbb20204e59b62814e6f0acd5f3d491a6,
            ),
            tags: X86_64,
        },
        megabytes: 256,
        // As the package's metadata says.
        needs: Some(
            "CUDA 13 and cuDNN 9 where the system's loader finds them, and an NVIDIA driver",
        ),
    },
];

impl Build {
    /// Returns the build of a kind for this machine, if there is one.
    pub fn of(kind: Kind) -> Option<Self> {
        Self::all().find(|build| build.kind == kind)
    }

    /// Returns the builds for this machine.
    pub fn all() -> impl Iterator<Item = Self> {
        let is_for_this = |build: &Self| build.machine == std::env::consts::ARCH;
        BUILDS.into_iter().filter(is_for_this)
    }

    /// Returns the name of its folder.
    pub fn folder_name(&self) -> String {
        format!("{}-{}", self.kind, self.wheel.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_for_the_machine_that_its_file_names() {
        for build in BUILDS {
            let wheel = &build.wheel;
            // PEP 427: a wheel's name has underscores in place of hyphens.
            let start = format!("{}-{}-", wheel.name.replace('-', "_"), wheel.version);
            assert!(wheel.file.starts_with(&start), "{}", wheel.file);
            let platform = wheel.tags.last().expect("it has tags");
            assert!(
                wheel.file.ends_with(&format!("-{platform}.whl")),
                "{}",
                wheel.file
            );
            assert!(platform.ends_with(build.machine), "{platform}");
        }
    }

    /// What users install is what the tests ran with.
    #[test]
    fn the_builds_of_the_tests_are_those_that_are_installed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/xtask/onnxruntime");
        for (kind, file) in [
            (Kind::Cpu, "requirements.txt"),
            (Kind::OpenVino, "openvino.txt"),
        ] {
            let path = format!("{folder}/{file}");
            let pinned = std::fs::read_to_string(path).expect("it is there");
            for build in BUILDS.iter().filter(|build| build.kind == kind) {
                let digest = format!("--hash=sha256:{}", build.wheel.digest.hex());
                assert!(pinned.contains(&build.wheel.requirement()), "{file}");
                assert!(pinned.contains(&digest), "{file}: {digest}");
            }
        }
    }
}
