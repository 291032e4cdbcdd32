//! The files of evidence: writes one, and deletes the oldest beyond the quota of size, number and
//! age, or if the disk is full.
//!
//! A file's modification time is set to when its picture was taken, so that order and age survive a
//! restart. Handles bytes and names, and contains nothing about pictures. Belongs to one thread.

use std::collections::BTreeMap;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytesize::ByteSize;

use super::EvidenceError;
use super::disk::{self, Lock};
use super::name::{self, Ours};

/// Files that others, the journal above all, can still create when evidence has used its quota (not
/// measured); fewer if the file system has room for few.
const FILES_LEFT: u64 = 256;

/// One item as files.
#[derive(Debug)]
pub(crate) struct EvidenceFiles {
    /// Its name without extensions.
    pub(crate) stem: String,
    /// When the picture was taken.
    pub(crate) captured: SystemTime,
    /// The picture's file.
    pub(crate) picture: Vec<u8>,
    /// The heatmap's file.
    pub(crate) map: Option<Vec<u8>>,
}

impl EvidenceFiles {
    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.files().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Returns path and content; the picture comes last, so that it is there only with its heatmap.
    fn files(&self) -> impl Iterator<Item = (String, &[u8])> {
        let map = self.map.iter();
        map.map(|map| (name::map(&self.stem), map.as_slice()))
            .chain([(name::picture(&self.stem), self.picture.as_slice())])
    }
}

/// The files of one item, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    files: u64,
    bytes: u64,
}

/// The folder and its contents.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Device and inode, to notice that the folder was replaced, mounted over, or unmounted.
    identity: (u64, u64),
    _lock: Lock,
    /// By age, oldest first, and stem.
    index: BTreeMap<(SystemTime, Box<str>), Kept>,
    total: Kept,
    /// Whether another process deleted files, so that the counts are wrong.
    is_outdated: bool,
}

impl Store {
    /// Opens the folder, which is created if missing, counts what is there, and removes unfinished
    /// files.
    pub(crate) fn open(folder: &Path) -> Result<Self, EvidenceError> {
        let cannot_use = |source| EvidenceError::Folder {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(cannot_use)?;
        let lock = Lock::take(folder).map_err(|error| match error {
            TryLockError::WouldBlock => EvidenceError::InUse {
                folder: folder.to_owned(),
            },
            TryLockError::Error(source) => cannot_use(source),
        })?;
        let mut store = Self {
            folder: folder.to_owned(),
            identity: disk::identity(folder).map_err(cannot_use)?,
            _lock: lock,
            index: BTreeMap::new(),
            total: Kept::default(),
            is_outdated: false,
        };
        store.scan().map_err(cannot_use)?;
        Ok(store)
    }

    /// Returns the number of files.
    pub(crate) fn files(&self) -> u64 {
        self.total.files
    }

    /// Returns the bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.total.bytes
    }

    /// Returns `false` if the folder is gone or was replaced, or its files were deleted by another
    /// process: then it must be opened again.
    pub(crate) fn is_current(&self) -> bool {
        !self.is_outdated && disk::identity(&self.folder).is_ok_and(|found| found == self.identity)
    }

    fn scan(&mut self) -> io::Result<()> {
        for camera in disk::folders(&self.folder, name::is_camera)? {
            for day in disk::folders(&self.folder.join(&camera), name::is_day)? {
                self.scan_day(&format!("{camera}/{day}"))?;
            }
        }
        Ok(())
    }

    fn scan_day(&mut self, day: &str) -> io::Result<()> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.folder.join(day))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(ours) = name.to_str().and_then(name::file) else {
                continue;
            };
            if !entry.file_type()?.is_file() {
                continue;
            }
            match ours {
                Ours::Unfinished => fs::remove_file(entry.path())?,
                Ours::Whole(stem) => {
                    let metadata = entry.metadata()?;
                    let (time, kept) = found
                        .entry(format!("{day}/{stem}"))
                        .or_insert((SystemTime::UNIX_EPOCH, Kept::default()));
                    *time = metadata.modified()?.max(*time);
                    kept.files += 1;
                    kept.bytes += metadata.len();
                }
            }
        }
        for (stem, (time, kept)) in found {
            self.count(time, &stem, kept);
        }
        Ok(())
    }

    fn count(&mut self, time: SystemTime, stem: &str, kept: Kept) {
        self.total.files += kept.files;
        self.total.bytes += kept.bytes;
        self.index.insert((time, stem.into()), kept);
    }

    /// Deletes what is older than `limit`.
    pub(crate) fn expire(&mut self, limit: SystemTime) -> Result<(), EvidenceError> {
        while let Some(((time, _), _)) = self.index.first_key_value()
            && *time < limit
        {
            self.delete_oldest()?;
        }
        Ok(())
    }

    /// Writes an item, after deleting the oldest ones until all files together have at most
    /// `max_size` bytes, and `reserve` bytes and some files of the file system stay free. Files of
    /// the same name are replaced: their verdict was numbered, but the daemon ended before it was
    /// journalled.
    pub(crate) fn put(
        &mut self,
        files: &EvidenceFiles,
        max_size: u64,
        reserve: u64,
    ) -> Result<(), EvidenceError> {
        self.delete_namesake(&files.stem)?;
        while self.total.bytes + files.bytes() > max_size && self.delete_oldest()? {}
        loop {
            self.make_room(files, reserve)?;
            match self.write(files) {
                Ok(time) => {
                    let kept = Kept {
                        files: files.files().count() as u64,
                        bytes: files.bytes(),
                    };
                    self.count(time, &files.stem, kept);
                    return Ok(());
                }
                // Full in a way that free blocks do not show: inodes, or a user's quota.
                Err(error) if error.is_full() && self.delete_oldest()? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the oldest items until these files fit within the limits.
    fn make_room(&mut self, files: &EvidenceFiles, reserve: u64) -> Result<(), EvidenceError> {
        loop {
            let system = rustix::fs::statvfs(&self.folder).map_err(|error| {
                let folder = self.folder.clone();
                let source = error.into();
                EvidenceError::Folder { folder, source }
            })?;
            let block = system.f_frsize.max(1);
            let free = system.f_bavail.saturating_mul(block);
            let files = files.files();
            let need: u64 = files
                .map(|(_, bytes)| (bytes.len() as u64).next_multiple_of(block))
                .sum();
            // Two more for the folders.
            let has_blocks = free >= reserve.saturating_add(need + 2 * block);
            // A file system that allocates inodes on demand reports none.
            let files = FILES_LEFT.min(system.f_files / 8) + 4;
            let has_files = system.f_files == 0 || system.f_favail >= files;
            if has_blocks && has_files {
                return Ok(());
            }
            if !self.delete_oldest()? {
                if has_blocks {
                    return Err(EvidenceError::NoFiles {
                        folder: self.folder.clone(),
                        free: system.f_favail,
                        reserve: files,
                    });
                }
                return Err(EvidenceError::NoRoom {
                    folder: self.folder.clone(),
                    free: ByteSize(free),
                    reserve: ByteSize(reserve),
                });
            }
        }
    }

    /// Writes the files of an item, all or none, and returns their time stamp on this disk, whose
    /// clock may tick coarsely.
    fn write(&self, files: &EvidenceFiles) -> Result<SystemTime, EvidenceError> {
        let mut time = files.captured;
        for (path, bytes) in files.files() {
            let path = self.folder.join(path);
            match disk::write_whole(&path, bytes, files.captured) {
                Ok(written) => time = written,
                Err(source) => {
                    for (path, _) in files.files() {
                        fs::remove_file(self.folder.join(path)).ok();
                    }
                    return Err(EvidenceError::Write { path, source });
                }
            }
        }
        Ok(time)
    }

    /// Deletes the files with this stem, if any.
    fn delete_namesake(&mut self, stem: &str) -> Result<(), EvidenceError> {
        let exists = [name::picture(stem), name::map(stem)]
            .iter()
            .any(|path| self.folder.join(path).exists());
        if !exists {
            return Ok(());
        }
        // Rare enough to search all of them.
        let key = self.index.keys().find(|(_, other)| &**other == stem);
        match key.cloned() {
            Some(key) => self.delete(key),
            None => self.delete_files(stem).map(drop),
        }
    }

    /// Deletes the oldest item; returns `false` if there is none.
    fn delete_oldest(&mut self) -> Result<bool, EvidenceError> {
        let Some((key, _)) = self.index.first_key_value() else {
            return Ok(false);
        };
        self.delete(key.clone()).map(|()| true)
    }

    fn delete(&mut self, key: (SystemTime, Box<str>)) -> Result<(), EvidenceError> {
        let deleted = self.delete_files(&key.1)?;
        let kept = self.index.remove(&key).unwrap_or_default();
        self.total.files -= kept.files;
        self.total.bytes -= kept.bytes;
        self.is_outdated |= deleted != kept.files;
        Ok(())
    }

    /// Deletes picture and heatmap, and their folders if empty; returns the number of files.
    fn delete_files(&self, stem: &str) -> Result<u64, EvidenceError> {
        let mut deleted = 0;
        for path in [name::picture(stem), name::map(stem)] {
            let path = self.folder.join(path);
            match fs::remove_file(&path) {
                Ok(()) => deleted += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(EvidenceError::Delete { path, source }),
            }
        }
        // A folder with something else in it stays.
        let path = self.folder.join(stem);
        let folders = path.ancestors().skip(1).take(2);
        folders
            .map_while(|folder| fs::remove_dir(folder).ok())
            .count();
        Ok(deleted)
    }
}
