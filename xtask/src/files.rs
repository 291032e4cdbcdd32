//! Files, with errors that name them.

use std::fs;
use std::io;
use std::path::Path;

use crate::process::Step;

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

pub(crate) fn sha256(path: &Path) -> Result<String, String> {
    Step::new("sha256sum", &[&path.to_string_lossy()])
        .answer()
        .and_then(|line| line.split_whitespace().next().map(str::to_owned))
        .ok_or_else(|| format!("sha256sum cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(Path::new("/dev/null")).as_deref(), Ok(empty));
        assert!(sha256(Path::new("/nowhere/at/all")).is_err());
    }
}
