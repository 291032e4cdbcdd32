//! A journal in memory: written once, damaged in many ways, and opened again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flawd_journal::Entry;

use crate::common::{open, put, read_all};

/// The files of a journal in memory.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn load(folder: &Path) -> Files {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect()
}

pub(crate) fn store(files: &Files, folder: &Path) {
    for file in fs::read_dir(folder).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A journal of some segments with two streams, a part acknowledged.
pub(crate) struct Written {
    pub(crate) files: Files,
    /// What is not acknowledged.
    pub(crate) entries: Vec<Entry>,
    pub(crate) last: BTreeMap<&'static str, u64>,
    pub(crate) id: String,
}

impl Written {
    pub(crate) fn new(entries: u64, size: usize, acknowledged: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        let mut last = BTreeMap::new();
        for number in 0..entries {
            let stream = if number % 3 == 0 { "left" } else { "right" };
            let (seq, _) = put(&mut journal, stream, size);
            last.insert(stream, seq);
            journal.commit().unwrap();
        }
        assert_eq!(journal.dropped(), 0, "all has room");
        if acknowledged > 0 {
            let read = journal.read(journal.oldest(), acknowledged).unwrap();
            journal.acknowledge(read.last().unwrap().position);
        }
        let entries = read_all(&mut journal);
        let id = journal.id().to_owned();
        drop(journal);
        Self {
            files: load(folder.path()),
            entries,
            last,
            id,
        }
    }

    /// Flips a bit of this entry in its file, `place` bytes behind the start of its payload.
    pub(crate) fn flip(&self, files: &mut Files, entry: &Entry, place: isize) {
        for bytes in files.values_mut() {
            let payload = &entry.payload[..];
            let found = bytes.windows(payload.len()).position(|w| w == payload);
            if let Some(start) = found {
                bytes[start.strict_add_signed(place)] ^= 0x20;
                return;
            }
        }
        panic!("{entry:?} is nowhere");
    }

    pub(crate) fn segments(&self) -> Vec<&String> {
        let names = self.files.keys();
        names.filter(|name| name.ends_with(".segment")).collect()
    }

    /// First position of each segment.
    pub(crate) fn firsts(&self) -> Vec<u64> {
        let names = self.segments().into_iter();
        names.map(|name| name[..20].parse().unwrap()).collect()
    }

    /// Opens the journal with these files and checks what must hold whatever happened to one of
    /// them. Returns the entries that were found among those that were not acknowledged.
    pub(crate) fn survive(&self, files: &Files, folder: &Path) -> Vec<Entry> {
        store(files, folder);
        let mut journal = open(folder);
        assert_eq!(journal.id(), self.id);
        let found = read_all(&mut journal);
        let recovery = journal.recovery().clone();
        assert_eq!(recovery.entries, found.len() as u64);
        // Entries that were acknowledged may come again; what was not written may not.
        let first = self.entries.first().map(|entry| entry.position);
        let wanted: Vec<Entry> = found
            .into_iter()
            .filter(|entry| first.is_some_and(|first| entry.position >= first))
            .collect();
        for entry in &wanted {
            assert!(self.entries.contains(entry), "{entry:?} was never written");
        }
        assert!(wanted.is_sorted_by_key(|entry| entry.position));
        for (stream, last) in &self.last {
            assert_eq!(journal.next_seq(stream), last + 1, "of {stream}");
        }
        // It works on: a new entry gets a new position, and is there after the next opening.
        let (_, position) = put(&mut journal, "new", 200);
        journal.commit().unwrap();
        if let Some(last) = self.entries.last() {
            assert!(position > last.position);
        }
        drop(journal);
        let mut journal = open(folder);
        let again = read_all(&mut journal);
        assert_eq!(again.last().unwrap().position, position);
        assert_eq!(journal.recovery().cut_bytes, 0, "it was repaired");
        wanted
    }
}
