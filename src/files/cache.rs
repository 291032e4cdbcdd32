//! Where flawd keeps what it can make again: features of training images, the state of trainings,
//! finished variants of an ablation, TensorRT engines.
//!
//! ```text
//! CACHE/features/*      of a picture, a file each      CACHE/lock   shared by whatever works with
//!       runs/*          of trainings that did not end               these three, so that nothing is
//!       ablations/*     of a variant, a file each                   cleared under its hands
//!       engines/*       TensorRT's: see [`engine`](crate::line::engine)
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, io};

use super::directories::{CACHE, Directory};

/// The cache folder: systemd's `$CACHE_DIRECTORY`, `$XDG_CACHE_HOME/flawd` or `~/.cache/flawd`,
/// the first that there is. It need not exist yet.
pub fn folder() -> Option<PathBuf> {
    CACHE
        .folder(|name| env::var_os(name))
        .map(Directory::into_path)
}

/// Where TensorRT engines are kept unless the operator names another folder.
pub fn engines() -> Option<PathBuf> {
    Some(folder()?.join(ENGINES))
}

const ENGINES: &str = "engines";
const LOCK: &str = "lock";

/// What a cache holds, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Features of pictures.
    Features,
    /// The state of trainings that did not end.
    Runs,
    /// Finished variants of ablations.
    Ablations,
    /// TensorRT's engines, which the daemon uses, and `flawd model engine --prune` removes.
    Engines,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Features, Self::Runs, Self::Ablations, Self::Engines];

    /// The name of its folder in the cache.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Runs => "runs",
            Self::Ablations => "ablations",
            Self::Engines => ENGINES,
        }
    }

    /// True if nothing but time is lost with it, and only for the one who trains.
    pub fn is_cleared(self) -> bool {
        self != Self::Engines
    }
}

/// A file in a cache.
#[derive(Clone, Debug)]
pub struct CachedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, or used where that is known.
    pub used: SystemTime,
}

/// The files of a kind, also in folders below; none where the folder is not there.
///
/// # Errors
/// If a folder cannot be listed.
pub fn files(cache: &Path, kind: Kind) -> io::Result<Vec<CachedFile>> {
    let mut found = Vec::new();
    let mut folders = vec![cache.join(kind.folder())];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(CachedFile {
                    path: entry.path(),
                    bytes: metadata.len(),
                    used: metadata.modified()?,
                });
            }
        }
    }
    Ok(found)
}

/// Held as long as something works with a cache, or clears it.
#[derive(Debug)]
pub struct InUse {
    /// Locked until it is closed.
    _lock: File,
}

impl InUse {
    /// Says that something works with the cache, which is made where it is missing. Waits while it is
    /// cleared.
    ///
    /// # Errors
    /// If nothing can be written or locked there.
    pub fn shared(cache: &Path) -> io::Result<Self> {
        let lock = open_lock(cache)?;
        lock.lock_shared()?;
        Ok(Self { _lock: lock })
    }

    /// The right to clear the cache; `None` if something works with it.
    ///
    /// # Errors
    /// As [`InUse::shared`].
    pub fn alone(cache: &Path) -> io::Result<Option<Self>> {
        let lock = open_lock(cache)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open_lock(cache: &Path) -> io::Result<File> {
    fs::create_dir_all(cache)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.open(cache.join(LOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_something_works_with_is_not_had_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("new");
        let users = [(); 2].map(|()| InUse::shared(&cache).expect("it can be shared"));
        assert!(InUse::alone(&cache).expect("it can be asked").is_none());
        drop(users);
        assert!(InUse::alone(&cache).expect("it can be asked").is_some());
    }
}
