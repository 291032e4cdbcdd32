//! Reading entries back, in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::entry;
use crate::error::ReadError;
use crate::folder::Folder;
use crate::position::{Entry, Position};
use crate::segment::Segment;

/// Bytes that are read at once, unless an entry is larger.
const CHUNK: u64 = 64 << 10;

/// Remembers where it stopped, so that reading on costs no search.
#[derive(Debug, Default)]
pub(crate) struct Reader(Option<Cursor>);

#[derive(Debug)]
struct Cursor {
    file: File,
    /// First position of its segment.
    segment: u64,
    /// Position of the entry at `offset`.
    position: u64,
    /// Where that entry begins, in bytes.
    offset: u64,
}

impl Reader {
    /// Entries at or after `from`, at most `limit`. What cannot be read is an error only if
    /// nothing before it could be returned: then the next call meets it first.
    pub(crate) fn read(
        &mut self,
        folder: &Folder,
        segments: &VecDeque<Segment>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut at = from;
        while entries.len() < limit {
            let index = segments.partition_point(|segment| segment.end <= at);
            let Some(segment) = segments.get(index) else {
                break;
            };
            at = at.max(segment.first);
            let outcome = self.read_segment(folder, segment, at, limit, &mut entries);
            at = entries
                .last()
                .map_or(at, |entry: &Entry| entry.position.0 + 1);
            if let Err(source) = outcome {
                self.0 = None;
                if entries.is_empty() {
                    return Err(ReadError {
                        position: Position(at),
                        skip_to: Position(segment.end),
                        file: folder.segment(segment.first),
                        source,
                    });
                }
                break;
            }
        }
        Ok(entries)
    }

    /// Closes the segment's file, if that is where it stopped.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.0.take_if(|cursor| cursor.segment == segment);
    }

    fn read_segment(
        &mut self,
        folder: &Folder,
        segment: &Segment,
        at: u64,
        limit: usize,
        entries: &mut Vec<Entry>,
    ) -> io::Result<()> {
        let cursor = match &mut self.0 {
            Some(cursor) if cursor.segment == segment.first && cursor.position <= at => cursor,
            other => other.insert(Cursor {
                file: File::open(folder.segment(segment.first))?,
                segment: segment.first,
                position: segment.first,
                offset: segment.start,
            }),
        };
        while cursor.position < segment.end && entries.len() < limit {
            let chunk = cursor.chunk(segment.length)?;
            let mut rest = &chunk[..];
            while cursor.position < segment.end && entries.len() < limit {
                let Some(found) = entry::read(rest, cursor.position) else {
                    if rest.len() == chunk.len() {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "the checksum is wrong",
                        ));
                    }
                    // It ends in the next chunk.
                    break;
                };
                if cursor.position >= at {
                    entries.push(Entry {
                        position: Position(cursor.position),
                        payload: found.payload.to_vec(),
                    });
                }
                rest = &rest[found.size..];
                cursor.position += 1;
                cursor.offset += found.size as u64;
            }
        }
        Ok(())
    }
}

impl Cursor {
    /// The next bytes of the segment, up to `end`: one whole entry and usually more.
    fn chunk(&self, end: u64) -> io::Result<Vec<u8>> {
        let left = end.saturating_sub(self.offset);
        let chunk = self.bytes(left.min(CHUNK))?;
        match entry::claimed_size(&chunk) {
            Some(size) if size > chunk.len() as u64 && size <= left => self.bytes(size),
            _ => Ok(chunk),
        }
    }

    fn bytes(&self, count: u64) -> io::Result<Vec<u8>> {
        let count = usize::try_from(count).map_err(io::Error::other)?;
        let mut bytes = vec![0; count];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}
