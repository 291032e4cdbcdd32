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
    /// Unknown entries that may be in what the disk does not give back.
    pub(crate) hidden: u64,
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
            hidden: 0,
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
            Some(Read::Unreadable(_)) => State::Damaged,
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

    /// Reads its entries. It should hold all of them up to `said`, exclusive; `limit` and later
    /// ones are in the next segment.
    pub(crate) fn walk(&mut self, said: u64, limit: u64) {
        let said = said.min(limit);
        let file = self.file.take();
        let segment = &mut self.segment;
        let walk = file.map(|file| Walk::new(file, segment.first, segment.start));
        match walk {
            Some(mut walk) if self.state == State::Beheaded => {
                walk.jump(segment.first, BODY);
                if !walk.sync(said, segment.size) {
                    self.state = State::Foreign;
                    return;
                }
                segment.start = walk.offset();
                segment.bridge(segment.first, &walk);
                self.state = State::Damaged;
                self.walk_from(walk, said, limit);
            }
            Some(walk) if segment.start > 0 => self.walk_from(walk, said, limit),
            _ => self.leave_for_later(said, self.segment.size),
        }
    }

    fn walk_from(&mut self, mut walk: Walk, said: u64, limit: u64) {
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
            if error.kind() != io::ErrorKind::InvalidData {
                self.state = State::Damaged;
                patience -= 1;
                if patience > 0 && walk.sync(limit, segment.size) {
                    continue;
                }
                let unknown = match patience {
                    0 => segment.size - walk.offset(),
                    _ => walk.refused(),
                };
                return self.leave_for_later(said, unknown);
            }
            // Here it ends, or the remains of a kill begin.
            if from >= said {
                break;
            }
            self.state = State::Damaged;
            if !walk.resync(said, segment.size) {
                break;
            }
            segment.bridge(from, &walk);
        }
        self.hidden = walk.refused().div_ceil(entry::SMALLEST);
    }

    /// Counts what the disk does not give back now as present, up to `said`: it is tried again when
    /// it is read. `unknown` is the number of bytes that may hold entries that nothing else
    /// records.
    fn leave_for_later(&mut self, said: u64, unknown: u64) {
        let segment = &mut self.segment;
        segment.end = segment.end.max(said);
        segment.length = segment.size;
        self.hidden = unknown.div_ceil(entry::SMALLEST);
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

impl Segment {
    /// Records that the entries from this position to that of `walk` are gone.
    fn bridge(&mut self, from: u64, walk: &Walk) {
        let (to, offset) = (walk.position(), walk.offset());
        if from < to {
            self.gaps.push(Gap { from, to, offset });
        }
    }
}
