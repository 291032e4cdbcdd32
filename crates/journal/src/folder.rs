//! The journal's folder: its lock, its files' names, and files that appear whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::bytes::NUMBERS;
use crate::error::OpenError;

const LOCK: &str = "lock";
const HEAD: &str = "head";
const SEGMENT: &str = ".segment";
/// The name of an unfinished file. One left over by a kill is removed when the journal is opened.
const UNFINISHED: &str = "unfinished";

/// A folder used by this process alone.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
    waits: bool,
    /// Whether a segment was deleted since the names were last synced.
    has_deleted: bool,
}

impl Folder {
    /// Creates the folder if it is missing, locks it, and removes what was left unfinished. `waits`
    /// says whether files wait for the disk.
    pub(crate) fn open(path: &Path, waits: bool) -> Result<Self, OpenError> {
        let failed = |what| {
            move |source| OpenError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        let path = std::path::absolute(path).map_err(failed("find"))?;
        make(&path, waits).map_err(failed("make"))?;
        let lock = open_lock(&path).map_err(failed("write in"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { folder: path }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        match fs::remove_file(path.join(UNFINISHED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("tidy up")(error)),
            _ => Ok(Self {
                path,
                lock,
                waits,
                has_deleted: false,
            }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.path.join(HEAD)
    }

    /// Returns the file of the segment that begins with this position.
    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}{SEGMENT}"))
    }

    /// Returns the first positions of the existing segments, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            // A folder, a link or a pipe of such a name is not one of its files either.
            if !file.file_type()?.is_file() {
                continue;
            }
            let name = file.file_name();
            let first = name.to_str().and_then(|name| name.strip_suffix(SEGMENT));
            // Files with names that this program would not give are not its own.
            let first = first
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse().ok())
                .filter(|&first| first < NUMBERS);
            found.extend::<Option<u64>>(first);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Creates or replaces the file `name`: it is filled by `fill` under another name, and is on
    /// the disk before it gets its own.
    pub(crate) fn publish(
        &mut self,
        name: &Path,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<File> {
        self.hold()?;
        let unfinished = self.path.join(UNFINISHED);
        let attempt = || {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&unfinished)?;
            fill(&file)?;
            if self.waits {
                file.sync_all()?;
            }
            fs::rename(&unfinished, name)?;
            self.sync()?;
            Ok(file)
        };
        attempt().inspect_err(|_| {
            // It takes space on a full disk. If this fails too, the next attempt overwrites it.
            drop(fs::remove_file(&unfinished));
        })
    }

    /// Deletes the segment; one that is already gone is fine.
    pub(crate) fn delete(&mut self, first: u64) -> io::Result<()> {
        match fs::remove_file(self.segment(first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            removed => {
                self.has_deleted |= removed.is_ok();
                Ok(())
            }
        }
    }

    /// Waits until the names of the files are on the disk, if files wait for it.
    fn sync(&mut self) -> io::Result<()> {
        if self.waits {
            self.sync_names()
        } else {
            Ok(())
        }
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        self.has_deleted = false;
        Ok(())
    }

    /// Waits until the file system can use the space of deleted segments again: some give it back
    /// with their next commit only. Returns `false` if there is nothing to wait for.
    pub(crate) fn settle(&mut self) -> io::Result<bool> {
        let waited = self.has_deleted;
        if waited {
            self.sync_names()?;
        }
        Ok(waited)
    }

    /// Makes the folder and takes the lock again if they were deleted, or moved away with another
    /// folder in their place: another process may have that one.
    fn hold(&mut self) -> io::Result<()> {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = identity(self.lock.metadata()?);
        if fs::metadata(self.path.join(LOCK)).is_ok_and(|found| identity(found) == ours) {
            return Ok(());
        }
        make(&self.path, self.waits)?;
        let lock = open_lock(&self.path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let problem = "another process uses the folder that is in its place now";
                io::Error::new(io::ErrorKind::ResourceBusy, problem)
            }
            TryLockError::Error(error) => error,
        })?;
        self.lock = lock;
        Ok(())
    }
}

impl Drop for Folder {
    /// Unlocks. Closing alone is not enough: a process that another thread is just starting also
    /// has the lock file open, until it runs its own program.
    fn drop(&mut self) {
        // If this fails, closing is all that is left.
        drop(self.lock.unlock());
    }
}

fn open_lock(folder: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK))
}

/// Creates the folder and its parents, each one synced to the disk in its parent.
fn make(path: &Path, waits: bool) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make(parent, waits)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match path.parent() {
        Some(parent) if waits => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Returns `true` if the file has been deleted, although it is open.
pub(crate) fn vanished(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Returns `true` if the error says that the disk is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Returns `true` if the error says that this place of the disk, and not the program's
/// surroundings, is the reason.
pub(crate) fn is_bad_place(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        // The errors of file systems that find themselves damaged.
        Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_goes_with_the_folder_though_a_process_just_started_has_its_file_open() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path(), false).unwrap();
        // What a child process has between fork and exec.
        let inherited = folder.lock.try_clone().unwrap();
        assert!(matches!(
            Folder::open(place.path(), false),
            Err(OpenError::Locked { .. })
        ));
        drop(folder);
        Folder::open(place.path(), false).unwrap();
        drop(inherited);
    }
}
