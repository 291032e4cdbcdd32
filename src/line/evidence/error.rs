//! Why evidence cannot be kept, in the operator's terms.

use std::io;
use std::path::PathBuf;

use bytesize::ByteSize;

/// Why evidence cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Two stations use one folder.
    #[error(
        "another running station keeps its evidence in {}; give each its own folder",
        folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder, or one in it, cannot be created or read.
    #[error("cannot use the evidence folder {}", folder.display())]
    Folder {
        /// The evidence folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be deleted, although it is too old or space is needed.
    #[error("cannot delete {}", path.display())]
    Delete {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file system is full, and no evidence is left to delete.
    #[error(
        "{free} are free on the file system of {}, and {reserve} have to stay free, \
         evidence.keep_free and journal.capacity together; something else fills it",
        folder.display()
    )]
    NoRoom {
        /// The evidence folder.
        folder: PathBuf,
        /// Free bytes.
        free: ByteSize,
        /// Bytes that must stay free.
        reserve: ByteSize,
    },
    /// The file system has no room for more files, and no evidence is left to delete.
    #[error(
        "{free} more files (inodes) are free on the file system of {}, and {reserve} have to stay \
         free; something else makes many files there",
        folder.display()
    )]
    NoFiles {
        /// The evidence folder.
        folder: PathBuf,
        /// Free files.
        free: u64,
        /// Files that must stay free.
        reserve: u64,
    },
}

impl EvidenceError {
    /// Returns whether deleting files may help.
    pub(crate) fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Write { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
