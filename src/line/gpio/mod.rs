//! Lines of GPIO chips, thin enough that everything behind them can be tested where there is none.
//!
//! Knows nothing of parts, pulses or triggers. The kernel gives a line to one process, sets an
//! output in the same step, and takes the line back when the process ends, however it ends. Which
//! level the line has from then on is up to the chip's driver.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

mod chip;

pub use chip::{examine, open_input, open_output};

/// An output line.
pub trait OutputLine: Send {
    /// Makes the line active or inactive.
    ///
    /// # Errors
    /// [`LineError`], after which the line has to be opened again.
    fn set(&mut self, active: bool) -> Result<(), LineError>;
}

/// An input line.
pub trait InputLine: Send {
    /// Waits for edges, at most for `limit`; returns those that have come, in order.
    ///
    /// # Errors
    /// [`LineError`], after which the line has to be opened again. A chip that was unplugged is
    /// noticed after `limit` at the latest.
    fn wait(&mut self, limit: Duration) -> Result<Vec<Edge>, LineError>;
}

/// Opens a line, again and again if it is lost.
pub type Opener<L> = Box<dyn FnMut() -> Result<Box<L>, LineError> + Send>;

/// A change of an input line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When the line changed, by the kernel; without the time that was spent on debouncing.
    pub at: Instant,
    /// Edges before this one that the kernel had no room to keep.
    pub missed: u32,
}

/// Why a line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The chip is not there.
    #[error("there is no GPIO chip {chip}; this machine has {present}")]
    NoChip {
        /// As configured.
        chip: String,
        /// The chips that there are.
        present: String,
    },
    /// Several chips have this label.
    #[error("several GPIO chips are called {chip}: {present}; name one by its path")]
    AmbiguousChip {
        /// As configured.
        chip: String,
        /// Their paths.
        present: String,
    },
    /// No line has this name.
    #[error(
        "no line is called `{name}`; the GPIO chips searched: {searched}; gpioinfo lists names"
    )]
    NoLine {
        /// As configured.
        name: String,
        /// The chips that were searched.
        searched: String,
    },
    /// Several lines have this name.
    #[error("several lines are called `{name}`: {places}; set `chip`, or `offset` instead")]
    AmbiguousLine {
        /// As configured.
        name: String,
        /// The chips and offsets.
        places: String,
    },
    /// The chip has fewer lines.
    #[error("{} has no line {offset}; its lines are 0 to {last}", chip.display())]
    OutOfRange {
        /// The chip.
        chip: PathBuf,
        /// As configured.
        offset: u32,
        /// The number of its last line.
        last: u32,
    },
    /// This user may not open the chip.
    #[error(
        "this user may not open {}: add it to the group of that file (`gpio` with flawd's udev \
         rule), and under systemd allow the device in the unit",
        chip.display()
    )]
    Denied {
        /// The chip.
        chip: PathBuf,
    },
    /// Something else has the line.
    #[error("{line} is in use by {consumer}")]
    InUse {
        /// The line.
        line: String,
        /// The name under which it was taken.
        consumer: String,
    },
    /// The kernel or the chip cannot do this.
    #[error(
        "{line}: the kernel (5.10 or later is needed) or the chip refuses this combination of \
         bias, drive, edge and debounce: {source}"
    )]
    Unsupported {
        /// The line.
        line: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The chip was removed.
    #[error("{line}: its chip is gone")]
    Gone {
        /// The line.
        line: String,
    },
    /// Any other error of the system.
    #[error("{line}: {source}")]
    System {
        /// The line or the chip.
        line: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LineError {
    /// Returns whether only another configuration helps.
    pub fn is_mistake(&self) -> bool {
        use LineError::{AmbiguousChip, AmbiguousLine, OutOfRange, Unsupported};
        matches!(
            self,
            AmbiguousChip { .. } | AmbiguousLine { .. } | OutOfRange { .. } | Unsupported { .. }
        )
    }
}
