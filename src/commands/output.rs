//! Files that are opened before the work and appear whole after it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::whole_file::WholeFile;

/// A file that is to be written at the end.
pub(super) struct OutputFile<'a> {
    path: &'a Path,
    file: WholeFile,
}

impl<'a> OutputFile<'a> {
    /// Makes sure that it can be written; folders above it are made.
    pub(super) fn create(path: &'a Path) -> anyhow::Result<Self> {
        let file =
            WholeFile::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Writes a value as JSON, and puts the file in its place.
    pub(super) fn write_json(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.write((serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }

    /// Writes the bytes, and puts the file in its place.
    pub(super) fn write(mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(bytes);
        let finished = written.and_then(|()| self.file.finish());
        finished.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
