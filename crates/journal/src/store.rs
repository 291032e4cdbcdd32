//! The segments and the head on the disk: written, made room for, deleted.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{OpenError, ReadError};
use crate::folder::{Folder, is_full, vanished};
use crate::head::{Head, Record};
use crate::options::Options;
use crate::position::Entry;
use crate::reader::Reader;
use crate::recovery::{Recovery, recover};
use crate::segment::{self, Header, Segment};

/// What lies on the disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) folder: Folder,
    pub(crate) segments: VecDeque<Segment>,
    /// What the head says when it is written next.
    pub(crate) record: Record,
    /// Entries dropped since the journal was opened.
    pub(crate) dropped: u64,
    options: Options,
    head: Head,
    reader: Reader,
    /// The newest segment's file; `None` if the next entry begins a new segment.
    newest: Option<File>,
}

impl Store {
    pub(crate) fn open(path: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        let mut folder = Folder::open(path, options.waits())?;
        let recovered = recover(&mut folder, &options)?;
        let mut store = Self {
            folder,
            segments: recovered.segments,
            record: recovered.record,
            dropped: 0,
            options,
            head: recovered.head,
            reader: Reader::default(),
            newest: recovered.newest,
        };
        store.delete_acknowledged();
        // The capacity may be less than it was.
        store.make_room(0);
        Ok((store, recovered.report))
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.size).sum();
        self.head.size() + segments
    }

    /// Entries at or after `position`.
    pub(crate) fn entries_from(&self, position: u64) -> u64 {
        let segments = self.segments.iter();
        segments.map(|segment| segment.from(position)).sum()
    }

    /// Writes as many of the entries as go into one segment, at least one, and returns how many.
    /// `bytes` begins with the entries, whose lengths are `sizes`.
    pub(crate) fn write(&mut self, sizes: &[u64], bytes: &[u8]) -> io::Result<usize> {
        let needed = sizes[0];
        // A place that cannot be written is left for a new segment, once.
        let mut attempts = 2;
        loop {
            attempts -= 1;
            if !self.takes(needed) {
                self.rotate(needed)?;
            }
            let (Some(segment), Some(file)) = (self.segments.back_mut(), &self.newest) else {
                return Err(io::Error::other("there is no segment to write to"));
            };
            let room = segment.size - segment.length;
            let (mut count, mut total) = (0, 0);
            for size in sizes {
                if total + size > room {
                    break;
                }
                total += size;
                count += 1;
            }
            let bytes = &bytes[..usize::try_from(total).expect("they are in memory")];
            match segment.append(file, bytes, count as u64, self.options.waits()) {
                Ok(()) => {
                    self.record.written = segment.end;
                    self.record.end = segment.end;
                    return Ok(count);
                }
                Err(error) => {
                    self.newest = None;
                    if attempts == 0 {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Entries at or after `from`, at most `limit`.
    pub(crate) fn read(&mut self, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.reader.read(&self.folder, &self.segments, from, limit)
    }

    /// These positions have no entry and never will.
    pub(crate) fn lose(&mut self, count: u64) {
        self.record.end += count;
        self.record.unwritten += count;
    }

    /// Writes the head; with `firmly`, so that it is not lost to the next writes of it.
    pub(crate) fn remember(&mut self, firmly: bool) -> io::Result<()> {
        let waits = firmly && self.options.waits();
        self.head
            .store(&mut self.folder, &self.record, firmly, waits)
    }

    /// Writes the head and waits for the disk.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.head.store(&mut self.folder, &self.record, true, true)
    }

    /// Everything before `position` may go.
    pub(crate) fn acknowledge(&mut self, position: u64) {
        self.record.oldest = self.record.oldest.max(position);
    }

    /// Deletes the segments of which everything is acknowledged, but not the newest one: it keeps
    /// the numbers where the head gets lost.
    pub(crate) fn delete_acknowledged(&mut self) {
        while self.segments.len() > 1
            && self.segments[0].end <= self.record.oldest
            && self.delete_oldest()
        {}
    }

    /// Deletes the oldest segment. False if there is none or the disk does not let it go.
    fn delete_oldest(&mut self) -> bool {
        let Some(&oldest) = self.segments.front() else {
            return false;
        };
        if self.folder.delete(oldest.first).is_err() {
            return false;
        }
        self.segments.pop_front();
        // A file that is still open somewhere keeps its room on the disk.
        self.reader.forget(oldest.first);
        if self.segments.is_empty() {
            self.newest = None;
        }
        true
    }

    /// True if the newest segment takes an entry of this size at the next position.
    fn takes(&self, needed: u64) -> bool {
        let (Some(segment), Some(file)) = (self.segments.back(), &self.newest) else {
            return false;
        };
        // Within a segment there are no gaps between positions.
        segment.end == self.record.end && segment.length + needed <= segment.size && !vanished(file)
    }

    /// Begins a new segment, and drops the oldest ones where it takes their room.
    fn rotate(&mut self, needed: u64) -> io::Result<()> {
        let header = Header {
            id: self.record.id.clone(),
            first: self.record.end,
            follows: self.record.written,
            streams: self.record.streams.clone(),
        };
        let size = self.options.segment_size();
        if !self.make_room(size.max(needed)) {
            return Err(io::Error::other(
                "the oldest segments cannot be deleted to make room",
            ));
        }
        let (segment, file) = loop {
            match segment::create(&mut self.folder, &header, needed, size) {
                Err(error) if is_full(&error) && self.drop_oldest() => {}
                made => break made?,
            }
        };
        // A segment that began here and got no entry has been replaced by the new one.
        self.segments.retain(|old| old.first != segment.first);
        self.segments.push_back(segment);
        self.newest = Some(file);
        self.delete_acknowledged();
        self.make_room(0);
        Ok(())
    }

    /// Drops the oldest segments until this many bytes more are within the capacity. The newest
    /// stays in any case. False if the disk does not let them go.
    fn make_room(&mut self, more: u64) -> bool {
        while self.bytes() + more > self.options.capacity && self.segments.len() > 1 {
            if !self.drop_oldest() {
                return false;
            }
        }
        true
    }

    /// Deletes the oldest segment, acknowledged or not; the newest one only if nothing in it
    /// waits to be acknowledged. False if there is nothing to delete or it cannot be deleted.
    fn drop_oldest(&mut self) -> bool {
        let Some(&oldest) = self.segments.front() else {
            return false;
        };
        let dropped = oldest.from(self.record.oldest);
        if self.segments.len() == 1 {
            // From here to the next segment the head alone has the numbers.
            if dropped > 0 || self.remember(true).is_err() {
                return false;
            }
        }
        if !self.delete_oldest() {
            return false;
        }
        self.count_dropped(dropped);
        self.acknowledge(oldest.end);
        true
    }

    /// Counts entries that are given up without an acknowledgement.
    pub(crate) fn count_dropped(&mut self, dropped: u64) {
        self.dropped += dropped;
        self.record.dropped += dropped;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::entry;
    use crate::options::Durability;

    #[test]
    fn numbers_outlive_the_last_segment_even_if_the_next_write_of_the_head_is_torn() {
        let place = tempfile::tempdir().unwrap();
        let options = Options {
            capacity: 65536,
            sync: Durability::System,
        };
        let (mut store, _) = Store::open(place.path(), options).unwrap();
        let mut bytes = Vec::new();
        entry::write(&mut bytes, 0, Some(("camera", 1)), b"payload");
        store.write(&[bytes.len() as u64], &bytes).unwrap();
        store.record.streams.settle("camera", 1);
        store.remember(false).unwrap();
        assert!(!store.drop_oldest(), "it is not acknowledged");
        store.acknowledge(1);
        store.remember(false).unwrap();
        assert!(store.drop_oldest());
        assert!(store.segments.is_empty());
        assert_eq!(store.dropped, 0);

        let before = std::fs::read(store.folder.head()).unwrap();
        store.remember(false).unwrap();
        let after = std::fs::read(store.folder.head()).unwrap();
        let torn = before.iter().zip(&after).position(|(a, b)| a != b).unwrap();
        let head = File::options().write(true).open(store.folder.head());
        head.unwrap()
            .write_all_at(&[0xff; 64], torn as u64)
            .unwrap();
        drop(store);

        let (store, recovery) = Store::open(place.path(), options).unwrap();
        assert_eq!(recovery, Recovery::default());
        let mut streams = store.record.streams.clone();
        assert_eq!((streams.take("camera"), store.record.end), (2, 1));
    }
}
