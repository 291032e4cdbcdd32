//! What can go wrong, and what can be done about it.

use std::io;
use std::path::PathBuf;

use crate::options::MIN_CAPACITY;
use crate::position::Position;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The capacity is too small to work with.
    #[error("a journal of {capacity} bytes is too small: give it at least {MIN_CAPACITY}")]
    Capacity {
        /// What was asked for, in bytes.
        capacity: u64,
    },
    /// Another process, or another part of this one, has the journal open.
    #[error("the journal {} is in use: end the process that has it open, or choose another folder", folder.display())]
    Locked {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// It was written by a program with a newer format.
    #[error("{} has version {version} of the journal's format, which this program does not know: use the newer program, or choose another folder", file.display())]
    Version {
        /// The file that says so.
        file: PathBuf,
        /// The version of the file.
        version: u32,
    },
    /// A file or the folder cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Entries that could not be written; they are lost. The journal continues.
#[derive(Debug, thiserror::Error)]
#[error("{lost} entries could not be written to the journal {} and are lost{}", folder.display(), if *numbers_kept { "" } else { ", and a restart may give their numbers again" })]
pub struct CommitError {
    /// The number of lost entries. The other entries of the same commit are written.
    pub lost: u64,
    /// True if the numbers of the lost entries are recorded on disk nevertheless, so that they are
    /// not given again after a restart. While the process runs they never are.
    pub numbers_kept: bool,
    /// The journal's folder.
    pub folder: PathBuf,
    /// The reason; the first one if there are several.
    pub source: WriteError,
}

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The entry is larger than a quarter of the capacity.
    #[error(
        "the entry takes {bytes} bytes, and the capacity allows {most}: give the journal more room"
    )]
    TooLarge {
        /// Bytes it would take.
        bytes: u64,
        /// Most that an entry may take.
        most: u64,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Entries that cannot be read back.
///
/// Try again if the cause may pass; if it does not, [`Journal::give_up`] with `skip_to` leaves them
/// behind.
///
/// [`Journal::give_up`]: crate::Journal::give_up
#[derive(Debug, thiserror::Error)]
#[error("cannot read entries {position} to {skip_to} (exclusive) in {}", file.display())]
pub struct ReadError {
    /// The first entry that cannot be read.
    pub position: Position,
    /// The first entry that may be readable again.
    pub skip_to: Position,
    /// The segment file.
    pub file: PathBuf,
    /// The reason; [`io::ErrorKind::InvalidData`] if the checksum is wrong.
    pub source: io::Error,
}
