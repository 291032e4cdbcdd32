//! A segment's file as it was found.

use std::fs::{self, File};
use std::io;

use crate::error::OpenError;
use crate::folder::{Folder, is_bad_place};
use crate::frame::FrameError;
use crate::segment::{self, BODY, Gap, Header, Read, Segment};
use crate::streams::Streams;
use crate::walk::Walk;
use crate::{entry, pages};

/// Bytes that are scanned at a time.
const CHUNK: u64 = 64 << 10;

/// How often the disk may fail to read a place of one segment before the rest of it is left for
/// later.
const PATIENCE: u32 = 16;

/// A segment's file as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segment: Segment,
    /// `None` if it is damaged, or of another journal.
    pub(crate) header: Option<Header>,
    /// The last numbers in its entries.
    pub(crate) streams: Streams,
    /// Why the disk did not give back a part of it.
    pub(crate) refusal: Option<io::Error>,
    read: Option<Read>,
    file: Option<File>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It holds nothing of this journal, as far as is known.
    Foreign,
    /// The header is damaged, and there may be entries.
    Beheaded,
    /// Everything that was checked is there and in order.
    Whole,
    /// Something is damaged or unreadable.
    Damaged,
}

impl Found {
    /// Opens the segment's file and reads its header.
    pub(crate) fn open(folder: &Folder, first: u64) -> Result<Self, OpenError> {
        let path = folder.segment(first);
        let failed = |source| OpenError::Io {
            what: "open",
            path: path.clone(),
            source,
        };
        let (file, size, read) = match File::open(&path) {
            // One bad place does not prevent the rest from being used.
            Err(fault) if is_bad_place(&fault) => {
                let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                (None, size, Read::Unreadable(fault))
            }
            opened => {
                let file = opened.map_err(failed)?;
                let size = file.metadata().map_err(failed)?.len();
                let read = match segment::read_header(&file, first, size) {
                    Ok(read) => read,
                    Err(FrameError::Damaged) => Read::Damaged(None),
                    Err(FrameError::Version(version)) => {
                        return Err(OpenError::Version {
                            file: path,
                            version,
                        });
                    }
                };
                (Some(file), size, read)
            }
        };
        Ok(Self {
            segment: Segment {
                first,
                end: first,
                size,
                ..Segment::default()
            },
            header: None,
            streams: Streams::default(),
            refusal: None,
            read: Some(read),
            file,
            state: State::Foreign,
        })
    }

    /// Returns the name of the journal that it claims to belong to.
    pub(crate) fn id(&self) -> Option<&str> {
        match &self.read {
            Some(Read::Header(header, _)) => Some(&header.id),
            _ => None,
        }
    }

    /// Accepts it as a part of the journal of this name, if it is one.
    pub(crate) fn claim(&mut self, id: &str) {
        self.state = match self.read.take() {
            Some(Read::Header(header, start)) if header.id == id => {
                self.header = Some(header);
                self.segment.start = start;
                State::Whole
            }
            Some(Read::Damaged(name)) if name.as_deref() == Some(id) => State::Beheaded,
            Some(Read::Unreadable(fault)) => {
                self.refusal = Some(fault);
                State::Damaged
            }
            _ => State::Foreign,
        };
    }

    /// Returns `true` if it is a part of the journal.
    pub(crate) fn is_ours(&self) -> bool {
        self.state != State::Foreign
    }

    /// Returns `true` if more can be written to it.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Reads its entries. It should hold all of them up to `said`, exclusive, if something says that;
    /// `limit` and later ones are in the next segment.
    pub(crate) fn walk(&mut self, said: Option<u64>, limit: u64) {
        let said = said.map(|said| said.min(limit));
        let file = self.file.take();
        let segment = &mut self.segment;
        let walk = file.map(|file| Walk::new(file, segment.first, segment.start));
        match walk {
            Some(mut walk) if self.state == State::Beheaded => {
                walk.jump(segment.first, BODY);
                if !walk.sync(said.unwrap_or(limit), segment.size) {
                    if walk.refused() > 0 {
                        self.state = State::Damaged;
                        self.leave_for_later(said, limit, self.segment.size);
                    } else {
                        self.state = State::Foreign;
                    }
                    return;
                }
                // Without a gap a read has to search as well.
                segment.start = if segment.bridge(segment.first, &walk, walk.refused()) {
                    walk.offset()
                } else {
                    BODY
                };
                self.state = State::Damaged;
                self.walk_from(walk, said, limit);
            }
            Some(walk) if segment.start > 0 => self.walk_from(walk, said, limit),
            _ => self.leave_for_later(said, limit, self.segment.size),
        }
    }

    fn walk_from(&mut self, mut walk: Walk, said: Option<u64>, limit: u64) {
        let mut patience = PATIENCE;
        let segment = &mut self.segment;
        segment.end = walk.position();
        segment.length = walk.offset();
        while walk.position() < limit {
            let error = match walk.next(segment.size) {
                Ok(entry) => {
                    if let Some((stream, seq)) = entry.stream {
                        self.streams.settle(stream, seq);
                    }
                    segment.end = walk.position();
                    segment.length = walk.offset();
                    continue;
                }
                Err(error) => error,
            };
            let from = walk.position();
            let before = walk.refused();
            if error.kind() != io::ErrorKind::InvalidData {
                self.state = State::Damaged;
                self.refusal = Some(error);
                patience -= 1;
                if patience > 0 && walk.sync(limit, segment.size) {
                    continue;
                }
                let unknown = match patience {
                    0 => segment.size - walk.offset(),
                    _ => walk.refused() - before,
                };
                return self.leave_for_later(said, limit, unknown);
            }
            // Here it ends, or the remains of a kill begin.
            if said.is_some_and(|said| from >= said) {
                return;
            }
            let moved = walk.resync(said.unwrap_or(limit), segment.size);
            let unknown = walk.refused() - before;
            if moved || unknown > 0 || said.is_some() {
                self.state = State::Damaged;
            }
            if moved {
                segment.bridge(from, &walk, unknown);
                continue;
            }
            if unknown > 0 {
                self.leave_for_later(said, limit, unknown);
            }
            return;
        }
    }

    /// Counts what the disk does not give back now as present, up to `said`: it is tried again when
    /// it is read. `unknown` is the number of bytes that may hold entries that nothing else
    /// records. These have positions below `limit`; one may begin before those bytes, and one end
    /// after them.
    fn leave_for_later(&mut self, said: Option<u64>, limit: u64, unknown: u64) {
        let segment = &mut self.segment;
        segment.end = segment.end.max(said.unwrap_or(0));
        segment.length = segment.size;
        self.refusal
            .get_or_insert_with(|| io::Error::other("the disk does not give all of it back"));
        let most = unknown / entry::SMALLEST + 2;
        segment.hidden = most.min(limit.saturating_sub(segment.end));
    }

    /// Reads what the disk did not give back of this segment when the journal of this name was
    /// opened.
    ///
    /// # Errors
    /// If the disk still does not give all of it back.
    pub(crate) fn again(folder: &Folder, id: &str, before: &Segment) -> io::Result<Self> {
        let mut found = Self::open(folder, before.first).map_err(|error| match error {
            OpenError::Io { source, .. } => source,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?;
        found.claim(id);
        if !found.is_ours() {
            return Err(damaged_header());
        }
        found.walk(Some(before.end), before.reach());
        if found.segment.start > 0 && found.segment.hidden == 0 {
            return Ok(found);
        }
        Err(found.refusal.unwrap_or_else(damaged_header))
    }

    /// Returns the bytes from the end of the last entry to the last byte that is not 0.
    pub(crate) fn torn(&self, file: &File) -> u64 {
        let Segment { length, size, .. } = self.segment;
        let mut torn = 0;
        let mut at = length;
        while at < size {
            let (bytes, _) = pages::read_around(file, at, CHUNK.min(size - at));
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                torn = at + last as u64 + 1 - length;
            }
            at += bytes.len() as u64;
        }
        torn
    }
}

fn damaged_header() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the header is damaged")
}

impl Segment {
    /// Records that the entries from this position to that of `walk` are gone; not if the disk
    /// refused some bytes between them, where entries may be: that is seen when they are read.
    fn bridge(&mut self, from: u64, walk: &Walk, refused: u64) -> bool {
        let (to, offset) = (walk.position(), walk.offset());
        if refused > 0 {
            return false;
        }
        if from < to {
            self.gaps.push(Gap { from, to, offset });
        }
        true
    }
}
