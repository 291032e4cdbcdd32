//! Files that are opened before the work and appear whole after it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use tempfile::NamedTempFile;

/// A file that is to be written at the end.
pub(super) struct OutputFile<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> OutputFile<'a> {
    /// Makes sure that it can be written; folders above it are made.
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

    /// Writes a value as JSON, and puts the file in its place.
    pub(super) fn write_json(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.write(&(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Writes text, and puts the file in its place.
    pub(super) fn write(mut self, text: &str) -> anyhow::Result<()> {
        let write = || -> anyhow::Result<()> {
            self.file.write_all(text.as_bytes())?;
            Ok(self.file.persist(self.path).map(drop)?)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
