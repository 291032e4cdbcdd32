//! Project automation: `cargo xtask test`, `cargo xtask endurance`, `cargo xtask fuzz`,
//! `cargo xtask demo`, `cargo xtask detect` and `cargo xtask tensorrt`.
//!
//! Each installs what it needs on a Debian that has Rust, Python 3 with pip, and root, and skips
//! what is already there, so that a second run needs no network. Standard library only: this is the
//! program that has to build before anything is installed.

mod arm64;
mod broker;
mod check;
mod detect;
mod files;
mod fuzz;
mod gpu;
mod gstreamer;
mod json;
mod onnxruntime;
mod openvino;
mod package;
mod packages;
mod process;
mod slowest;
mod tensorrt;
mod vm;
mod wheels;
mod wider;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use process::Step;

const USAGE: &str = "\
usage: cargo xtask <command>

  test           installs what is missing, then runs every check that CI runs
  demo [ARGS…]   installs what is missing, then builds and runs `flawd demo ARGS…`
  endurance      installs what is missing, then runs the tests that take over a minute
  detect [--sets SET,…] [--seeds N,…] [--size HxW] [--options \"ARGS\"] [--compare] [--changes]
         [--write] [--data DIR] [--binary FILE]
                 trains and measures flawd on the real sets beside the repository
                 (docs/detection.md)
  fuzz [--seconds N] [TARGET…]
                 feeds each reader, or those named (onnx, checkpoint, journal, manifest,
                 payload, image), with input that no program would write, 20 s unless told
                 otherwise
  fuzz TARGET --input FILE
                 feeds one file
  arm64          builds the whole program for arm64, on x86-64 (cross/README.md)
  arm64-test [PROGRAM]
                 runs that program, or one that is built already, in an emulator, and compares it
                 with this machine's
  gstreamer-test builds the camera source that `test` leaves out, and tests it against cameras on
                 the loopback address
  package [--arch amd64|arm64]… [--program FILE]
                 makes the Debian packages in target/package, of a program that is built already
                 if one is named
  package-test [FILE]
                 installs, upgrades, runs, removes and purges a package in a clean Debian root that
                 boots with systemd; takes root
  vm-test [--package FILE] [CASE…]
                 runs a package in an emulated machine with its own kernel and a virtual camera, and
                 cuts its power: all cases, or those named (frames, faults, devices, clock, link,
                 power-cut); takes root
  openvino BUNDLE DIR
                 runs the daemon on the pictures below DIR with OpenVINO and with the processor's own
                 provider, and compares the verdicts
  tensorrt [BUNDLE|MODEL…]
                 has TensorRT parse and build a model of each kind that flawd writes, and those
                 named; needs no GPU, and fetches TensorRT's RTX branch for it
  gpu BUNDLE IMAGE… [--provider NAME] [--parts DIR] [--program FILE] [--frames N]
                 compares a bundle on an NVIDIA GPU with this machine's processor: scores, verdicts
                 that flip, latency, throughput with 1 and 4 cameras. Fetches nothing: DIR, by
                 default .runtime/gpu, has the files of the wheels onnxruntime-gpu,
                 nvidia-cuda-runtime-cu12, nvidia-cublas-cu12, nvidia-cufft-cu12,
                 nvidia-curand-cu12 and nvidia-cudnn-cu12 (for ONNX Runtime of CUDA 12), and of
                 tensorrt-cu12-libs if TensorRT is to be measured too; FILE is a flawd that is
                 built already. Ends with 69 where there is no such GPU or a file is missing, with
                 1 if a verdict flips. --provider openvino or cpu tries it without a GPU
  msrv, without-cameras, aarch64, minimal-versions, advisories
                 what the workflows check beside `test`: with the oldest compiler, without
                 libclang, for the boards, with the oldest dependencies, and for known
                 vulnerabilities (takes cargo-deny)
  setup          only installs what is missing: Debian packages, ONNX Runtime, and the network
                 that `flawd train` takes by default";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo calls this program in place of the compiler, and for test programs.
    if let Some(code) = fuzz::compile(&arguments).or_else(|| slowest::run(&arguments)) {
        return code;
    }
    let outcome = match arguments.split_first() {
        Some((command, [])) if command == "test" => check::run(&root()),
        Some((command, rest)) if command == "demo" => demo(&root(), rest),
        Some((command, [])) if command == "endurance" => endurance(&root()),
        Some((command, rest)) if command == "fuzz" => match fuzz::Wanted::parse(rest) {
            Some(wanted) => {
                setup(&root(), packages::BUILD).and_then(|()| fuzz::run(&root(), &wanted))
            }
            None => return misused(),
        },
        Some((command, rest)) if command == "detect" => match detect::Arguments::parse(rest) {
            Ok(arguments) => detect::run(&root(), &arguments),
            Err(error) => {
                eprintln!("xtask: {error}");
                return misused();
            }
        },
        Some((command, [])) if command == "arm64" => arm64::run(&root()),
        Some((command, rest)) if command == "arm64-test" && rest.len() < 2 => {
            arm64::test(&root(), rest.first().map(Path::new))
        }
        Some((command, [])) if command == "gstreamer-test" => {
            setup(&root(), packages::GSTREAMER).and_then(|()| gstreamer::test(&root()))
        }
        Some((command, rest)) if command == "package" => match package::Wanted::parse(rest) {
            Some(wanted) => package::run(&root(), &wanted),
            None => return misused(),
        },
        Some((command, rest)) if command == "package-test" && rest.len() < 2 => {
            package::test(&root(), rest.first().map(Path::new))
        }
        Some((command, rest)) if command == "vm-test" => match vm::Wanted::parse(rest) {
            Some(wanted) => vm::run(&root(), &wanted),
            None => return misused(),
        },
        Some((command, [bundle, pictures])) if command == "openvino" => {
            openvino::run(&root(), bundle, pictures)
        }
        Some((command, rest)) if command == "tensorrt" => tensorrt::run(&root(), rest),
        Some((command, rest)) if command == "gpu" => match gpu::Arguments::parse(rest) {
            Ok(arguments) => return gpu::run(&root(), &arguments),
            Err(error) => {
                eprintln!("xtask: {error}");
                return misused();
            }
        },
        Some((command, [])) if command == "setup" => {
            setup(&root(), packages::ALL).map(|()| backbone(&root()))
        }
        Some((command, [])) if command == "msrv" => wider::msrv(&root()),
        Some((command, [])) if command == "without-cameras" => wider::without_cameras(&root()),
        Some((command, [])) if command == "aarch64" => wider::aarch64(&root()),
        Some((command, [])) if command == "advisories" => wider::advisories(&root()),
        Some((command, [])) if command == "minimal-versions" => wider::minimal_versions(&root()),
        Some((command, _)) if command == "help" || command == "--help" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return misused(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

/// Installs these packages and ONNX Runtime if they are missing.
fn setup(root: &Path, packages: &[&str]) -> Result<(), String> {
    packages::install(packages)?;
    onnxruntime::install(root)
}

/// Fetches the network that `flawd train` takes by default. It can do without.
fn backbone(root: &Path) {
    let fetched = Step::new("cargo", &["run", "--release", "--package", "flawd", "--"])
        .args(&["backbone", "fetch", "lite0"])
        .inside(root)
        .run();
    if let Err(error) = fetched {
        eprintln!(
            "xtask: {error}\nxtask: until `flawd backbone fetch lite0` succeeds, `flawd train` takes \
             what was fetched before, or the filter bank alone"
        );
    }
}

/// Runs the tests that take minutes, one after the other, and reports how long it took.
fn endurance(root: &Path) -> Result<(), String> {
    setup(root, packages::ALL)?;
    let begun = Instant::now();
    for tests in ["journal", "daemon"] {
        // With the features of the whole workspace, its dependencies are already built.
        Step::new("cargo", &["test", "--workspace", "--test", tests])
            .args(&["--", "--ignored", "--nocapture", "--test-threads", "1"])
            .inside(root)
            .run()?;
    }
    println!("endurance: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Builds flawd and runs its demo.
fn demo(root: &Path, arguments: &[String]) -> Result<(), String> {
    setup(root, packages::BUILD)?;
    Step::new("cargo", &["run", "--package", "flawd", "--", "demo"])
        .args(arguments)
        .inside(root)
        .run()
}

/// The workspace root, which is the parent of this package.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies one level below the workspace root")
        .to_owned()
}
