//! A station on the line: a folder with a configuration, and the built `flawd` running on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flawd_testing::process::Process;
use tempfile::TempDir;

/// The folder that holds a station's configuration, and whatever a test puts beside it.
pub(crate) struct Station {
    folder: TempDir,
}

impl Station {
    /// A station with this configuration; `{bundle}` in it becomes the tests' own bundle.
    pub(crate) fn new(configuration: &str) -> Self {
        let station = Self {
            folder: TempDir::new().unwrap(),
        };
        station.configure(configuration);
        station
    }

    /// Writes another configuration.
    pub(crate) fn configure(&self, configuration: &str) {
        let bundle = crate::bundle::path();
        let text = configuration.replace("{bundle}", &bundle.display().to_string());
        fs::write(self.configuration(), text).unwrap();
    }

    /// The same station under another root.
    pub(crate) fn root(self, root: &str) -> Self {
        let text = fs::read_to_string(self.configuration()).unwrap();
        let under_root = text.replace("[mqtt]\n", &format!("[mqtt]\nroot = \"{root}\"\n"));
        fs::write(self.configuration(), under_root).unwrap();
        self
    }

    /// The station's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder().join("flawd.toml")
    }

    /// `flawd run`, with every verdict in its log.
    pub(crate) fn run(&self) -> Process {
        let mut command = self.command("run");
        command.env("FLAWD_LOG", "flawd=trace");
        Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped())
    }

    /// `flawd run` with its usual log: for thousands of parts.
    pub(crate) fn run_quiet(&self) -> Process {
        let mut command = self.command("run");
        Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped())
    }

    /// `flawd <verb>` to its end.
    pub(crate) fn output(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    /// `flawd <verb> -c <configuration>`, not started.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = flawd();
        command.arg(verb).arg("-c").arg(self.configuration());
        // Its state is its own, as that of a service is.
        command.env("XDG_STATE_HOME", self.folder().join("state"));
        command
    }
}

/// The built program, not started.
pub(crate) fn flawd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_flawd"))
}

/// What a program printed on standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
