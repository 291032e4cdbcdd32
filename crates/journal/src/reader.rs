//! Reading entries back, in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use crate::error::ReadError;
use crate::folder::Folder;
use crate::position::{Entry, Position};
use crate::segment::Segment;
use crate::walk::Walk;

/// Remembers where it stopped, so that continuing costs no search.
#[derive(Debug, Default)]
pub(crate) struct Reader(Option<Cursor>);

#[derive(Debug)]
struct Cursor {
    /// First position of its segment.
    segment: u64,
    walk: Walk,
}

/// Entries that cannot be read.
struct Damage {
    from: u64,
    /// The next one that can be read; more than `from`.
    to: u64,
    source: io::Error,
}

impl Reader {
    /// Reads entries at or after `from`, at most `limit`. What cannot be read is an error only if
    /// nothing before it could be returned: otherwise the next call meets it first.
    pub(crate) fn read(
        &mut self,
        folder: &Folder,
        segments: &VecDeque<Segment>,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let begin = segments.partition_point(|segment| segment.reach() <= from);
        for segment in segments.range(begin..) {
            let at = from.max(segment.first);
            match self.read_segment(folder, segment, at, limit, &mut entries) {
                Ok(()) => {}
                Err(damage) if entries.is_empty() => {
                    return Err(ReadError {
                        position: Position(damage.from),
                        skip_to: Position(damage.to),
                        file: folder.segment(segment.first),
                        source: damage.source,
                    });
                }
                Err(_) => break,
            }
            if segment.hidden > 0 {
                // What comes first may be in there.
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
    ) -> Result<(), Damage> {
        if at >= segment.end || entries.len() >= limit {
            return Ok(());
        }
        let damage = |source, position: u64, to| Damage {
            from: position.max(at),
            to,
            source,
        };
        let walk = self.walk(folder, segment, at);
        let walk = walk.map_err(|source| damage(source, at, segment.end))?;
        while walk.position() < segment.end && entries.len() < limit {
            let position = walk.position();
            if let Some(gap) = segment.gap(position) {
                walk.jump(gap.to, gap.offset);
                continue;
            }
            match walk.next(segment.length) {
                Ok(found) if position >= at => entries.push(Entry {
                    position: Position(position),
                    payload: found.payload.to_vec(),
                }),
                Ok(_) => {}
                Err(source) => {
                    if !walk.resync(segment.end, segment.length) {
                        self.0 = None;
                        return Err(damage(source, position, segment.end));
                    }
                    // The damage before that has been given up.
                    if walk.position() > at {
                        return Err(damage(source, position, walk.position()));
                    }
                }
            }
        }
        walk.rest();
        Ok(())
    }

    /// Returns a walk from the entry at `at` in the segment, or from one before it.
    fn walk(&mut self, folder: &Folder, segment: &Segment, at: u64) -> io::Result<&mut Walk> {
        let goes_on =
            |cursor: &mut Cursor| cursor.segment == segment.first && cursor.walk.position() <= at;
        let cursor = match self.0.take_if(goes_on) {
            Some(cursor) => cursor,
            None => Cursor {
                segment: segment.first,
                walk: begin(folder, segment)?,
            },
        };
        Ok(&mut self.0.insert(cursor).walk)
    }
}

/// Returns a walk from the first entry of the segment.
fn begin(folder: &Folder, segment: &Segment) -> io::Result<Walk> {
    let file = File::open(folder.segment(segment.first))?;
    Ok(Walk::new(file, segment.first, segment.start))
}
