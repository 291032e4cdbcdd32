//! The small file that is overwritten in place: what must be kept even when the disk is full.
//!
//! ```text
//! slot 0: frame (generation, record) 0 0 … │ slot 1: frame (generation, record) 0 0 …
//! ```
//! The slot with the higher generation counts. One slot, the anchor, was synced to the disk when
//! written; all temporary stores go to the other one, so that there is always a whole slot.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::bytes::{ByteReader, put_text, put_u64};
use crate::error::OpenError;
use crate::folder::{Folder, is_bad_place, vanished};
use crate::frame::{self, FrameError};
use crate::pages::PAGE;
use crate::streams::Streams;

const MAGIC: &[u8; 8] = b"flawdhed";

/// What the head holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The journal's name.
    pub(crate) id: String,
    /// First position that is not acknowledged.
    pub(crate) oldest: u64,
    /// One past the last written entry.
    pub(crate) written: u64,
    /// One past the last settled position: written, or lost for good.
    pub(crate) end: u64,
    /// Entries dropped in the journal's whole life.
    pub(crate) dropped: u64,
    /// Entries that could not be written in the journal's whole life.
    pub(crate) unwritten: u64,
    /// The last number of each stream.
    pub(crate) streams: Streams,
}

impl Record {
    fn seal(&self, generation: u64) -> Vec<u8> {
        let mut body = Vec::new();
        put_u64(&mut body, generation);
        put_text(&mut body, &self.id);
        for number in [
            self.oldest,
            self.written,
            self.end,
            self.dropped,
            self.unwritten,
        ] {
            put_u64(&mut body, number);
        }
        self.streams.write(&mut body);
        frame::seal(MAGIC, &body)
    }

    fn read(body: &[u8]) -> Option<(u64, Self)> {
        let mut reader = ByteReader(body);
        let generation = reader.number()?;
        let record = Self {
            id: reader.text()?.to_owned(),
            oldest: reader.number()?,
            written: reader.number()?,
            end: reader.number()?,
            dropped: reader.number()?,
            unwritten: reader.number()?,
            streams: Streams::read(&mut reader)?,
        };
        Some((generation, record))
    }
}

/// Returns the bytes of a slot for this frame. Slots are whole pages: the system writes a page at
/// once.
fn slot_size(frame: &[u8]) -> u64 {
    // Twice the size it has now: more streams may follow.
    (2 * frame.len() as u64).next_multiple_of(PAGE)
}

/// What [`Head::load`] finds.
type Loaded = (Option<(Head, Record)>, Option<io::Error>);

/// The open head file.
#[derive(Debug)]
pub(crate) struct Head {
    file: File,
    slot_size: u64,
    /// The slot that temporary stores leave alone.
    anchor: u64,
    generation: u64,
}

impl Head {
    /// Creates a head, or replaces the existing one.
    pub(crate) fn create(folder: &mut Folder, record: &Record) -> io::Result<Self> {
        Self::publish(folder, record, 1)
    }

    fn publish(folder: &mut Folder, record: &Record, generation: u64) -> io::Result<Self> {
        let frame = record.seal(generation);
        let slot_size = slot_size(&frame);
        let path = folder.head();
        let file = folder.publish(&path, |mut file| {
            file.write_all(&frame)?;
            let rest = 2 * slot_size - frame.len() as u64;
            io::copy(&mut io::Read::take(io::repeat(0), rest), &mut file)?;
            Ok(())
        })?;
        Ok(Self {
            file,
            slot_size,
            anchor: 0,
            generation,
        })
    }

    /// Opens the head and reads its newest whole slot, if there is one. If the disk did not give
    /// all of it back, the error says why.
    pub(crate) fn load(folder: &Folder) -> Result<Loaded, OpenError> {
        let path = folder.head();
        let failed = |source| OpenError::Io {
            what: "read",
            path: path.clone(),
            source,
        };
        let opened = File::options().read(true).write(true).open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
            Err(error) if is_bad_place(&error) => return Ok((None, Some(error))),
            opened => opened.map_err(failed)?,
        };
        let slot_size = file.metadata().map_err(failed)?.len() / 2;
        let mut newest: Option<(u64, u64, Record)> = None;
        let mut refused = None;
        for slot in 0..2 {
            // If it cannot be read, the other one may be whole.
            let (bytes, fault) = frame::load(MAGIC, &file, slot * slot_size, slot_size);
            refused = refused.or(fault);
            let found = match frame::open(MAGIC, &bytes) {
                Ok((body, _)) => Record::read(body),
                Err(FrameError::Version(version)) => {
                    return Err(OpenError::Version {
                        file: path,
                        version,
                    });
                }
                Err(FrameError::Damaged) => None,
            };
            let best = newest.as_ref().map(|(_, generation, _)| *generation);
            match found {
                Some((generation, record)) if best.is_none_or(|best| generation > best) => {
                    newest = Some((slot, generation, record));
                }
                _ => {}
            }
        }
        let loaded = newest.map(|(anchor, generation, record)| {
            let head = Self {
                file,
                slot_size,
                anchor,
                generation,
            };
            (head, record)
        });
        Ok((loaded, refused))
    }

    /// Writes the record. With `anchor` it goes to the slot that temporary stores leave alone, and
    /// with `waits` it is synced to the disk. Replaces the file if the record has outgrown it, or
    /// if it was deleted or extended.
    pub(crate) fn store(
        &mut self,
        folder: &mut Folder,
        record: &Record,
        anchor: bool,
        waits: bool,
    ) -> io::Result<()> {
        let generation = self.generation + 1;
        let frame = record.seal(generation);
        let fits = frame.len() as u64 <= self.slot_size && self.slot_size <= slot_size(&frame);
        if !fits || vanished(&self.file) {
            *self = Self::publish(folder, record, generation)?;
            return Ok(());
        }
        let slot = 1 - self.anchor;
        self.file.write_all_at(&frame, slot * self.slot_size)?;
        self.generation = generation;
        if anchor {
            if waits {
                self.file.sync_data()?;
            }
            self.anchor = slot;
        }
        Ok(())
    }

    /// Returns the bytes that it takes on the disk.
    pub(crate) fn size(&self) -> u64 {
        2 * self.slot_size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(oldest: u64) -> Record {
        Record {
            id: "0123456789ab".to_owned(),
            oldest,
            ..Record::default()
        }
    }

    #[test]
    fn passing_stores_leave_the_anchor_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), false).unwrap();
        let mut head = Head::create(&mut folder, &record(0)).unwrap();
        for anchored in 1..=5 {
            let firm = record(anchored * 100);
            head.store(&mut folder, &firm, true, false).unwrap();
            for passing in 1..=anchored {
                let passing = record(anchored * 100 + passing);
                head.store(&mut folder, &passing, false, false).unwrap();
                let (_, found) = Head::load(&folder).unwrap().0.unwrap();
                assert_eq!(found, passing, "the newest counts");
            }
            // The system was writing the slot of the temporary stores when the power failed.
            let file = File::options().write(true).open(folder.head()).unwrap();
            let torn = (1 - head.anchor) * head.slot_size;
            file.write_all_at(&[0xff; 64], torn).unwrap();
            let (_, found) = Head::load(&folder).unwrap().0.unwrap();
            assert_eq!(found, firm);
        }
    }

    /// Its size would count towards the journal, and displace waiting entries.
    #[test]
    fn a_head_that_someone_made_longer_gets_its_size_back() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), false).unwrap();
        let head = Head::create(&mut folder, &record(3)).unwrap();
        let size = head.size();
        head.file.set_len(size + (1 << 30)).unwrap();
        let (mut head, found) = Head::load(&folder).unwrap().0.unwrap();
        assert_eq!(found, record(3));
        head.store(&mut folder, &record(4), true, false).unwrap();
        assert_eq!(head.size(), size);
        assert_eq!(folder.head().metadata().unwrap().len(), size);
        assert_eq!(Head::load(&folder).unwrap().0.unwrap().1, record(4));
    }

    #[test]
    fn a_head_that_outgrows_its_slots_gets_larger_ones() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), false).unwrap();
        let mut head = Head::create(&mut folder, &record(0)).unwrap();
        let mut grown = record(1);
        for number in 0..500 {
            grown
                .streams
                .settle(&format!("stream {number}"), number + 1);
            head.store(&mut folder, &grown, false, false).unwrap();
            let size = folder.head().metadata().unwrap().len();
            assert_eq!(size, head.size());
        }
        assert!(head.size() > 2 * PAGE);
        let (_, found) = Head::load(&folder).unwrap().0.unwrap();
        assert_eq!(found, grown);
    }
}
