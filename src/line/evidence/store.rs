//! The files of evidence: writes one, and deletes the oldest beyond the quota of size, number and
//! age, or if the disk is full.
//!
//! A file's modification time is set to when its picture was taken, so that its age survives a
//! restart; its order survives in its name. Handles bytes and names, and contains nothing about
//! pictures. Belongs to one thread.

use std::collections::BTreeMap;
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytesize::ByteSize;
use flawd_files::create_folders;

use super::EvidenceError;
use super::disk::{self, Lock};
use super::index::{Index, Kept};
use super::name::{self, Ours};
use crate::files::identity::Identity;

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

/// The folder and its contents.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// To notice that the folder was replaced, mounted over, or unmounted.
    identity: Identity,
    _lock: Lock,
    index: Index,
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
        create_folders(folder).map_err(cannot_use)?;
        let lock = Lock::take(folder).map_err(|error| match error {
            TryLockError::WouldBlock => EvidenceError::InUse {
                folder: folder.to_owned(),
            },
            TryLockError::Error(source) => cannot_use(source),
        })?;
        let mut store = Self {
            folder: folder.to_owned(),
            identity: Identity::of(folder).map_err(cannot_use)?,
            _lock: lock,
            index: Index::default(),
            is_outdated: false,
        };
        store.scan().map_err(cannot_use)?;
        Ok(store)
    }

    /// Returns the number of files.
    pub(crate) fn files(&self) -> u64 {
        self.index.files()
    }

    /// Returns the bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Returns `false` if the folder is gone or was replaced, or its files were deleted by another
    /// process: then it must be opened again.
    pub(crate) fn is_current(&self) -> bool {
        !self.is_outdated && Identity::of(&self.folder).is_ok_and(|found| found == self.identity)
    }

    fn scan(&mut self) -> io::Result<()> {
        let mut found = Vec::new();
        for camera in disk::folders(&self.folder, name::is_camera)? {
            for day in disk::folders(&self.folder.join(&camera), name::is_day)? {
                self.scan_day(&format!("{camera}/{day}"), &mut found)?;
            }
        }
        self.index = Index::of(found);
        Ok(())
    }

    fn scan_day(&self, day: &str, all: &mut Vec<Kept>) -> io::Result<()> {
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
                    let time = metadata.modified()?;
                    let kept = found.entry(stem.to_owned()).or_insert_with(|| Kept {
                        stem: format!("{day}/{stem}").into(),
                        taken: time,
                        files: 0,
                        bytes: 0,
                    });
                    kept.taken = kept.taken.max(time);
                    kept.files += 1;
                    kept.bytes += metadata.len();
                }
            }
        }
        all.extend(found.into_values());
        Ok(())
    }

    /// Deletes what is older than `limit`.
    pub(crate) fn expire(&mut self, limit: SystemTime) -> Result<(), EvidenceError> {
        while let Some(place) = self.index.before(limit) {
            self.delete(place)?;
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
        while self.index.bytes() + files.bytes() > max_size && self.delete_oldest()? {}
        loop {
            self.make_room(files, reserve)?;
            match self.write(files) {
                Ok(taken) => {
                    self.index.push(Kept {
                        stem: files.stem.as_str().into(),
                        taken,
                        files: files.files().count() as u64,
                        bytes: files.bytes(),
                    });
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
        match self.index.find(stem) {
            Some(place) => self.delete(place),
            None => self.delete_files(stem).map(drop),
        }
    }

    /// Deletes the oldest item; returns `false` if there is none.
    fn delete_oldest(&mut self) -> Result<bool, EvidenceError> {
        let Some(place) = self.index.oldest() else {
            return Ok(false);
        };
        self.delete(place).map(|()| true)
    }

    /// Deletes the item at this place.
    fn delete(&mut self, place: u64) -> Result<(), EvidenceError> {
        let Some(item) = self.index.get(place) else {
            return Ok(());
        };
        let counted = item.files;
        let deleted = self.delete_files(&item.stem)?;
        self.index.remove(place);
        self.is_outdated |= deleted != counted;
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
