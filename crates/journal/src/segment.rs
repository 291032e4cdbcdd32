//! One file of entries.
//!
//! A segment is created with all its bytes, zeros after the header, and never grows: a commit
//! writes over zeros. So a full disk shows when a segment is created and not in the middle of an
//! entry, and a commit changes no metadata that would have to be flushed with it.
//!
//! ```text
//! header: frame (journal id, first position, end of the entries before it, last numbers)
//! entry │ entry │ entry │ 0 0 0 …
//! ```

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::fs::FileExt;

use crate::bytes::{ByteReader, put_text, put_u64};
use crate::folder::Folder;
use crate::frame::{self, FrameError};
use crate::streams::Streams;

const MAGIC: &[u8; 8] = b"flawdseg";

/// What is known in memory about a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position of its first entry, whether there is one or not.
    pub(crate) first: u64,
    /// One past the position of its last entry.
    pub(crate) end: u64,
    /// Positions from `end` on that may have entries as well: the disk did not give back what is
    /// there, and nothing else records it.
    pub(crate) hidden: u64,
    /// Where its first entry begins, in bytes; 0 if that is still unknown, because the disk did not
    /// give it back.
    pub(crate) start: u64,
    /// Where its last entry ends, in bytes.
    pub(crate) length: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// What is damaged in it, in order.
    pub(crate) gaps: Vec<Gap>,
}

/// Entries of a segment that are lost through damage, with whole ones after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Position of the first one.
    pub(crate) from: u64,
    /// Position of the first one after them; more than `from`.
    pub(crate) to: u64,
    /// Where that begins, in bytes.
    pub(crate) offset: u64,
}

/// What a segment records about everything before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The journal's name.
    pub(crate) id: String,
    /// Position of the first entry.
    pub(crate) first: u64,
    /// One past the last entry written before; less than `first` if some could not be written.
    pub(crate) follows: u64,
    /// The last number of each stream before.
    pub(crate) streams: Streams,
}

impl Header {
    /// Returns the header's bytes.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, &self.id);
        put_u64(&mut body, self.first);
        put_u64(&mut body, self.follows);
        self.streams.write(&mut body);
        frame::seal(MAGIC, &body)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = ByteReader(body);
        Some(Self {
            id: reader.text()?.to_owned(),
            first: reader.number()?,
            follows: reader.number()?,
            streams: Streams::read(&mut reader)?,
        })
    }
}

/// Creates an empty segment with room for `room` bytes of entries, and at least `size` bytes.
pub(crate) fn create(
    folder: &mut Folder,
    header: &Header,
    room: u64,
    size: u64,
) -> io::Result<(Segment, File)> {
    let bytes = header.seal();
    let start = bytes.len() as u64;
    let size = size.max(start + room);
    let path = folder.segment(header.first);
    let file = folder.publish(&path, |mut file| {
        file.write_all(&bytes)?;
        io::copy(&mut io::repeat(0).take(size - start), &mut file)?;
        Ok(())
    })?;
    let segment = Segment {
        first: header.first,
        end: header.first,
        hidden: 0,
        start,
        length: start,
        size,
        gaps: Vec::new(),
    };
    Ok((segment, file))
}

impl Segment {
    /// Writes `count` entries after the last one, and waits for the disk if `waits`. If that fails,
    /// the segment is as before, as far as the disk allows.
    pub(crate) fn append(
        &mut self,
        file: &File,
        bytes: &[u8],
        count: u64,
        waits: bool,
    ) -> io::Result<()> {
        let write = || {
            file.write_all_at(bytes, self.length)?;
            if waits { file.sync_data() } else { Ok(()) }
        };
        write().inspect_err(|_| {
            // The reported error is the first one. If this fails too, what stays here are whole
            // entries, or a torn one that the next opening cuts off.
            drop(erase(file, self.length, bytes.len() as u64));
        })?;
        self.length += bytes.len() as u64;
        self.end += count;
        Ok(())
    }

    /// Returns how many of its entries lie at or after `position`.
    pub(crate) fn from(&self, position: u64) -> u64 {
        let from = position.max(self.first);
        let gone = self.gaps.iter();
        let gone: u64 = gone
            .map(|gap| gap.to.saturating_sub(gap.from.max(from)))
            .sum();
        self.end.saturating_sub(from) - gone
    }

    /// Returns the position of its first entry at or after `position`, if there is or may be one.
    pub(crate) fn next(&self, position: u64) -> Option<u64> {
        let from = position.max(self.first);
        let mut gaps = self.gaps.iter();
        let gap = gaps.find(|gap| (gap.from..gap.to).contains(&from));
        let next = gap.map_or(from, |gap| gap.to);
        (next < self.reach()).then_some(next)
    }

    /// Returns one past the last position that has, or may have, an entry.
    pub(crate) fn reach(&self) -> u64 {
        self.end + self.hidden
    }

    /// Returns the gap that begins at this position.
    pub(crate) fn gap(&self, position: u64) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.from == position)
    }

    /// Returns `true` if it has no entry for certain.
    pub(crate) fn is_empty(&self) -> bool {
        self.reach() == self.first
    }

    /// Returns the bytes on the disk that no entry will fill if it is left.
    pub(crate) fn unused(&self) -> u64 {
        self.size.saturating_sub(self.length)
    }
}

/// Writes zeros.
pub(crate) fn erase(file: &File, mut offset: u64, mut count: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    while count > 0 {
        let step = count.min(zeros.len() as u64);
        // `step` is at most the length of the array.
        #[expect(clippy::cast_possible_truncation, reason = "at most 4096")]
        file.write_all_at(&zeros[..step as usize], offset)?;
        offset += step;
        count -= step;
    }
    Ok(())
}

/// Returns the header of the segment of this position and where the first entry begins, as far as
/// the disk gives them back.
pub(crate) fn read_header(file: &File, first: u64, size: u64) -> Result<Read, FrameError> {
    let (bytes, fault) = frame::load(MAGIC, file, 0, size);
    let whole = match frame::open(MAGIC, &bytes) {
        Ok((body, start)) => Header::read(body).map(|header| (header, start as u64)),
        Err(FrameError::Damaged) => None,
        Err(version) => return Err(version),
    };
    Ok(match (whole, fault) {
        // A file that was renamed to another one's name holds nothing of this position.
        (Some((header, start)), _) if header.first == first => Read::Header(header, start),
        (Some(_), _) => Read::Damaged(None),
        (None, Some(fault)) => Read::Unreadable(fault),
        (None, None) => {
            let id = bytes.get(frame::PREFIX..).map(ByteReader);
            let id = id.and_then(|mut body| body.text().map(str::to_owned));
            Read::Damaged(id)
        }
    })
}

/// What [`read_header`] finds.
#[derive(Debug)]
pub(crate) enum Read {
    /// The header, and where the first entry begins, in bytes.
    Header(Header, u64),
    /// It is not what was written, but this is what is in the place of the journal's name.
    Damaged(Option<String>),
    /// The disk does not give it back.
    Unreadable(io::Error),
}

/// Where a search for the first entry begins if the header is damaged, in bytes.
pub(crate) const BODY: u64 = frame::PREFIX as u64;
