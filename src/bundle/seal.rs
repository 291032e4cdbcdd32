//! What tells whether a file is still the one that it was, without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

/// Identity of a file and the times of its last changes. A process that writes to it, puts another
/// one in its place or renames it changes this: the time of a change (`ctime`) cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Seal {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
