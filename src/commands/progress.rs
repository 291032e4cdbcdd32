//! How far a long command is: on a terminal one line that changes, elsewhere little or nothing.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::calibration::CalibrationProgress;
use crate::lab::dataset::LeftOut;
use crate::lab::features::ExtractionStep;

/// How often the line changes at most.
const REFRESH: Duration = Duration::from_millis(200);

/// A line on standard error that changes, with lines above it that stay.
pub(crate) struct ProgressLine {
    is_terminal: bool,
    is_open: bool,
    last: Option<Instant>,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_open: false,
            last: None,
        }
    }

    /// Replaces the line that changes.
    pub(crate) fn update(&mut self, text: &str) {
        if !self.is_terminal || self.last.is_some_and(|last| last.elapsed() < REFRESH) {
            return;
        }
        eprint!("\r\x1b[K{text}");
        // Where standard error is gone nothing is left to report to.
        io::stderr().flush().ok();
        self.is_open = true;
        self.last = Some(Instant::now());
    }

    /// Prints a line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Says what is in a folder of images and is not used.
    pub(crate) fn left_out(&mut self, left_out: &[LeftOut]) {
        for left_out in left_out {
            self.line(&format!("note: {left_out}"));
        }
    }

    /// Shows how far an extraction of features is.
    pub(crate) fn extraction(&mut self, step: &ExtractionStep) {
        match step {
            ExtractionStep::Skipped(image) => self.skipped(&image.path, &image.reason),
            ExtractionStep::Done {
                done,
                total,
                cached,
            } => {
                let text = format!("features {done}/{total}, {cached} of them from the cache");
                if done == total {
                    self.line(&text)
                } else {
                    self.update(&text)
                }
            }
        }
    }

    /// Shows how far the scoring of held-out images is.
    pub(crate) fn held_out(&mut self, progress: &CalibrationProgress<'_>) {
        match progress {
            CalibrationProgress::Scored { done, total } => {
                self.update(&format!("scored {done}/{total}"))
            }
            CalibrationProgress::Skipped { path, reason } => self.skipped(path, reason),
        }
    }

    /// Says that a picture is not used.
    pub(crate) fn skipped(&mut self, path: &Path, reason: &str) {
        self.line(&format!("skipped {}: {reason}", path.display()));
    }

    /// Takes the line that changes away.
    pub(crate) fn clear(&mut self) {
        if self.is_open {
            eprint!("\r\x1b[K");
            self.is_open = false;
        }
    }
}

/// How often a line says that something still goes on where there is no terminal.
const STILL_GOING: Duration = Duration::from_secs(60);

/// Says how long something takes that does not say how far it is, until it is dropped.
pub(crate) struct Elapsed {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Elapsed {
    /// Begins to count; `what` is done, for example `building`.
    pub(crate) fn start(what: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let begun = Instant::now();
            let mut line = ProgressLine::new();
            let interval = if line.is_terminal {
                Duration::from_secs(1)
            } else {
                STILL_GOING
            };
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let text = format!("{what}, for {}", minutes(begun.elapsed()));
                if line.is_terminal {
                    line.update(&text);
                } else {
                    line.line(&text);
                }
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Elapsed {
    fn drop(&mut self) {
        self.stop.take();
        // Waited for, so that nothing is printed after what comes next.
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// `2 min 05 s`.
pub(crate) fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}
