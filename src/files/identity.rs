//! Which folder a path leads to.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What distinguishes a folder from another one in its place: one that was created again, mounted
/// over it, or that a link leads to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the folder that this path leads to; links are followed.
    ///
    /// # Errors
    /// If there is none, or it cannot be reached.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(folder)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}
