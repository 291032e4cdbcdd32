//! What an engine depends on besides its model: the versions of the underlying software, and what
//! computes. Read from files that exist without any of NVIDIA's tools; what cannot be read is
//! [`UNKNOWN`], never guessed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flawd_onnx::Runtime;
use serde::{Deserialize, Serialize};

/// Stands for what cannot be read.
pub const UNKNOWN: &str = "unknown";

/// Folders in which libraries are found without being configured anywhere.
const LIBRARY_FOLDERS: [&str; 8] = [
    "lib",
    "usr/lib",
    "usr/lib64",
    "usr/local/lib",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/local/tensorrt/lib",
    "usr/local/cuda/lib64",
];

/// The TensorRT library.
const TENSORRT: &str = "libnvinfer.so.";

/// The OpenVINO library.
const OPENVINO: &str = "libopenvino.so.";

/// The machine, as far as engines depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// As far as TensorRT's depend on it.
    pub tensorrt: TensorRtHost,
    /// As far as OpenVINO's depend on it.
    pub openvino: OpenVinoHost,
}

/// What OpenVINO's compiled models depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenVinoHost {
    /// Version and commit of ONNX Runtime.
    pub onnxruntime: String,
    /// Version of OpenVINO; all of them, if several are installed.
    pub openvino: String,
    /// Name of the processor.
    pub processor: String,
}

/// What TensorRT's engines depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRtHost {
    /// Version and commit of ONNX Runtime.
    pub onnxruntime: String,
    /// Version of TensorRT; all of them, if several are installed.
    pub tensorrt: String,
    /// Version of NVIDIA's driver; on a Jetson also of the system that it is a part of.
    pub driver: String,
    /// Name of each GPU, or of the board that has one.
    pub gpu: String,
}

impl Machine {
    /// Reads the properties of this machine.
    pub fn read(runtime: &Runtime) -> Self {
        let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let beside = runtime.library().parent().map(Path::to_owned);
        let folders = std::env::split_paths(&named).chain(beside).collect();
        let onnxruntime = onnxruntime(runtime.library(), runtime.build_info());
        Self::read_below(Path::new("/"), folders, &onnxruntime)
    }

    /// Reads what is below `root`; libraries are also searched for in `folders`.
    fn read_below(root: &Path, folders: Vec<PathBuf>, onnxruntime: &str) -> Self {
        let folders = library_folders(root, folders);
        Self {
            tensorrt: TensorRtHost {
                onnxruntime: onnxruntime.to_owned(),
                tensorrt: joined(versions(TENSORRT, &folders)),
                driver: joined(driver(root)),
                gpu: joined(gpus(root)),
            },
            openvino: OpenVinoHost {
                onnxruntime: onnxruntime.to_owned(),
                openvino: joined(versions(OPENVINO, &folders)),
                processor: joined(processor(root)),
            },
        }
    }
}

fn joined(found: impl IntoIterator<Item = String>) -> String {
    let found: Vec<_> = found.into_iter().collect();
    if found.is_empty() {
        UNKNOWN.to_owned()
    } else {
        found.join(" + ")
    }
}

/// Returns the version at the end of the library's name, and the commit that the library reports.
fn onnxruntime(library: &Path, build_info: &str) -> String {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .split_once(".so.")
        .map(|(_, version)| version.to_owned());
    let commit = build_info
        .split(", ")
        .find_map(|part| part.strip_prefix("git-commit-id="))
        .map(str::to_owned);
    joined(version.into_iter().chain(commit))
}

/// Returns the folders in which the system's loader may find a library, and these.
fn library_folders(root: &Path, mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let configured = fs::read_dir(root.join("etc/ld.so.conf.d"));
    for file in configured.into_iter().flatten().flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let lines = text.lines().map(str::trim);
        let named = lines.filter_map(|line| line.strip_prefix('/'));
        folders.extend(named.map(|folder| root.join(folder)));
    }
    folders.extend(LIBRARY_FOLDERS.iter().map(|folder| root.join(folder)));
    folders
}

/// Returns the versions of every library of this name in the folders.
fn versions(beginning: &str, folders: &[PathBuf]) -> BTreeSet<String> {
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let library = |path: PathBuf| {
        let is_wanted = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.starts_with(beginning).then_some(())
        };
        is_wanted(&path)?;
        // A link such as `libnvinfer.so.10` leads to the file with the whole version.
        let file = path.canonicalize().ok()?;
        let name = file.file_name()?.to_str()?;
        let version = name.strip_prefix(beginning)?;
        if version.contains('.') {
            return Some(version.to_owned());
        }
        // Python's packages have only the major version; the size tells their versions apart.
        let bytes = fs::metadata(&file).ok()?.len();
        Some(format!("{version} ({bytes} bytes)"))
    };
    files.filter_map(|entry| library(entry.path())).collect()
}

/// Returns the processor's name.
fn processor(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("proc/cpuinfo")).ok()?;
    let (_, name) = text
        .lines()
        .find(|line| line.starts_with("model name"))?
        .split_once(':')?;
    Some(name.trim().to_owned())
}

/// Returns the kernel module's version; on a Jetson also the release of its system.
fn driver(root: &Path) -> Vec<String> {
    let module = fs::read_to_string(root.join("sys/module/nvidia/version"))
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|version| !version.is_empty())
        .or_else(|| {
            let text = fs::read_to_string(root.join("proc/driver/nvidia/version")).ok()?;
            driver_version(&text)
        });
    let release = fs::read_to_string(root.join("etc/nv_tegra_release"))
        .ok()
        .and_then(|text| jetson_release(&text));
    module.into_iter().chain(release).collect()
}

/// Extracts the version from the first line of `/proc/driver/nvidia/version`, where it follows the
/// module's name.
fn driver_version(text: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.starts_with("NVRM version:"))?;
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// Extracts `R36.4.7` from `# R36 (release), REVISION: 4.7, …`.
fn jetson_release(text: &str) -> Option<String> {
    let major = text.split_whitespace().find(|word| {
        word.strip_prefix('R')
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
    })?;
    let revision = text.split("REVISION:").nth(1)?.split(',').next()?.trim();
    Some(format!("{major}.{revision}"))
}

/// Returns the names of the GPUs, or the board's name if the GPU is a part of it.
fn gpus(root: &Path) -> BTreeSet<String> {
    let cards = fs::read_dir(root.join("proc/driver/nvidia/gpus"));
    let cards = cards.into_iter().flatten().flatten();
    let names: BTreeSet<_> = cards
        .filter_map(|card| {
            let text = fs::read_to_string(card.path().join("information")).ok()?;
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_owned())
        })
        .filter(|name| !name.is_empty())
        .collect();
    if !names.is_empty() {
        return names;
    }
    let board = fs::read_to_string(root.join("proc/device-tree/model"));
    let board = board.map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned());
    board
        .into_iter()
        .filter(|name| name.contains("NVIDIA"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_machine_without_anything_of_nvidias_is_unknown_and_not_guessed() {
        let root = root(&[("proc/device-tree/model", "Raspberry Pi 5 Model B\0")]);
        let machine = Machine::read_below(root.path(), Vec::new(), UNKNOWN);
        let TensorRtHost {
            tensorrt,
            driver,
            gpu,
            ..
        } = machine.tensorrt;
        assert_eq!([tensorrt, driver, gpu], [UNKNOWN; 3]);
        let OpenVinoHost {
            openvino,
            processor,
            ..
        } = machine.openvino;
        assert_eq!([openvino, processor], [UNKNOWN; 2]);
    }

    #[test]
    fn openvino_is_its_library_and_the_processor() {
        let root = root(&[
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Intel(R) Atom(TM) x6425E @ 2.00GHz\n",
            ),
            ("opt/ort/libopenvino.so.2025.4.1", ""),
            ("opt/ort/libopenvino_c.so.2025.4.1", ""),
        ]);
        let folders = vec![root.path().join("opt/ort")];
        let machine = Machine::read_below(root.path(), folders, "1.24.1").openvino;
        assert_eq!(machine.openvino, "2025.4.1");
        assert_eq!(machine.processor, "Intel(R) Atom(TM) x6425E @ 2.00GHz");
    }

    #[test]
    fn a_workstation_says_what_its_driver_and_cards_are() {
        let root = root(&[
            (
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.195.03  Release \
                 Build  (builder@host)  Sat Sep 20 00:47:16 UTC 2025\nGCC version:  gcc 12.3.0\n",
            ),
            (
                "proc/driver/nvidia/gpus/0000:01:00.0/information",
                "Model: \t\t NVIDIA L4\nIRQ:   \t\t 16\n",
            ),
            (
                "proc/driver/nvidia/gpus/0000:02:00.0/information",
                "Model: \t\t NVIDIA A2\nIRQ:   \t\t 17\n",
            ),
            ("etc/ld.so.conf.d/trt.conf", "# TensorRT\n/opt/trt/lib\n"),
            ("opt/trt/lib/libnvinfer.so.10.9.0", ""),
            ("opt/trt/lib/libnvinfer_plugin.so.10.9.0", ""),
        ]);
        let machine = Machine::read_below(root.path(), Vec::new(), UNKNOWN).tensorrt;
        assert_eq!(machine.driver, "570.195.03");
        assert_eq!(machine.gpu, "NVIDIA A2 + NVIDIA L4");
        assert_eq!(machine.tensorrt, "10.9.0");
    }

    #[test]
    fn a_jetson_says_its_board_and_the_release_of_its_system() {
        let root = root(&[
            (
                "proc/device-tree/model",
                "NVIDIA Jetson Orin Nano Developer Kit\0",
            ),
            (
                "etc/nv_tegra_release",
                "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64\n",
            ),
            ("sys/module/nvidia/version", "540.4.0\n"),
            ("usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0", ""),
        ]);
        let library = root.path().join("usr/lib/aarch64-linux-gnu");
        std::os::unix::fs::symlink("libnvinfer.so.10.3.0", library.join("libnvinfer.so.10"))
            .unwrap();
        let machine = Machine::read_below(root.path(), Vec::new(), UNKNOWN).tensorrt;
        assert_eq!(machine.driver, "540.4.0 + R36.4.7");
        assert_eq!(machine.gpu, "NVIDIA Jetson Orin Nano Developer Kit");
        assert_eq!(machine.tensorrt, "10.3.0");
    }

    #[test]
    fn libraries_without_their_whole_version_are_told_apart_by_their_size() {
        let root = root(&[("wheel/libnvinfer.so.10", "12345")]);
        let machine =
            Machine::read_below(root.path(), vec![root.path().join("wheel")], UNKNOWN).tensorrt;
        assert_eq!(machine.tensorrt, "10 (5 bytes)");
    }

    #[test]
    fn a_driver_line_without_a_version_is_unknown() {
        assert_eq!(
            driver_version("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.216.03  Thu Apr\n"),
            Some("535.216.03".to_owned())
        );
        assert_eq!(
            driver_version("NVRM version: NVIDIA UNIX malformed\n"),
            None
        );
        assert_eq!(driver_version("GCC version:  gcc version 12.3.0\n"), None);
        assert_eq!(jetson_release("# R (release), REVISION: 1.0\n"), None);
    }

    #[test]
    fn onnx_runtime_is_its_version_and_its_commit() {
        let info = "ORT Build Info: git-branch=HEAD, git-commit-id=fab30a4, build type=Release";
        let library = Path::new("/lib/libonnxruntime.so.1.32.0");
        assert_eq!(onnxruntime(library, info), "1.32.0 + fab30a4");
        assert_eq!(onnxruntime(Path::new("libonnxruntime.so"), ""), UNKNOWN);
    }
}
