//! Writes files that are whole or absent, even if the process is killed, the disk is full or the
//! power fails.
//!
//! ```text
//! create ─► a hidden file beside the place ─► write ─► finish: on the disk ─► renamed into the place
//! ```
//! Dropping an unfinished file leaves what was in its place, and nothing else. A killed process
//! leaves the hidden file, which is locked (flock) only as long as its process lives: that is how
//! [`remove_abandoned`] recognises it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

/// How the names of unfinished files and folders begin.
const UNFINISHED: &str = ".flawd-new-";

/// A file that is not in its place yet.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl WholeFile {
    /// Starts the file that will be at `path`; creates its parent folders.
    ///
    /// # Errors
    /// If the location is not writable, or a folder, a device or a pipe is there, which a file
    /// would replace.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Ok(there) = fs::metadata(path)
            && !there.is_file()
        {
            let what = match there.is_dir() {
                true => "it is a folder, and a file is to be written",
                false => "it is a device or a pipe, and a file would take its place",
            };
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let folder = folder_of(path);
        create_folders(folder)?;
        loop {
            let file = tempfile::Builder::new()
                .prefix(UNFINISHED)
                // Like any new file, so that the process's umask determines who may read it.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(folder)
                .map_err(bare)?;
            if hold(file.as_file())? {
                let path = path.to_owned();
                return Ok(Self { path, file });
            }
        }
    }

    /// Returns where its bytes are until then, for a writer that takes a path.
    pub fn draft(&self) -> &Path {
        self.file.path()
    }

    /// Puts the file in its place, once its bytes are on the disk.
    ///
    /// # Errors
    /// If the disk reports an error; whatever was in the place is then unchanged.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path)?;
        sync_parent(&self.path)
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(bare)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A hidden folder for what will be renamed into its place as a whole.
#[derive(Debug)]
pub struct DraftFolder {
    folder: TempDir,
    /// Locked until it is closed.
    _handle: File,
}

impl DraftFolder {
    /// Creates the folder in `parent`, whose own folders are created too.
    ///
    /// # Errors
    /// If `parent` is not writable.
    pub fn create_in(parent: &Path) -> io::Result<Self> {
        create_folders(parent)?;
        loop {
            let folder = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .permissions(Permissions::from_mode(0o777))
                .tempdir_in(parent)
                .map_err(bare)?;
            let handle = match File::open(folder.path()) {
                // Removed as abandoned before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                handle => handle?,
            };
            if hold(&handle)? {
                return Ok(Self {
                    folder,
                    _handle: handle,
                });
            }
        }
    }

    /// Returns where the folder is until then.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Marks a new file or folder as that of a living process. Returns `false` if it was removed as
/// abandoned before it was locked.
fn hold(new: &File) -> io::Result<bool> {
    match new.try_lock() {
        Ok(()) => Ok(new.metadata()?.nlink() > 0),
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks, on which nothing is ever taken for abandoned.
        Err(TryLockError::Error(_)) => Ok(true),
    }
}

/// Returns `true` if a file or folder of this name is an unfinished one.
pub fn is_unfinished(name: &[u8]) -> bool {
    name.starts_with(UNFINISHED.as_bytes())
}

/// Removes the unfinished files and folders in `folder` whose process was killed. What cannot be
/// removed stays: it is only clutter.
pub fn remove_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if !is_unfinished(entry.file_name().as_bytes()) {
            continue;
        }
        let path = entry.path();
        // Not opened if it is a device, a pipe or a link, on which opening may block or lead away.
        let is_folder = match entry.file_type() {
            Ok(kind) if kind.is_dir() => true,
            Ok(kind) if kind.is_file() => false,
            _ => continue,
        };
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            match is_folder {
                true => fs::remove_dir_all(&path).ok(),
                false => fs::remove_file(&path).ok(),
            };
        }
    }
}

/// Returns the system's own error, without the hidden file's name. `tempfile` wraps it: what is left
/// of it is the text, with the number that decides about the exit code.
fn bare(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let text = error.to_string();
    let number = text.split("(os error ").nth(1);
    let number = number.and_then(|rest| rest.split(')').next()?.parse().ok());
    number.map_or(error, io::Error::from_raw_os_error)
}

/// Writes `bytes` to `path`; creates its parent folders.
///
/// # Errors
/// If the disk reports an error; whatever was in the place is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.finish()
}

/// Creates a folder and those that it is in, as far as they are missing, with names as durable as
/// what will be written there: a file that is on the disk is of no use if its folder is not.
///
/// # Errors
/// If one of them cannot be created or synced, or a file is in its place.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() || folder == Path::new("") {
        return Ok(());
    }
    let parent = folder_of(folder);
    let mut created = fs::create_dir(folder);
    let is_parent_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if created.as_ref().is_err_and(is_parent_missing) && parent != folder {
        create_folders(parent)?;
        created = fs::create_dir(folder);
    }
    match created {
        // Another process was faster.
        Err(_) if folder.is_dir() => {}
        created => created?,
    }
    sync_folder(parent)
}

/// Makes the names in a folder as durable as the files.
///
/// # Errors
/// If the folder cannot be opened, or the disk reports an error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the name `path` as durable as the file, or its absence: syncs the folder that it is in.
///
/// # Errors
/// As [`sync_folder`].
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(folder_of(path))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_finished_leaves_the_one_in_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/model.onnx");
        write(&path, b"old").expect("it can be written");
        let mut file = WholeFile::create(&path).expect("it can be begun");
        file.write_all(b"half").expect("it can be written");
        assert_eq!(fs::read(&path).expect("it is there"), b"old");
        drop(file);
        assert_eq!(fs::read(&path).expect("it is there"), b"old");
        write(&path, b"new").expect("it can be written");
        assert_eq!(fs::read(&path).expect("it is there"), b"new");
        let names = fs::read_dir(folder_of(&path)).expect("it can be listed");
        assert_eq!(names.count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        // A killed process drops nothing, and the system closes its files.
        let killed = WholeFile::create(&path("killed")).expect("it can be begun");
        killed.file.into_temp_path().keep().expect("it can be kept");
        let killed = DraftFolder::create_in(folder.path()).expect("it can be begun");
        write(&killed.path().join("model.onnx"), b"model").expect("it can be written");
        let _kept = killed.folder.keep();
        drop(killed._handle);
        fs::write(path(".other"), b"of another program").expect("it can be written");

        let file = WholeFile::create(&path("alive")).expect("it can be begun");
        let draft = DraftFolder::create_in(folder.path()).expect("it can be begun");
        remove_abandoned(folder.path());
        assert!(file.draft().exists() && draft.path().exists() && path(".other").exists());
        file.finish().expect("it can be finished");
        drop(draft);
        let names = fs::read_dir(folder.path()).expect("it can be listed");
        let mut names: Vec<_> = names
            .map(|name| name.expect("listed").file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".other", "alive"]);
    }

    /// The exit code depends on its number, and the hidden file's name is of no use to the reader.
    #[test]
    fn the_systems_error_is_kept_and_the_hidden_name_is_not() {
        // Not even root can make something there.
        let folder = Path::new("/proc");
        let file = WholeFile::create(&folder.join("model.onnx")).expect_err("must be refused");
        let draft = DraftFolder::create_in(folder).expect_err("must be refused");
        for error in [file, draft] {
            assert!(error.raw_os_error().is_some(), "{error:?}");
            assert!(!error.to_string().contains("flawd"), "{error}");
        }
    }

    #[test]
    fn folders_are_created_through_what_is_missing_and_not_through_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["a/b/c", "a/b/c", "x/../y", "a/b/c/"] {
            create_folders(&at(name)).expect("it can be created");
            assert!(at(name).is_dir(), "{name}");
        }
        create_folders(Path::new("")).expect("the current folder is there");
        write(&at("file"), b"").expect("it can be written");
        for name in ["file", "file/below"] {
            let error = create_folders(&at(name)).expect_err("a file is there");
            assert!(error.raw_os_error().is_some(), "{error:?}");
        }
    }

    #[test]
    fn a_file_may_be_read_by_others_as_any_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let [ours, usual] = ["ours", "usual"].map(|name| folder.path().join(name));
        write(&ours, b"").expect("it can be written");
        File::create(&usual).expect("it can be written");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
