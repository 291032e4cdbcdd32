//! Stores on disk which cameras are paused: a pause outlives a restart and a crash, since the
//! person who requested it may have a hand in the machine.
//!
//! A file `paused` in the station's state folder lists one camera name per line; it exists only
//! while a camera is paused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The file.
#[derive(Debug)]
pub(crate) struct PausedFile(PathBuf);

impl PausedFile {
    /// Uses this state folder.
    pub(crate) fn new(state: &Path) -> Self {
        Self(state.join("paused"))
    }

    /// Returns the file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the names of the cameras that were paused when it was last written.
    ///
    /// # Errors
    /// If it exists and cannot be read.
    pub(crate) fn read(&self) -> io::Result<BTreeSet<String>> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes the names of these cameras; they are on the disk when it returns.
    ///
    /// # Errors
    /// If writing to the disk fails.
    pub(crate) fn write<'a>(&self, cameras: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let text: String = cameras.flat_map(|name| [name, "\n"]).collect();
        if !text.is_empty() {
            return flawd_files::write(&self.0, text.as_bytes());
        }
        match fs::remove_file(&self.0) {
            Ok(()) => flawd_files::sync_parent(&self.0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_there_as_long_as_a_camera_is_paused() {
        let state = tempfile::tempdir().unwrap();
        let file = PausedFile::new(&state.path().join("made when needed"));
        assert_eq!(file.read().unwrap(), BTreeSet::new());
        file.write([].into_iter()).unwrap();
        file.write(["top", "side-2"].into_iter()).unwrap();
        let names = ["side-2", "top"].map(str::to_owned);
        assert_eq!(file.read().unwrap(), BTreeSet::from(names));
        file.write([].into_iter()).unwrap();
        assert_eq!(file.read().unwrap(), BTreeSet::new());
        assert!(!file.path().exists());
    }
}
