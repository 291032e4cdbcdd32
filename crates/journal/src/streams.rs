//! The last number of each stream.

use std::collections::BTreeMap;

use crate::bytes::{ByteReader, put_text, put_u64};

/// The last numbers by stream. Numbers that are only taken live in memory; settled ones (written,
/// or lost for good) go to disk and are never given again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    last: BTreeMap<String, Last>,
    /// What a stream that is not known may have reached. It lives in memory.
    unknown: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    taken: u64,
    settled: u64,
}

impl Streams {
    /// Takes the next number, from 1.
    pub(crate) fn take(&mut self, stream: &str) -> u64 {
        let last = self.last.get(stream);
        let next = last
            .map_or(self.unknown, |last| last.taken)
            .saturating_add(1);
        self.took(stream, next);
        next
    }

    /// Remembers in memory that this number is taken.
    pub(crate) fn took(&mut self, stream: &str, seq: u64) {
        let last = self.last_of(stream);
        last.taken = last.taken.max(seq);
    }

    /// Settles this number for ever.
    pub(crate) fn settle(&mut self, stream: &str, seq: u64) {
        let last = self.last_of(stream);
        last.settled = last.settled.max(seq);
        last.taken = last.taken.max(seq);
    }

    /// Skips the next `count` numbers of every stream: they may have been given, and are not given
    /// again.
    pub(crate) fn leap(&mut self, count: u64) {
        self.unknown = self.unknown.saturating_add(count);
        for last in self.last.values_mut() {
            last.settled = last.settled.max(last.taken).saturating_add(count);
            last.taken = last.settled;
        }
    }

    fn last_of(&mut self, stream: &str) -> &mut Last {
        // The name is copied only for a stream that is new.
        if !self.last.contains_key(stream) {
            self.last.insert(stream.to_owned(), Last::default());
        }
        self.last.get_mut(stream).expect("it was put there above")
    }

    /// Merges what is settled here and in `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (stream, last) in &other.last {
            self.settle(stream, last.settled);
        }
    }

    /// Appends what is settled.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let settled = || self.last.iter().filter(|(_, last)| last.settled > 0);
        put_u64(out, settled().count() as u64);
        for (stream, last) in settled() {
            put_text(out, stream);
            put_u64(out, last.settled);
        }
    }

    /// Reads what [`Streams::write`] wrote.
    pub(crate) fn read(reader: &mut ByteReader<'_>) -> Option<Self> {
        let count = reader.u64()?;
        let mut streams = Self::default();
        for _ in 0..count {
            let stream = reader.text()?;
            streams.settle(stream, reader.u64()?);
        }
        Some(streams)
    }
}
