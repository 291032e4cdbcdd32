//! Detects from its size and times whether a file has changed since its digest was verified, without
//! reading it again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

/// Identity of a file and the times of its last changes. Writing to the file, replacing or renaming
/// it changes the seal: the time of a change (`ctime`) cannot be set.
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
