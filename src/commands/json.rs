//! A report as a file.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tempfile::NamedTempFile;

/// A file that is opened before the work and appears whole after it.
pub(super) struct JsonFile<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> JsonFile<'a> {
    /// Opens a file beside `path`.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub(super) fn create(path: &'a Path) -> anyhow::Result<Self> {
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let create = || {
            fs::create_dir_all(folder)?;
            tempfile::Builder::new()
                .prefix(".flawd-")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
                .tempfile_in(folder)
        };
        let file = create().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Writes a report and puts the file into its place.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(mut self, report: &impl Serialize) -> anyhow::Result<()> {
        let mut write = || -> anyhow::Result<()> {
            serde_json::to_writer_pretty(&mut self.file, report)?;
            self.file.write_all(b"\n")?;
            Ok(())
        };
        write()
            .and_then(|()| Ok(self.file.persist(self.path).map(drop)?))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
