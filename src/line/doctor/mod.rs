//! What a bug report needs: machine, software, configuration and surroundings, as they are.
//!
//! Read-only: opens no camera, loads no model, logs in nowhere. Anything broken is a finding like
//! any other and stops nothing. Secrets are masked at the source: the configuration is shown as it
//! serialises, and a variable as the key that it sets.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;

mod machine;
mod station;
mod surroundings;

/// No query may delay the report for longer than this: a name server that is down, a bus that does
/// not answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// In reading order.
    pub sections: Vec<Section>,
}

/// A group of related findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its heading.
    pub name: &'static str,
    /// In reading order.
    pub findings: Vec<Finding>,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was examined.
    pub subject: String,
    /// True if flawd cannot work with it as configured.
    pub broken: bool,
    /// Its state; may have several lines.
    pub text: String,
}

impl DoctorReport {
    /// Returns how many findings are broken.
    pub fn broken(&self) -> usize {
        let findings = self.sections.iter().flat_map(|section| &section.findings);
        findings.filter(|finding| finding.broken).count()
    }
}

impl Finding {
    fn new(subject: impl Into<String>, text: impl Display) -> Self {
        Self {
            subject: subject.into(),
            broken: false,
            text: text.to_string(),
        }
    }

    fn broken(subject: impl Into<String>, text: impl Display) -> Self {
        Self {
            broken: true,
            ..Self::new(subject, text)
        }
    }
}

/// Examines everything; `configuration` is the daemon's file.
pub fn examine(configuration: &Path) -> DoctorReport {
    let root = Path::new("/");
    let mut sections = vec![
        Section {
            name: "flawd",
            findings: program(),
        },
        Section {
            name: "machine",
            findings: machine::examine(root),
        },
        Section {
            name: "cameras",
            findings: machine::cameras(root),
        },
    ];
    sections.extend(station::examine(configuration));
    sections.extend([
        Section {
            name: "clock",
            findings: surroundings::clock(),
        },
        Section {
            name: "service",
            findings: surroundings::service(),
        },
        Section {
            name: "environment",
            findings: surroundings::environment(std::env::vars_os()),
        },
    ]);
    DoctorReport { sections }
}

fn program() -> Vec<Finding> {
    let profile = if cfg!(debug_assertions) {
        "development"
    } else {
        "release"
    };
    let path = std::env::current_exe()
        .map_or_else(|error| error.to_string(), |path| path.display().to_string());
    vec![
        Finding::new("version", env!("CARGO_PKG_VERSION")),
        Finding::new(
            "build",
            format!(
                "{} {}, {profile}",
                std::env::consts::ARCH,
                std::env::consts::OS
            ),
        ),
        Finding::new("program", path),
    ]
}

/// Returns the answer of `question`, unless it takes too long; then its thread is abandoned.
fn within_patience<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || sender.send(question()).ok());
    answer.recv_timeout(PATIENCE).ok()
}

/// Returns what another program prints, or why it prints nothing.
fn ask(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let output = child.stdout.take();
    let text = within_patience(move || {
        let mut text = String::new();
        // Output that is not UTF-8 is ignored.
        output.map(|mut output| output.read_to_string(&mut text).ok());
        text
    });
    if text.is_none() {
        child.kill().map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match text {
        Some(text) if status.success() => Ok(text.trim().to_owned()),
        Some(_) => Err(format!("{program} ended with {status}")),
        None => Err(format!("{program} did not answer within {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_fails_or_hangs_is_an_answer_too() {
        assert_eq!(ask("echo", &["one"]), Ok("one".to_owned()));
        let problem = |program, arguments: &[&str]| ask(program, arguments).unwrap_err();
        assert!(problem("flawd-no-such-program", &[]).contains("No such file"));
        assert!(problem("false", &[]).contains("exit status: 1"));
        assert!(problem("sleep", &["600"]).contains("did not answer"));
    }

    #[test]
    fn what_is_broken_is_counted() {
        let report = DoctorReport {
            sections: vec![Section {
                name: "one",
                findings: vec![Finding::new("a", 1), Finding::broken("b", 2)],
            }],
        };
        assert_eq!(report.broken(), 1);
    }
}
