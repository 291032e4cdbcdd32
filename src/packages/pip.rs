//! Runs pip, as `python3 -m pip` or under its own name, to download one file.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What pip is asked to do: download one file that is ready to be unpacked. A source distribution
/// would have to be run, and dependencies are not needed.
pub(super) const ARGUMENTS: [&str; 4] = ["download", "--no-deps", "--only-binary", ":all:"];

/// How pip may be called, the first that runs is used. A Python may lack the module.
const CALLS: [&[&str]; 3] = [&["python3", "-m", "pip"], &["pip3"], &["pip"]];

/// Why pip downloaded nothing.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    /// None of the known ways to call it works.
    #[error("there is no pip: neither `python3 -m pip` nor `pip` runs; install it")]
    Missing,
    /// It cannot be started.
    #[error("pip cannot be started: {0}")]
    Start(io::Error),
    /// It reports a failure: no network, or no such package in its index.
    #[error("pip says: {0}")]
    Failed(String),
}

/// Downloads the file of `requirement`, which is NAME==VERSION, to the empty folder `into`. `tags`
/// are the arguments that select the Python and the machine of the file, if it is not for all.
///
/// # Errors
/// If there is no pip, or it fails.
pub(super) fn download(requirement: &str, tags: &[&str], into: &Path) -> Result<(), PipError> {
    let mut command = find(into)?;
    command
        .args(ARGUMENTS)
        .args(tags)
        .args(["--no-input", "--disable-pip-version-check", "--dest", "."])
        .arg(requirement);
    let output = command.output().map_err(PipError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(PipError::Failed(reason(&output)))
}

/// Returns the first call that runs, which will run in `folder`. It is empty, so that Python finds
/// no module there that is named like one of its own.
fn find(folder: &Path) -> Result<Command, PipError> {
    for call in CALLS {
        let pip = || {
            let mut command = Command::new(call[0]);
            command.args(&call[1..]);
            command.current_dir(folder).stdin(Stdio::null());
            command
        };
        match pip().arg("--version").output() {
            Ok(output) if output.status.success() => return Ok(pip()),
            // Not there, not executable, or Python without the module.
            Ok(_) | Err(_) => {}
        }
    }
    Err(PipError::Missing)
}

/// Returns pip's own reason: the last line that it marks as an error, else its last line, else how
/// it ended. A marked line that ends with a colon announces a traceback, whose last line counts.
fn reason(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines
        .clone()
        .rfind(|line| line.starts_with("ERROR:") && !line.ends_with(':'));
    match error.or_else(|| lines.next_back()) {
        Some(line) => line.trim_start_matches("ERROR:").trim().to_owned(),
        None => output.status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_reason_is_what_pip_marks_as_an_error() {
        let said = |stderr: &str| {
            reason(&Output {
                status: ExitStatus::from_raw(256),
                stdout: Vec::new(),
                stderr: stderr.into(),
            })
        };
        assert_eq!(
            said("WARNING: a\nERROR: no version\nERROR: No matching distribution\n\n[notice] b\n"),
            "No matching distribution"
        );
        assert_eq!(
            said("ERROR: Exception:\nTraceback:\n  a\nOSError: No space left on device\n"),
            "OSError: No space left on device"
        );
        assert_eq!(said("Killed\n"), "Killed");
        assert_eq!(said(""), "exit status: 1");
    }
}
