//! Single operations on the file system: a lock, a folder listing, a file that is complete or
//! absent.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use flawd_files::{create_folders, sync_parent};

use super::name;

/// The holder of a lock on this file writes to the folder.
const LOCK: &str = ".lock";

/// A folder that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks the folder, or fails at once if another process has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, TryLockError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Closing the file would not be enough: a child process that is just being started has it open
    /// too, and holds the lock with it.
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

/// Lists the names of the folders in `folder` that can be ours. A link to a folder is one: files are
/// written through it, so they count.
pub(crate) fn folders(folder: &Path, is_ours: fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && is_ours(&name)
            && entry.path().is_dir()
        {
            found.push(name);
        }
    }
    Ok(found)
}

/// Writes a file under another name and renames it when it is on the disk, so that not even a power
/// cut leaves half of it. Returns its time stamp on the disk.
///
/// This is not [`flawd_files::write`]: the file has the time of its picture, new folders survive a
/// power cut as well, and an unfinished file is recognised by its name in a folder that holds other
/// programs' files.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], time: SystemTime) -> io::Result<SystemTime> {
    let folder = path.parent().expect("a file is in a folder");
    let name = path.file_name().expect("a file has a name");
    let draft = folder.join(name::unfinished(&name.to_string_lossy()));
    let write = || {
        create_folders(folder)?;
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.set_modified(time)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The name must be on the disk as well, or a power cut removes the file.
        sync_parent(path)?;
        file.metadata()?.modified()
    };
    write().inspect_err(|_| {
        fs::remove_file(&draft).ok();
    })
}
