//! One file of entries.
//!
//! A segment is made with all its bytes, zeros after the header, and never grows: a commit writes
//! over zeros. So a full disk is met when a segment is made and not in the middle of an entry,
//! and a commit changes no metadata that would have to be flushed with it.
//!
//! ```text
//! header: frame (journal id, first position, end of the entries before it, last numbers)
//! entry │ entry │ entry │ 0 0 0 …
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use crate::bytes::{Reader, put_text, put_u64};
use crate::entry;
use crate::error::OpenError;
use crate::folder::Folder;
use crate::frame::{self, FrameError};
use crate::streams::Streams;

const MAGIC: &[u8; 8] = b"flawdseg";

/// What is known in memory about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position of its first entry, whether there is one or not.
    pub(crate) first: u64,
    /// One past the position of its last entry.
    pub(crate) end: u64,
    /// Where its first entry begins, in bytes.
    pub(crate) start: u64,
    /// Where its last entry ends, in bytes.
    pub(crate) length: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// What a segment says about all that was before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The journal's name.
    pub(crate) id: String,
    /// Position of the first entry.
    pub(crate) first: u64,
    /// One past the last entry written before; less than `first` where some could not be written.
    pub(crate) follows: u64,
    /// The last number of each stream before.
    pub(crate) streams: Streams,
}

impl Header {
    /// The header's bytes.
    pub(crate) fn seal(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, &self.id);
        put_u64(&mut body, self.first);
        put_u64(&mut body, self.follows);
        self.streams.write(&mut body);
        frame::seal(MAGIC, &body)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader(body);
        Some(Self {
            id: reader.text()?.to_owned(),
            first: reader.u64()?,
            follows: reader.u64()?,
            streams: Streams::read(&mut reader)?,
        })
    }
}

/// Makes an empty segment with room for `room` bytes of entries, and at least `size` bytes.
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
        start,
        length: start,
        size,
    };
    Ok((segment, file))
}

impl Segment {
    /// Writes `count` entries after the last one, and waits for the disk if `waits`. Where that
    /// fails, the segment is as it was, as far as the disk allows.
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
            // The error that is reported is the first. What stays here if this fails too is
            // whole entries, or a torn one that the next opening cuts.
            drop(erase(file, self.length, bytes.len() as u64));
        })?;
        self.length += bytes.len() as u64;
        self.end += count;
        Ok(())
    }

    /// How many of its entries lie at or after `position`.
    pub(crate) fn from(&self, position: u64) -> u64 {
        self.end.saturating_sub(position.max(self.first))
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

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segment: Segment,
    /// `None` if the header is damaged; there are no entries then.
    pub(crate) header: Option<Header>,
    /// The last numbers in its entries.
    pub(crate) streams: Streams,
    /// Bytes from the end of the last entry to the last byte that is not 0.
    pub(crate) torn: u64,
}

/// Reads a segment up to the first thing in it that is no whole entry.
pub(crate) fn load(folder: &Folder, first: u64) -> Result<Found, OpenError> {
    let path = folder.segment(first);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|mut file| {
        let size = file.metadata()?.len();
        // A place that cannot be read is damage like any other: what is before it is kept.
        drop(file.read_to_end(&mut bytes));
        Ok(size)
    });
    let size = read.map_err(|source| OpenError::Io {
        what: "open",
        path: path.clone(),
        source,
    })?;
    let mut found = Found {
        segment: Segment {
            first,
            end: first,
            start: 0,
            length: 0,
            size,
        },
        header: None,
        streams: Streams::default(),
        torn: 0,
    };
    match frame::open(MAGIC, &bytes) {
        Ok((body, length)) => {
            found.header = Header::read(body).filter(|header| header.first == first);
            found.segment.start = length as u64;
        }
        Err(FrameError::Version(version)) => {
            return Err(OpenError::Version {
                file: path,
                version,
            });
        }
        Err(FrameError::Damaged) => {}
    }
    if found.header.is_some() {
        found.walk(&bytes);
    }
    Ok(found)
}

impl Found {
    fn walk(&mut self, bytes: &[u8]) {
        let segment = &mut self.segment;
        let mut rest = bytes.get(count(segment.start)..).unwrap_or_default();
        while let Some(entry) = entry::read(rest, segment.end) {
            if let Some((stream, seq)) = entry.stream {
                self.streams.settle(stream, seq);
            }
            segment.end += 1;
            rest = &rest[entry.size..];
        }
        segment.length = (bytes.len() - rest.len()) as u64;
        let last = rest.iter().rposition(|&byte| byte != 0);
        self.torn = last.map_or(0, |last| last as u64 + 1);
    }
}

/// A number of bytes that are in memory.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
