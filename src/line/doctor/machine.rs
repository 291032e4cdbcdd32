//! The machine: system, processor, memory, board, GPU, cameras. Read from files below `root`.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{Finding, ask};

/// The libraries of TensorRT and CUDA that inference needs.
const LIBRARIES: [&str; 5] = [
    "libnvinfer.so.",
    "libcudart.so.",
    "libcublas.so.",
    "libcudnn.so.",
    "libcuda.so.",
];

/// Examines system, processor, memory, and the GPU if there is one.
pub(crate) fn examine(root: &Path) -> Vec<Finding> {
    let text = |path: &str| first_line(&root.join(path));
    let mut findings = vec![
        Finding::new(
            "system",
            value(&root.join("etc/os-release"), "PRETTY_NAME=")
                .map_or_else(unknown, |name| name.trim_matches('"').to_owned()),
        ),
        Finding::new(
            "kernel",
            text("proc/sys/kernel/osrelease").unwrap_or_else(unknown),
        ),
        Finding::new("processor", processor(root)),
        Finding::new("memory", memory(root)),
    ];
    let jetson = [
        ("board", "proc/device-tree/model"),
        ("Jetson Linux", "etc/nv_tegra_release"),
        ("NVIDIA driver", "proc/driver/nvidia/version"),
    ];
    findings.extend(
        jetson
            .into_iter()
            .filter_map(|(subject, path)| Some(Finding::new(subject, text(path)?))),
    );
    let cards = entries(&root.join("proc/driver/nvidia/gpus"));
    findings.extend(cards.iter().filter_map(|card| {
        let model = value(&card.join("information"), "Model:")?;
        Some(Finding::new("GPU", model))
    }));
    findings.push(Finding::new("GPU nodes", gpu_nodes(root)));
    findings.push(Finding::new("GPU libraries", libraries()));
    findings
}

/// Lists the video devices, with the kernel's names for them.
pub(crate) fn cameras(root: &Path) -> Vec<Finding> {
    let nodes = entries(&root.join("dev"))
        .into_iter()
        .filter(|node| has_prefix(node, &["video"]));
    let findings: Vec<_> = nodes
        .map(|node| {
            let file = node.file_name().unwrap_or_default();
            let described = root.join("sys/class/video4linux").join(file).join("name");
            let name = first_line(&described).unwrap_or_else(unknown);
            Finding::new(
                file.to_string_lossy(),
                format!("{name}; {}", permission(&node)),
            )
        })
        .collect();
    if findings.is_empty() {
        return vec![Finding::new("devices", "there is no /dev/video*")];
    }
    findings
}

/// Reports whether this user may use a device.
pub(crate) fn permission(node: &Path) -> String {
    match access(node, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => "may be used".to_owned(),
        Err(error) => format!("may not be used by this user: {error}"),
    }
}

fn processor(root: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    // On ARM there is no name, and the board is named instead.
    let name = value(&root.join("proc/cpuinfo"), "model name");
    let name = name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |name| name.trim_start_matches([':', ' ', '\t']).to_owned(),
    );
    format!("{name}, {cores} cores")
}

fn memory(root: &Path) -> String {
    let file = root.join("proc/meminfo");
    let mebibytes = |name| -> Option<u64> {
        let text = value(&file, name)?;
        let kibibytes: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes / 1024)
    };
    match (mebibytes("MemTotal:"), mebibytes("MemAvailable:")) {
        (Some(total), Some(available)) => format!("{total} MiB, {available} MiB available"),
        _ => unknown(),
    }
}

fn gpu_nodes(root: &Path) -> String {
    let prefixes = ["nvidia", "nvhost-", "nvmap"];
    let mut nodes: Vec<_> = entries(&root.join("dev"))
        .into_iter()
        .filter(|node| has_prefix(node, &prefixes) && !node.is_dir())
        .collect();
    let renderers = entries(&root.join("dev/dri"));
    nodes.extend(
        renderers
            .into_iter()
            .filter(|node| has_prefix(node, &["render"])),
    );
    if nodes.is_empty() {
        return "none".to_owned();
    }
    let lines = nodes
        .iter()
        .map(|node| format!("{}: {}", node.display(), permission(node)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Lists what the system's loader finds, and what is in the folders of `LD_LIBRARY_PATH`.
fn libraries() -> String {
    let cache = ask("ldconfig", &["-p"]).or_else(|_| ask("/sbin/ldconfig", &["-p"]));
    let cached = cache.unwrap_or_default();
    let cached = cached
        .lines()
        .filter_map(|line| Some(PathBuf::from(line.split(" => ").nth(1)?)));
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let beside = std::env::split_paths(&named).flat_map(|folder| entries(&folder));
    let mut found: Vec<_> = cached
        .chain(beside)
        .filter(|file| has_prefix(file, &LIBRARIES))
        // The name of the file behind the links has the whole version.
        .map(|file| file.canonicalize().unwrap_or(file).display().to_string())
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        return "neither TensorRT nor CUDA is found".to_owned();
    }
    found.join("\n")
}

fn has_prefix(path: &Path, prefixes: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Lists a folder, in order; empty if it does not exist.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Returns a file's first line; the kernel ends some with a zero byte.
fn first_line(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().next()?.trim_matches(['\0', ' ']);
    (!line.is_empty()).then(|| line.to_owned())
}

/// Returns what follows `name` in the first line that begins with it.
fn value(file: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a machine from these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    fn text<'a>(findings: &'a [Finding], subject: &str) -> &'a str {
        let finding = findings.iter().find(|finding| finding.subject == subject);
        &finding
            .unwrap_or_else(|| panic!("no {subject}: {findings:?}"))
            .text
    }

    #[test]
    fn a_jetson_is_recognised_with_its_release_and_its_cameras() {
        let root = machine(&[
            (
                "etc/os-release",
                "ID=ubuntu\nPRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\n",
            ),
            ("proc/sys/kernel/osrelease", "5.15.148-tegra\n"),
            ("proc/device-tree/model", "NVIDIA Jetson Orin Nano\0"),
            ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.7\n"),
            (
                "proc/meminfo",
                "MemTotal: 7801856 kB\nMemAvailable: 4096 kB\n",
            ),
            ("dev/video0", ""),
            ("sys/class/video4linux/video0/name", "USB Camera\n"),
            ("dev/nvmap", ""),
        ]);
        let findings = examine(root.path());
        assert_eq!(text(&findings, "system"), "Ubuntu 22.04.5 LTS");
        assert_eq!(text(&findings, "board"), "NVIDIA Jetson Orin Nano");
        assert_eq!(
            text(&findings, "Jetson Linux"),
            "# R36 (release), REVISION: 4.7"
        );
        assert_eq!(text(&findings, "memory"), "7619 MiB, 4 MiB available");
        assert!(text(&findings, "GPU nodes").contains("nvmap: may be used"));
        let cameras = cameras(root.path());
        assert_eq!(text(&cameras, "video0"), "USB Camera; may be used");
    }

    #[test]
    fn a_gpu_in_a_slot_is_named_with_its_driver() {
        let root = machine(&[
            ("proc/cpuinfo", "processor : 0\nmodel name\t: EPYC\n"),
            ("proc/driver/nvidia/version", "NVRM version: 570.1\nGCC\n"),
            (
                "proc/driver/nvidia/gpus/0/information",
                "Model: \t NVIDIA L4\nIRQ: 1\n",
            ),
        ]);
        let findings = examine(root.path());
        assert!(text(&findings, "processor").starts_with("EPYC, "));
        assert_eq!(text(&findings, "NVIDIA driver"), "NVRM version: 570.1");
        assert_eq!(text(&findings, "GPU"), "NVIDIA L4");
    }

    #[test]
    fn a_machine_that_says_nothing_is_reported_all_the_same() {
        let root = machine(&[]);
        assert_eq!(text(&examine(root.path()), "memory"), "unknown");
        assert!(text(&cameras(root.path()), "devices").contains("no /dev/video*"));
    }
}
