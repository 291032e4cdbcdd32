//! `cargo xtask fuzz`: input that no program would write, for every reader.
//!
//! The package `fuzz/` is built with the checks of a debug build, flawd's own crates with coverage
//! counters too, and run. A finding ends it. Dependencies have no counters, so those of the tests
//! are reused and not built again.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;

use crate::process::{Step, this_program};

/// The readers, which `fuzz/src/target/mod.rs` lists too.
const TARGETS: [&str; 6] = [
    "onnx",
    "checkpoint",
    "journal",
    "manifest",
    "payload",
    "image",
];

/// Seconds for each, by default.
const SECONDS: u32 = 15;

/// Counters on every edge between blocks of code, without a sanitizer, so that the stable compiler
/// accepts them.
const COUNTERS: [&str; 3] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
];

/// Names the program that cargo calls in place of the compiler, for crates of the workspace only.
const WRAPPER: &str = "RUSTC_WORKSPACE_WRAPPER";

/// Compiles with counters, if cargo calls this program in place of the compiler: its command line
/// then begins with that of the compiler. `None` if it does not.
pub(crate) fn compile(arguments: &[String]) -> Option<ExitCode> {
    let (compiler, rest) = arguments.split_first()?;
    if Path::new(compiler).file_stem()? != "rustc" {
        return None;
    }
    let mut command = Command::new(compiler);
    command.args(rest);
    // Asked for its version, it compiles nothing.
    if rest.iter().any(|argument| argument == "--crate-name") {
        command.args(COUNTERS);
    }
    Some(match command.status() {
        Ok(status) => ExitCode::from(status.code().map_or(1, |code| code as u8)),
        Err(error) => {
            eprintln!("xtask: cannot run {compiler}: {error}");
            ExitCode::FAILURE
        }
    })
}

/// What is to be fed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    targets: Vec<&'static str>,
    seconds: u32,
    /// One file in place of changed ones.
    input: Option<String>,
}

impl Wanted {
    /// Returns every reader, as `cargo xtask test` feeds them.
    pub(crate) fn smoke() -> Self {
        Self {
            targets: TARGETS.to_vec(),
            seconds: SECONDS,
            input: None,
        }
    }

    /// Reads a command line; `None` if it makes no sense.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let mut wanted = Self {
            targets: Vec::new(),
            ..Self::smoke()
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => wanted.seconds = arguments.next()?.parse().ok()?,
                "--input" => wanted.input = Some(arguments.next()?.clone()),
                name => wanted
                    .targets
                    .push(TARGETS.into_iter().find(|target| *target == name)?),
            }
        }
        if wanted.targets.is_empty() {
            wanted.targets = TARGETS.to_vec();
        }
        // A file is for one reader.
        (wanted.input.is_none() || wanted.targets.len() == 1).then_some(wanted)
    }
}

/// Feeds the targets, as many at a time as there are cores. A finding ends its own target only.
pub(crate) fn run(root: &Path, wanted: &Wanted) -> Result<(), String> {
    let this = this_program()?;
    // With the features of the whole workspace, its dependencies are already built.
    Step::new(
        "cargo",
        &["build", "--workspace", "--bin", "flawd-fuzz", "--locked"],
    )
    .inside(root)
    .env(WRAPPER, &this.to_string_lossy())
    .run()?;
    let program = this.with_file_name("flawd-fuzz");
    if let (Some(input), [target]) = (&wanted.input, &wanted.targets[..]) {
        return feed(root, &program, target, input);
    }
    let left = Mutex::new(wanted.targets.iter());
    let findings = Mutex::new(Vec::new());
    let work = || {
        for target in iter::from_fn(|| left.lock().expect("no panic holds it").next()) {
            if let Err(error) = feed(root, &program, target, &wanted.seconds.to_string()) {
                let finding = with_input(&error, root, target);
                findings.lock().expect("no panic holds it").push(finding);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    match findings.into_inner().expect("no panic holds it") {
        findings if findings.is_empty() => Ok(()),
        findings => Err(findings.join("\n")),
    }
}

/// Feeds a target: for so many seconds, or with this file.
fn feed(root: &Path, program: &Path, target: &str, what: &str) -> Result<(), String> {
    let program = program.to_string_lossy();
    Step::new(&program, &[target, what]).inside(root).run()
}

/// Names the input that ended a target, with what to do about it.
fn with_input(error: &str, root: &Path, target: &str) -> String {
    let Some(finding) = put_aside(root, target) else {
        return error.to_owned();
    };
    let finding = finding.display();
    format!(
        "{error}. The input lies in {finding}; `cargo xtask fuzz {target} --input {finding}` feeds \
         it again. Once it is mended, it belongs in fuzz/corpus/{target}, where the tests feed it"
    )
}

/// Gives the input that ended the program its own name; `None` if another run holds the file.
fn put_aside(root: &Path, target: &str) -> Option<PathBuf> {
    let folder = root.join("fuzz/runs").join(target);
    let current = folder.join("current");
    File::open(&current).ok()?.try_lock().ok()?;
    let mut hasher = DefaultHasher::new();
    fs::read(&current).ok()?.hash(&mut hasher);
    let finding = folder.join(format!("finding-{:016x}", hasher.finish()));
    fs::rename(current, &finding).ok()?;
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Wanted> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Wanted::parse(&arguments)
    }

    /// A reader that has a corpus and is missing here would never be fed.
    #[test]
    fn the_targets_are_those_that_have_a_corpus() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let folders = fs::read_dir(corpus).expect("it belongs to the repository");
        let mut folders: Vec<String> = folders
            .map(|folder| folder.expect("readable").file_name().display().to_string())
            .collect();
        folders.sort();
        let mut targets = TARGETS;
        targets.sort_unstable();
        assert_eq!(folders, targets);
    }

    #[test]
    fn all_targets_are_fed_unless_some_are_named() {
        assert_eq!(parse(""), Some(Wanted::smoke()));
        let some = parse("journal --seconds 600 onnx").expect("it makes sense");
        assert_eq!((some.targets, some.seconds), (vec!["journal", "onnx"], 600));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "nothing",
            "--seconds",
            "--seconds soon",
            "--input a.onnx",
            "--help",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert!(parse("onnx --input a.onnx").is_some());
    }
}
