//! Programs for arm64 on this machine: qemu's user mode, and the root folder that it shows them.

use std::fs;
use std::path::{Path, PathBuf};

use super::ARCHITECTURE;
use crate::files::at;
use crate::onnxruntime::{self, LIBRARY};
use crate::process::Step;

/// Where Debian puts the libraries for arm64.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu/lib";

/// A processor of boards such as the Jetson Nano's successors; its number is that of [`CPU_INFO`].
const PROCESSOR: &str = "cortex-a72";

/// ONNX Runtime's detection of the processor crashes on what the kernel of an x86-64 machine says,
/// so it is shown what a board's would say.
const CPU_INFO: &str = "BogoMIPS\t: 50.00\n\
    Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n\
    CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\n\
    CPU revision\t: 3\n\n";

/// How flawd is run.
pub(super) enum Machine {
    /// As it is.
    This { program: PathBuf },
    /// For arm64, in the emulator.
    Emulated {
        program: PathBuf,
        root: PathBuf,
        onnxruntime: PathBuf,
    },
}

impl Machine {
    /// Prepares the emulator for this program.
    pub(super) fn emulated(root: &Path, program: PathBuf) -> Result<Self, String> {
        let folder = root.join("target/arm64/root");
        make_root(&folder).map_err(at(&folder))?;
        let onnxruntime = onnxruntime::with_notices(root, ARCHITECTURE)?.join(LIBRARY);
        Ok(Self::Emulated {
            program,
            root: folder,
            onnxruntime,
        })
    }

    /// Returns its name, for folders and messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::This { .. } => std::env::consts::ARCH,
            Self::Emulated { .. } => ARCHITECTURE,
        }
    }

    /// Returns a call of flawd, with no network trained elsewhere in reach.
    pub(super) fn flawd(&self, arguments: &[&str]) -> Step {
        let step = match self {
            Self::This { program } => Step::new(&program.to_string_lossy(), arguments),
            Self::Emulated {
                program,
                root,
                onnxruntime,
            } => Step::new("qemu-aarch64-static", &["-cpu", PROCESSOR, "-L"])
                .args(&[root.to_string_lossy(), program.to_string_lossy()])
                .args(arguments)
                .env("FLAWD_ONNXRUNTIME", &onnxruntime.to_string_lossy()),
        };
        step.env("XDG_DATA_HOME", "/nowhere")
            .env("XDG_DATA_DIRS", "/nowhere")
    }
}

/// Makes the root folder for two processors.
fn make_root(folder: &Path) -> std::io::Result<()> {
    let processors = folder.join("sys/devices/system/cpu");
    for number in 0..2 {
        let topology = processors.join(format!("cpu{number}/topology"));
        fs::create_dir_all(&topology)?;
        let mask = 1 << number;
        for (name, text) in [
            ("core_id", number.to_string()),
            ("physical_package_id", "0".to_owned()),
            ("core_siblings", mask.to_string()),
            ("thread_siblings", mask.to_string()),
            ("thread_siblings_list", number.to_string()),
            ("core_siblings_list", "0-1".to_owned()),
        ] {
            fs::write(topology.join(name), text + "\n")?;
        }
    }
    for (name, text) in [
        ("possible", "0-1\n"),
        ("present", "0-1\n"),
        ("kernel_max", "1\n"),
    ] {
        fs::write(processors.join(name), text)?;
    }
    fs::create_dir_all(folder.join("proc"))?;
    let of = |number| format!("processor\t: {number}\n{CPU_INFO}");
    fs::write(folder.join("proc/cpuinfo"), of(0) + &of(1))?;
    let link = folder.join("lib");
    match std::os::unix::fs::symlink(LIBRARIES, &link) {
        Err(_) if fs::read_link(&link).is_ok_and(|target| target == Path::new(LIBRARIES)) => Ok(()),
        made => made,
    }
}
