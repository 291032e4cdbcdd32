//! Files of the caches, which exist whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Lets `write` create a file beside `path` and renames it once it is on the disk; missing parent
/// folders are created. Two processes may do so at once: the last one's file remains. If it fails,
/// `path` is unchanged, and nothing is left beside it.
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
