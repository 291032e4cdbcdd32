//! `cargo xtask gpu`: a bundle on an accelerator, compared with this machine's processor.
//!
//! ```text
//! flawd predict --provider cpu ──────┐
//! flawd predict --provider cuda ─────┴─► scores, verdicts that flip
//! flawd bench --provider … --cameras 1, 4 ─► latency, throughput
//! ```
//! Nothing is fetched: the libraries are files in a folder, named in the help, so that it can be run
//! on a machine without a network. Everything is measured through flawd's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::files;
use crate::process::{Step, release_program};

mod arguments;
mod compared;

pub(crate) use arguments::Arguments;
use compared::{Bench, Row};

/// There is no such device, or the parts are not there: as flawd's own code for what may be
/// available later.
const UNAVAILABLE: u8 = 69;

/// A file of ONNX Runtime's GPU build or of NVIDIA's libraries, and the wheel that has it.
const CUDA_PARTS: [(&str, &str); 9] = [
    ("libonnxruntime.so", "onnxruntime-gpu"),
    ("libonnxruntime_providers_shared.so", "onnxruntime-gpu"),
    ("libonnxruntime_providers_cuda.so", "onnxruntime-gpu"),
    ("libcudart.so.12", "nvidia-cuda-runtime-cu12"),
    ("libcublas.so.12", "nvidia-cublas-cu12"),
    ("libcublasLt.so.12", "nvidia-cublas-cu12"),
    ("libcufft.so.11", "nvidia-cufft-cu12"),
    ("libcurand.so.10", "nvidia-curand-cu12"),
    ("libcudnn.so.9", "nvidia-cudnn-cu12"),
];
const TENSORRT_PARTS: [(&str, &str); 3] = [
    ("libonnxruntime_providers_tensorrt.so", "onnxruntime-gpu"),
    ("libnvinfer.so.10", "tensorrt-cu12-libs"),
    ("libnvonnxparser.so.10", "tensorrt-cu12-libs"),
];

/// Why nothing was measured.
enum Failed {
    /// The device or its libraries are not there.
    Unavailable(String),
    /// Anything else.
    Other(String),
}

impl From<String> for Failed {
    fn from(error: String) -> Self {
        Self::Other(error)
    }
}

/// Compares and prints. The exit code is 0 if no verdict flips, 1 if one does or something fails,
/// and 69 if the device or its libraries are not there.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> ExitCode {
    match measure(root, arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(flips) => {
            eprintln!("xtask: verdicts that flip: {flips}");
            ExitCode::FAILURE
        }
        Err(Failed::Unavailable(why)) => {
            eprintln!("xtask: nothing was measured: {why}");
            ExitCode::from(UNAVAILABLE)
        }
        Err(Failed::Other(error)) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Compares every provider that can be had; returns how many verdicts flip.
fn measure(root: &Path, arguments: &Arguments) -> Result<usize, Failed> {
    let parts = arguments.parts(root);
    let providers = match &arguments.provider {
        Some(provider) => vec![provider.clone()],
        None if missing(&parts, &TENSORRT_PARTS).is_empty() => {
            vec!["cuda".to_owned(), "tensorrt".to_owned()]
        }
        None => vec!["cuda".to_owned()],
    };
    for provider in &providers {
        check(provider, &parts, arguments.provider.is_some())?;
    }
    let flawd = program(root, arguments)?;
    let mut run = Run {
        flawd: &flawd,
        arguments,
        parts: &parts,
        work: root.join("target/gpu"),
    };
    files::empty(&run.work)?;
    let expected = run.scores("cpu")?;
    let mut flips = 0;
    let mut benches = run.benches("cpu")?;
    for provider in providers {
        let found = run.scores(&provider)?;
        let compared = compared::scores(&expected, &found)?;
        println!("{provider} against cpu: {compared}");
        flips += compared.flips.len();
        benches.extend(run.benches(&provider)?);
    }
    println!("\n{}", compared::table(&benches));
    Ok(flips)
}

/// Checks that a provider has its device and its files.
fn check(provider: &str, parts: &Path, is_named: bool) -> Result<(), Failed> {
    let needed: Vec<_> = match provider {
        "cuda" => CUDA_PARTS.to_vec(),
        "tensorrt" => [&CUDA_PARTS[..], &TENSORRT_PARTS[..]].concat(),
        // They need no GPU of NVIDIA's: the way to try this command without one.
        _ => return Ok(()),
    };
    let nodes = ["/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu"];
    if !nodes.iter().any(|node| Path::new(node).exists()) {
        let hint = if is_named {
            ""
        } else {
            "; --provider openvino or cpu tries the command without one"
        };
        let why = format!(
            "this machine has no NVIDIA GPU (none of {}){hint}",
            nodes.join(", ")
        );
        return Err(Failed::Unavailable(why));
    }
    let missing = missing(parts, &needed);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "missing in {}, or in the folders of LD_LIBRARY_PATH: {}",
        parts.display(),
        missing.join(", ")
    );
    Err(Failed::Unavailable(why))
}

/// Returns which of these files are neither in `parts` nor where the loader is told to look.
fn missing(parts: &Path, needed: &[(&str, &str)]) -> Vec<String> {
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders = vec![parts.to_owned()];
    folders.extend(std::env::split_paths(&named));
    let is_missing = |name: &str| !folders.iter().any(|folder| folder.join(name).exists());
    let needed = needed.iter().filter(|(name, _)| is_missing(name));
    needed
        .map(|(name, wheel)| format!("{name} (wheel {wheel})"))
        .collect()
}

/// Builds flawd, unless a program is named. Without a network cargo has to have its crates already.
fn program(root: &Path, arguments: &Arguments) -> Result<PathBuf, String> {
    if let Some(program) = &arguments.program {
        return Ok(program.clone());
    }
    release_program(root)
}

/// What is run for each provider.
struct Run<'a> {
    flawd: &'a Path,
    arguments: &'a Arguments,
    parts: &'a Path,
    /// Where measurements and engines are.
    work: PathBuf,
}

impl Run<'_> {
    /// A command of flawd with this provider's libraries.
    fn step(&self, provider: &str, arguments: &[&str]) -> Step {
        let step = Step::new(&self.flawd.to_string_lossy(), arguments)
            .args(&["--provider", provider])
            .env("XDG_CACHE_HOME", &self.work.to_string_lossy());
        if provider == "cpu" {
            return step;
        }
        let parts = self.parts.to_string_lossy();
        let path = match std::env::var("LD_LIBRARY_PATH") {
            Ok(path) if !path.is_empty() => format!("{parts}:{path}"),
            _ => parts.clone().into_owned(),
        };
        let step = step.env("LD_LIBRARY_PATH", &path);
        match self.parts.is_dir() {
            true => step.env("FLAWD_ONNXRUNTIME", &parts),
            false => step,
        }
    }

    fn scores(&self, provider: &str) -> Result<Vec<Row>, String> {
        let bundle = self.arguments.bundle.to_string_lossy();
        let images = &self.arguments.images;
        let step = self.step(provider, &["predict", &bundle, "--json"]);
        eprintln!("==> scores on {provider}");
        let text = step.args(images).text()?;
        compared::rows(&text)
    }

    fn benches(&mut self, provider: &str) -> Result<Vec<Bench>, String> {
        let bundle = self.arguments.bundle.to_string_lossy().into_owned();
        let frames = self.arguments.frames.to_string();
        let mut benches = Vec::new();
        for cameras in ["1", "4"] {
            let json = self.work.join(format!("{provider}-{cameras}.json"));
            let json = json.to_string_lossy();
            let arguments = ["bench", "--bundle", &bundle, "--cameras", cameras];
            self.step(provider, &arguments)
                .args(&["--frames", &frames, "--json", &json])
                .silent()
                .run()?;
            benches.push(compared::bench(provider, &files::read(Path::new(&*json))?)?);
        }
        Ok(benches)
    }
}
