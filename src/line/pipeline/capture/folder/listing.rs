//! The files in a folder and its subfolders, as they are at the moment.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::files::path_text::by_ending;
use crate::pictures::decode;

/// Lists the images in a folder and below, in order; logs files that are not images.
///
/// # Errors
/// If the folder or one below cannot be read; the error names it.
pub(crate) fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut images, mut other) = (Vec::new(), Vec::new());
    list(folder, &mut images, &mut other)?;
    if !other.is_empty() {
        warn!(
            folder = %folder.display(),
            files = other.len(),
            endings = by_ending(&other),
            used = images.len(),
            "Files of the folder are not images by their names and are not inspected"
        );
    }
    images.sort_unstable();
    Ok(images)
}

/// Adds the images in a folder and below to `images`, and all other files to `other`. A folder
/// below that disappears meanwhile has none.
///
/// # Errors
/// If the folder or one below cannot be read; the error names it.
pub(crate) fn list(
    folder: &Path,
    images: &mut Vec<PathBuf>,
    other: &mut Vec<PathBuf>,
) -> io::Result<()> {
    for entry in folder.read_dir().map_err(|error| at(folder, error))? {
        let entry = entry.map_err(|error| at(folder, error))?;
        let path = entry.path();
        if is_hidden(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            match list(&path, images, other) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                listed => listed?,
            }
        } else if decode::is_image(&path) {
            images.push(path);
        } else {
            other.push(path);
        }
    }
    Ok(())
}

/// Returns whether a file or folder of this name is left out.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Returns the error with the folder where it occurred.
pub(crate) fn at(folder: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_below_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("a");
        let name = "n".repeat(205);
        let deep = (0..19).fold(short.clone(), |path, _| path.join(&name));
        fs::create_dir_all(deep).unwrap();
        // The path of the deepest one is longer than the system takes (PATH_MAX, 4096 bytes) now.
        let long = folder.path().join("a".repeat(250));
        fs::rename(short, &long).unwrap();
        let error = sorted(folder.path()).unwrap_err().to_string();
        let below = long.join(name);
        assert!(error.starts_with(&*below.to_string_lossy()), "{error}");
    }
}
