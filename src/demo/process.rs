//! The daemon as a child process: `flawd run -c FILE` of this program.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The file that this process runs, even if it has been replaced since.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Why the daemon does not run, or did not end successfully.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its log file cannot be created.
    #[error("cannot write the daemon's log {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// This program cannot be started a second time.
    #[error("cannot start the daemon")]
    Start(#[source] io::Error),
    /// It ended with an error.
    #[error("the daemon ended with {status}; its log is {}", log.display())]
    Failed {
        /// Its exit status.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
    },
}

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct DaemonProcess {
    child: Child,
    log: PathBuf,
}

impl DaemonProcess {
    /// Starts `flawd run -c config`, with all its output going to the file `log`.
    ///
    /// # Errors
    /// [`ProcessError::Log`] and [`ProcessError::Start`].
    pub fn start(config: &Path, log: &Path) -> Result<Self, ProcessError> {
        let log_error = |source| ProcessError::Log {
            path: log.to_owned(),
            source,
        };
        let output = File::create(log).map_err(log_error)?;
        let child = Command::new(THIS_PROGRAM)
            .arg0("flawd")
            .args(["run".as_ref(), "-c".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(log_error)?)
            .stderr(output)
            .spawn()
            .map_err(ProcessError::Start)?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether it has ended.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn has_ended(&mut self) -> Result<bool, ProcessError> {
        self.child
            .try_wait()
            .map(|status| status.is_some())
            .map_err(ProcessError::Start)
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// [`ProcessError::Failed`] if it did not end successfully.
    pub fn wait(mut self) -> Result<(), ProcessError> {
        let status = self.child.wait().map_err(ProcessError::Start)?;
        if status.success() {
            Ok(())
        } else {
            Err(ProcessError::Failed {
                status,
                log: self.log.clone(),
            })
        }
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended and been waited for, which is the
        // goal.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
