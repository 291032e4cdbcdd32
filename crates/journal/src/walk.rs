//! From entry to entry through a segment's file, past what is damaged.
//!
//! ```text
//! entry │ entry │ damaged │ entry │ entry │ 0 0 0 …
//! next() ►      ► error   │ next() ►
//!                 resync() ►
//! ```
//! Every step goes forward: an entry takes bytes and a position, and so does what is skipped.

use std::fs::File;
use std::io;

use crate::entry::{self, FoundEntry};
use crate::{pages, resync};

/// Bytes that are read at once, unless an entry is larger.
const CHUNK: u64 = 64 << 10;

/// Bytes that are searched for what follows a damaged entry. A segment with more than one entry is
/// never larger.
const SEARCH: u64 = 1 << 20;

/// A place in a segment's file.
#[derive(Debug)]
pub(crate) struct Walk {
    file: File,
    /// Position of the entry at `offset`.
    position: u64,
    /// Where that entry begins, in bytes.
    offset: u64,
    /// What was read from the file last.
    buffer: Vec<u8>,
    /// Where that lies in the file, in bytes.
    buffer_at: u64,
    /// The error that kept it from being longer.
    fault: Option<io::Error>,
    /// Bytes that the disk did not give back in searches.
    refused: u64,
}

impl Walk {
    /// Creates a walk from the entry of this position, which begins at `offset`.
    pub(crate) fn new(file: File, position: u64, offset: u64) -> Self {
        Self {
            file,
            position,
            offset,
            buffer: Vec::new(),
            buffer_at: offset,
            fault: None,
            refused: 0,
        }
    }

    /// Returns the bytes that the disk did not give back in searches for a whole entry.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the position of the next entry.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns where the next entry begins, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Continues with another entry.
    pub(crate) fn jump(&mut self, position: u64, offset: u64) {
        (self.position, self.offset) = (position, offset);
    }

    /// Returns the entry at the current place, which has to end before `end`, and moves past it. If
    /// there is no whole entry, it does not move.
    pub(crate) fn next(&mut self, end: u64) -> io::Result<FoundEntry<'_>> {
        self.fill(end);
        let held = held(&self.buffer, self.buffer_at, self.offset);
        let Some(found) = entry::read(held, self.position) else {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the checksum is wrong");
            return Err(self.fault.take().unwrap_or_else(damaged));
        };
        self.position += 1;
        self.offset += found.size as u64;
        Ok(found)
    }

    /// Moves to the first whole entry after the damage at the current place, if there is one with a
    /// position below `before`.
    pub(crate) fn resync(&mut self, before: u64, end: u64) -> bool {
        self.search(1, self.position + 1, before, end)
    }

    /// Moves to the first whole entry, as [`Walk::resync`] does; it may be the one at the current
    /// place, if the disk did not give that back or its beginning is unknown.
    pub(crate) fn sync(&mut self, before: u64, end: u64) -> bool {
        self.search(0, self.position, before, end)
    }

    /// Releases the memory that a large entry took.
    pub(crate) fn rest(&mut self) {
        if self.buffer.len() as u64 > CHUNK {
            self.buffer = Vec::new();
        }
    }

    fn search(&mut self, skip: usize, least: u64, before: u64, end: u64) -> bool {
        let count = end.saturating_sub(self.offset).min(SEARCH);
        let (bytes, refused) = pages::read_around(&self.file, self.offset, count);
        self.refused += refused;
        let Some((offset, position)) = resync::find(&bytes, skip, least..before) else {
            return false;
        };
        self.jump(position, self.offset + offset as u64);
        true
    }

    /// Makes the buffer hold the next entry, if there is a whole one.
    fn fill(&mut self, end: u64) {
        let left = end.saturating_sub(self.offset);
        let bytes = held(&self.buffer, self.buffer_at, self.offset);
        if entry::claimed_size(bytes).is_some_and(|size| size <= bytes.len() as u64) {
            return;
        }
        self.load(left.min(CHUNK));
        match entry::claimed_size(&self.buffer) {
            Some(size) if size > self.buffer.len() as u64 && size <= left => self.load(size),
            _ => {}
        }
    }

    fn load(&mut self, count: u64) {
        (self.buffer, self.fault) = pages::read(&self.file, self.offset, count);
        self.buffer_at = self.offset;
    }
}

/// Returns the part of the buffer from `offset` on.
fn held(buffer: &[u8], buffer_at: u64, offset: u64) -> &[u8] {
    let start = offset.checked_sub(buffer_at).map(pages::index);
    start
        .and_then(|start| buffer.get(start..))
        .unwrap_or_default()
}
