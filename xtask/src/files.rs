//! Files, with errors that name them.

use std::fs;
use std::io;
use std::path::Path;

/// Returns what makes a message of the system's error at this path.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Makes a folder empty, whatever was in it, or creates it.
pub(crate) fn empty(folder: &Path) -> Result<(), String> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Removes a folder with what is in it, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

/// Copies a file.
pub(crate) fn copy(file: &Path, to: &Path) -> Result<(), String> {
    fs::copy(file, to).map(drop).map_err(at(file))
}

/// Reads a text.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(at(file))
}

/// Writes a text.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(at(file))
}
