//! Running other programs, with errors that say which one and what to do.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Returns the path of this program, for cargo to call.
pub(crate) fn this_program() -> Result<PathBuf, String> {
    env::current_exe().map_err(|error| format!("xtask does not know itself: {error}"))
}

/// One program run to its end.
pub(crate) struct Step {
    command: Command,
    line: String,
}

impl Step {
    /// Creates a step: a program with its first arguments.
    pub(crate) fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            command: Command::new(program),
            line: program.to_owned(),
        }
        .args(arguments)
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<str>>(mut self, arguments: &[S]) -> Self {
        for argument in arguments.iter().map(AsRef::as_ref) {
            self.command.arg(argument);
            write!(self.line, " {argument}").expect("writing to a string cannot fail");
        }
        self
    }

    /// Sets the folder to run in.
    pub(crate) fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Discards what it prints on standard output.
    pub(crate) fn silent(mut self) -> Self {
        self.command.stdout(Stdio::null());
        self
    }

    /// Runs it in the open: the command line first, then its own output, then how long it took.
    pub(crate) fn run(mut self) -> Result<(), String> {
        eprintln!("==> {}", self.line);
        let start = Instant::now();
        let status = self
            .command
            .status()
            .map_err(|error| format!("cannot run `{}`: {error}", self.line))?;
        if !status.success() {
            return Err(format!("`{}` failed: {status}", self.line));
        }
        eprintln!("    {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Runs it and returns its standard output; what it says on standard error is shown.
    pub(crate) fn text(mut self) -> Result<String, String> {
        let line = &self.line;
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run `{line}`: {error}"))?;
        if !output.status.success() {
            return Err(format!("`{line}` failed: {}", output.status));
        }
        String::from_utf8(output.stdout).map_err(|_| format!("`{line}` printed no UTF-8"))
    }

    /// Runs it quietly and returns its standard output without the line end; `None` if it cannot be
    /// run or fails.
    pub(crate) fn answer(mut self) -> Option<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().to_owned())
    }
}

/// Builds flawd as it is released and returns the program.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn release_program(root: &Path) -> Result<PathBuf, String> {
    Step::new(
        "cargo",
        &["build", "--release", "--package", "flawd", "--locked"],
    )
    .inside(root)
    .run()?;
    Ok(root.join("target/release/flawd"))
}
