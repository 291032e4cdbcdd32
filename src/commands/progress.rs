//! Progress of a long command: on a terminal, one changing line; elsewhere, little or nothing.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::calibration::CalibrationProgress;
use crate::lab::dataset::LeftOut;
use crate::lab::features::ExtractionStep;
use crate::messages::one_line;
use crate::pictures::depth;

/// Minimum interval between changes of the line.
const REFRESH: Duration = Duration::from_millis(200);

/// A changing line on standard error, with permanent lines above it.
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

    /// Replaces the changing line.
    pub(crate) fn update(&mut self, text: &str) {
        if !self.is_terminal || self.last.is_some_and(|last| last.elapsed() < REFRESH) {
            return;
        }
        eprint!("\r\x1b[K{}", one_line(text));
        // If standard error is gone, there is nowhere left to report to.
        io::stderr().flush().ok();
        self.is_open = true;
        self.last = Some(Instant::now());
    }

    /// Prints a permanent line.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        eprintln!("{}", one_line(text));
    }

    /// Reports what is in a folder of images and is not used.
    pub(crate) fn left_out(&mut self, left_out: &[LeftOut]) {
        for left_out in left_out {
            self.line(&format!("note: {left_out}"));
        }
    }

    /// Shows how many pictures were checked for what they have in common, such as their depth.
    pub(crate) fn checked(&mut self, what: &str, done: usize, total: usize) {
        self.update(&format!("{what} {done}/{total}"));
    }

    /// Reports the depth of pictures if they have more than 8 bits.
    pub(crate) fn depth(&mut self, found: &depth::Found) {
        match found.is_worth_saying() {
            true => self.line(&format!("depth: {found}")),
            false => self.clear(),
        }
    }

    /// Shows the progress of an extraction of features.
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

    /// Shows the progress of scoring held-out images.
    pub(crate) fn held_out(&mut self, progress: &CalibrationProgress<'_>) {
        match progress {
            CalibrationProgress::Scored { done, total } => {
                self.update(&format!("scored {done}/{total}"))
            }
            CalibrationProgress::Skipped { path, reason } => self.skipped(path, reason),
        }
    }

    /// Reports that a picture is not used.
    pub(crate) fn skipped(&mut self, path: &Path, reason: &str) {
        self.line(&format!("skipped {}: {reason}", path.display()));
    }

    /// Removes the changing line.
    pub(crate) fn clear(&mut self) {
        if self.is_open {
            eprint!("\r\x1b[K");
            self.is_open = false;
        }
    }
}

/// Interval of lines that report ongoing work if there is no terminal.
const STILL_GOING: Duration = Duration::from_secs(60);

/// Shows the elapsed time of work that does not report its progress, until dropped.
pub(crate) struct Elapsed {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Elapsed {
    /// Starts the clock; `what` is the work, for example `building`.
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
        // Wait for the thread, so that it prints nothing after later output.
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Formats a time as `2 min 05 s`.
pub(crate) fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}
