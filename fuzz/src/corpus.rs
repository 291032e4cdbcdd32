//! Inputs on the disk.
//!
//! `fuzz/corpus/<target>` belongs to the repository: good files of every kind, and all inputs that
//! once broke a reader. `fuzz/runs/<target>` is what runs have kept: inputs that reached new code,
//! the one being fed, and findings.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Returns the inputs of the repository, by the names of their files.
///
/// # Errors
/// If they cannot be read.
pub fn kept(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    files(&folder("corpus", target))
}

/// Returns inputs that reached new code in an earlier run.
///
/// # Errors
/// If they cannot be read, or their folder cannot be created.
pub fn grown(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = folder("runs", target).join("corpus");
    fs::create_dir_all(&folder)?;
    files(&folder)
}

/// Keeps an input that reached new code.
///
/// # Errors
/// If it cannot be written.
pub fn grow(target: &str, input: &[u8]) -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    fs::write(folder("runs", target).join("corpus").join(name), input)
}

/// Opens the file that holds the input being fed, for one process at a time.
///
/// # Errors
/// If it cannot be opened, or another run feeds the same target.
pub fn take(target: &str) -> io::Result<File> {
    let mut options = File::options();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(current(target))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::other(format!("another run feeds `{target}`; wait for its end"))
        }
        TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

/// Returns the path of the input being fed, in case it ends the process.
pub fn current(target: &str) -> PathBuf {
    folder("runs", target).join("current")
}

fn folder(kind: &str, target: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join(kind).join(target)
}

fn files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        files.push((name, fs::read(file.path())?));
    }
    files.sort();
    Ok(files)
}
