//! How far a long command is: on a terminal one line that changes, elsewhere nothing.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes at most.
const REFRESH: Duration = Duration::from_millis(200);

/// A line on standard error that changes, with lines above it that stay.
pub(super) struct ProgressLine {
    is_terminal: bool,
    is_open: bool,
    last: Option<Instant>,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            is_open: false,
            last: None,
        }
    }

    /// Replaces the line that changes.
    pub(super) fn update(&mut self, text: &str) {
        if !self.is_terminal || self.last.is_some_and(|last| last.elapsed() < REFRESH) {
            return;
        }
        eprint!("\r\x1b[K{text}");
        // Where standard error is gone there is nobody left to tell.
        io::stderr().flush().ok();
        self.is_open = true;
        self.last = Some(Instant::now());
    }

    /// Prints a line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Takes the line that changes away.
    pub(super) fn clear(&mut self) {
        if self.is_open {
            eprint!("\r\x1b[K");
            self.is_open = false;
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}
