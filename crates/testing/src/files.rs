//! Folders that tests copy.

use std::fs;
use std::path::Path;

/// Copies the files of a folder into another one, which is made if it is missing.
///
/// # Panics
/// If a file cannot be read or written.
#[track_caller]
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
