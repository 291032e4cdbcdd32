//! A bounded, numbered, crash-safe queue on disk.
//!
//! Entries go in at one end, are read in order, and are deleted once they are acknowledged. What a
//! commit has confirmed survives a kill of the process, and with [`Durability::Always`] a loss of
//! power. When the bound is reached or the disk is full, the oldest entries are dropped, and
//! counted. Numbers given to entries are never given twice.
//!
//! ```text
//! next_seq ─► append ─► commit ─► segment files ─► read ─► acknowledge ─► deleted
//!             memory    write, fdatasync     └── full: the oldest segment is dropped, counted
//! ```
//!
//! It knows only files: payloads are bytes, streams are names, and there are no threads, clocks or
//! logs. The format and the rules of recovery are in `docs/journal.md`.

mod bytes;
mod entry;
mod error;
mod folder;
mod found;
mod frame;
mod head;
mod journal;
mod options;
mod pages;
mod position;
mod reader;
mod recovery;
mod resync;
mod segment;
mod store;
mod streams;
mod walk;

pub use error::{CommitError, OpenError, ReadError, WriteError};
pub use journal::Journal;
pub use options::{Durability, MIN_CAPACITY, Options};
pub use position::{Entry, Position};
pub use recovery::Recovery;
