//! The segments and the head on the disk: writing, making room, deleting.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{OpenError, ReadError};
use crate::folder::{Folder, is_full, vanished};
use crate::found::Found;
use crate::head::{Head, Record};
use crate::options::Options;
use crate::pages::PAGE;
use crate::position::{Entry, Position};
use crate::reader::Reader;
use crate::recovery::{Recovery, Useless, recover};
use crate::segment::{self, Header, Segment};

/// The files on the disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) folder: Folder,
    /// In order, without overlap.
    pub(crate) segments: VecDeque<Segment>,
    /// Files without an entry. They take space, and are the first to be deleted for it.
    useless: Vec<Useless>,
    /// What the head will say when it is next written.
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
            useless: recovered.useless,
            record: recovered.record,
            dropped: 0,
            options,
            head: recovered.head,
            reader: Reader::default(),
            newest: recovered.newest,
        };
        store.acknowledge(0);
        store.delete_acknowledged();
        // The capacity may be lower than before.
        store.make_room(0);
        Ok((store, recovered.report))
    }

    /// Returns the bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.size).sum();
        let useless: u64 = self.useless.iter().map(|useless| useless.size).sum();
        self.head.size() + segments + useless
    }

    /// Returns the number of entries at or after `position`.
    pub(crate) fn entries_from(&self, position: u64) -> u64 {
        let segments = self.segments.iter();
        segments.map(|segment| segment.from(position)).sum()
    }

    /// Writes as many of the entries as fit into one segment, at least one, and returns how many.
    /// `bytes` begins with the entries, whose lengths are `sizes`.
    pub(crate) fn write(&mut self, sizes: &[u64], bytes: &[u8]) -> io::Result<usize> {
        if self.takes(sizes[0]) {
            match self.append(sizes, bytes) {
                Ok(count) => return Ok(count),
                // A place that cannot be written is left for a new segment.
                Err(_) => self.leave(),
            }
        }
        self.rotate(sizes[0])?;
        self.append(sizes, bytes).inspect_err(|_| self.leave())
    }

    /// Writes the entries that fit into the newest segment.
    fn append(&mut self, sizes: &[u64], bytes: &[u8]) -> io::Result<usize> {
        let (Some(segment), Some(file)) = (self.segments.back_mut(), &self.newest) else {
            return Err(io::Error::other("there is no segment to write to"));
        };
        let room = segment.unused();
        let (mut count, mut total) = (0, 0);
        for size in sizes {
            if total + size > room {
                break;
            }
            total += size;
            count += 1;
        }
        if count == 0 {
            return Err(io::Error::other("the newest segment has no room"));
        }
        let bytes = &bytes[..usize::try_from(total).expect("they are in memory")];
        segment.append(file, bytes, count as u64, self.options.waits())?;
        self.record.written = segment.end;
        self.record.end = segment.end;
        Ok(count)
    }

    /// Reads entries at or after `from`, at most `limit`.
    pub(crate) fn read(&mut self, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.look_again(from)
            .and_then(|()| self.reader.read(&self.folder, &self.segments, from, limit))
            .inspect_err(|error| {
                let newest = self.segments.back().map(|segment| segment.first);
                if newest.is_some_and(|first| error.file == self.folder.segment(first)) {
                    // What comes after damage would depend on what is found there.
                    self.leave();
                }
            })
    }

    /// Looks again for what a read from this position meets first, if the disk did not give it back
    /// when the journal was opened.
    fn look_again(&mut self, from: u64) -> Result<(), ReadError> {
        loop {
            let mut segments = self.segments.iter_mut();
            let first = segments.find_map(|segment| Some((segment.next(from)?, segment)));
            let Some((next, segment)) = first else {
                return Ok(());
            };
            if segment.start > 0 && next < segment.end {
                return Ok(());
            }
            let found = Found::again(&self.folder, &self.record.id, segment);
            let found = found.map_err(|source| ReadError {
                position: Position(next),
                skip_to: Position(segment.reach()),
                file: self.folder.segment(segment.first),
                source,
            })?;
            *segment = found.segment;
            self.record.streams.merge(&found.streams);
            self.record.written = self.record.written.max(segment.end);
            self.reader.forget(segment.first);
            // It may hold less than it might have.
            self.acknowledge(0);
        }
    }

    /// Records that the next `count` positions have no entry and never will.
    pub(crate) fn lose(&mut self, count: u64) {
        self.record.end += count;
        self.record.unwritten += count;
        self.acknowledge(0);
    }

    /// Writes the head; with `firmly`, so that the next writes cannot lose it.
    pub(crate) fn remember(&mut self, firmly: bool) -> io::Result<()> {
        let waits = firmly && self.options.waits();
        self.head
            .store(&mut self.folder, &self.record, firmly, waits)
    }

    /// Writes the head and waits for the disk.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.head.store(&mut self.folder, &self.record, true, true)
    }

    /// Acknowledges everything before `position`, and with it the lost positions after it: what
    /// waits then is an entry.
    pub(crate) fn acknowledge(&mut self, position: u64) {
        let position = position.max(self.record.oldest);
        let next = self
            .segments
            .iter()
            .find_map(|segment| segment.next(position));
        self.record.oldest = next.unwrap_or(self.record.end);
    }

    /// Deletes the segments of which everything is acknowledged, but not the newest one: it keeps
    /// the numbers if the head gets lost.
    pub(crate) fn delete_acknowledged(&mut self) {
        while self.segments.len() > 1
            && self.segments[0].reach() <= self.record.oldest
            && self.delete_oldest()
        {}
        let (folder, oldest) = (&mut self.folder, self.record.oldest);
        self.useless
            .retain(|file| file.first >= oldest || folder.delete(file.first).is_err());
    }

    /// Deletes the oldest segment. Returns `false` if there is none or it cannot be deleted.
    fn delete_oldest(&mut self) -> bool {
        let Some(first) = self.segments.front().map(|oldest| oldest.first) else {
            return false;
        };
        if self.folder.delete(first).is_err() {
            return false;
        }
        self.segments.pop_front();
        // A file that is still open somewhere keeps its space on the disk.
        self.reader.forget(first);
        if self.segments.is_empty() {
            self.newest = None;
        }
        true
    }

    /// Returns `true` if the newest segment takes an entry of this size at the next position.
    fn takes(&self, needed: u64) -> bool {
        let (Some(segment), Some(file)) = (self.segments.back(), &self.newest) else {
            return false;
        };
        // Within a segment there are no gaps between positions.
        segment.end == self.record.end && segment.length + needed <= segment.size && !vanished(file)
    }

    /// Leaves the newest segment, so that the next entry begins a new one. The space in it that no
    /// entry will fill is given back, so that it does not displace waiting entries.
    fn leave(&mut self) {
        let Some(file) = self.newest.take() else {
            return;
        };
        let only = self.segments.len() == 1;
        let Some(segment) = self.segments.back_mut() else {
            return;
        };
        if !segment.is_empty() {
            // If this fails, it keeps its space, which counts.
            if segment.unused() >= PAGE && file.set_len(segment.length).is_ok() {
                segment.size = segment.length;
            }
            return;
        }
        let (first, size) = (segment.first, segment.size);
        // Without a segment only the head has the numbers.
        if only && self.remember(true).is_err() {
            return;
        }
        self.segments.pop_back();
        self.reader.forget(first);
        self.discard(first, size);
    }

    /// Deletes a file without an entry, or remembers that it is there.
    fn discard(&mut self, first: u64, size: u64) {
        if self.folder.delete(first).is_err() && self.folder.segment(first).exists() {
            self.useless.push(Useless { first, size });
        }
    }

    /// Begins a new segment, and drops the oldest ones if it needs their space.
    fn rotate(&mut self, needed: u64) -> io::Result<()> {
        self.leave();
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
                Ok(made) => break made,
                Err(error) => {
                    self.discard(header.first, size.max(needed));
                    if !is_full(&error) {
                        return Err(error);
                    }
                    // Before anything more is dropped: what was deleted may be room enough.
                    if self.folder.settle().unwrap_or(false) {
                        continue;
                    }
                    if !(self.drop_useless() || self.drop_oldest()) {
                        return Err(error);
                    }
                }
            }
        };
        // A file without an entry that began here has been replaced by the new one.
        self.useless.retain(|old| old.first != segment.first);
        self.segments.retain(|old| old.first != segment.first);
        self.segments.push_back(segment);
        self.newest = Some(file);
        self.delete_acknowledged();
        self.make_room(0);
        Ok(())
    }

    /// Makes room until this many bytes more are within the capacity. The newest segment always
    /// stays. Returns `false` if the others cannot be deleted.
    fn make_room(&mut self, more: u64) -> bool {
        while self.bytes() + more > self.options.capacity {
            if self.drop_useless() {
                continue;
            }
            if self.segments.len() <= 1 {
                break;
            }
            if !self.drop_oldest() {
                return false;
            }
        }
        true
    }

    /// Deletes a file without an entry. Returns `false` if there is none that can be deleted.
    fn drop_useless(&mut self) -> bool {
        let mut useless = self.useless.iter();
        let deleted = useless.position(|file| self.folder.delete(file.first).is_ok());
        deleted.map(|index| self.useless.remove(index)).is_some()
    }

    /// Deletes the oldest segment, acknowledged or not; the newest one only if nothing in it waits
    /// to be acknowledged. Returns `false` if there is nothing to delete or it cannot be deleted.
    fn drop_oldest(&mut self) -> bool {
        // If the disk gives back what it did not before, it is known what is dropped.
        drop(self.look_again(self.record.oldest));
        let Some(oldest) = self.segments.front() else {
            return false;
        };
        let (end, dropped) = (oldest.reach(), oldest.from(self.record.oldest));
        if self.segments.len() == 1 {
            // From here to the next segment only the head has the numbers.
            if dropped > 0 || self.remember(true).is_err() {
                return false;
            }
        }
        if !self.delete_oldest() {
            return false;
        }
        self.count_dropped(dropped);
        self.acknowledge(end);
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
