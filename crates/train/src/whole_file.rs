//! Files of the caches, which are there whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Lets `write` make a file beside `path` and renames it there when it is on the disk; folders
/// above it are made. Two processes may do so at once: the last one's file is there then. Where it
/// fails, what was at `path` is as it was, and nothing is left beside it.
pub(crate) fn write(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let partial = tempfile::Builder::new()
        .prefix(".")
        .suffix(".partial")
        .tempfile_in(folder)?
        .into_temp_path();
    write(&partial)?;
    File::open(&partial)?.sync_all()?;
    Ok(partial.persist(path)?)
}
