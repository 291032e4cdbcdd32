//! One process at a time per training: two that write one checkpoint would continue from each
//! other's epochs, and the first to finish would remove the other's state.
//!
//! ```text
//! CACHE/runs/<fingerprint>.lock    locked (flock) as long as the run lasts, then removed
//! ```
//! The lock is the system's, so it ends with the process, however that ends; a killed process
//! leaves only an empty file, which blocks no other.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::TrainingError;

/// The right to train the run of a fingerprint.
pub(crate) struct Lock {
    path: PathBuf,
    /// Locked until it is closed.
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`; creates its parent folders.
    ///
    /// # Errors
    /// If another process holds it, or nothing can be locked there.
    pub(crate) fn take(path: &Path) -> Result<Self, TrainingError> {
        let failed = |source| TrainingError::NotLocked {
            path: path.to_owned(),
            source,
        };
        loop {
            let mut file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut process = String::new();
                    // The content is only informative.
                    file.read_to_string(&mut process).ok();
                    return Err(TrainingError::Busy { process });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Its last holder may have removed it after it was opened here.
            if is_at(&file, path).map_err(failed)? {
                file.set_len(0).map_err(failed)?;
                write!(file, "{}", std::process::id()).map_err(failed)?;
                let path = path.to_owned();
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    /// Removes the file while it is locked, so that no other process's file is removed.
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Returns `true` if `file` is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let own = file.metadata()?;
    Ok((own.dev(), own.ino()) == (there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders_until_it_is_dropped_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs/a.lock");
        let first = Lock::take(&path).expect("it is free");
        let refused = Lock::take(&path).err().expect("it is taken").to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        assert!(!path.exists());
        // A file left by a killed process is not a lock.
        fs::write(&path, "1").expect("writable");
        drop(Lock::take(&path).expect("it is free again"));
        assert!(!path.exists());
    }
}
