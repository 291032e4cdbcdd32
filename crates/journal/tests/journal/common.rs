//! Shared by several tests.

use std::path::Path;

use flawd_journal::{Durability, Entry, Journal, Options, Position};

pub(crate) const KIB: u64 = 1 << 10;

pub(crate) fn options(capacity: u64, sync: Durability) -> Options {
    Options { capacity, sync }
}

/// The journal in `folder`, with little room and without waiting for the disk.
pub(crate) fn open(folder: &Path) -> Journal {
    Journal::open(folder, options(64 * KIB, Durability::System)).unwrap()
}

/// A payload that says which entry of which stream it is, padded to `size` bytes.
pub(crate) fn payload(stream: &str, seq: u64, size: usize) -> Vec<u8> {
    let mut payload = format!("{stream} {seq} ").into_bytes();
    while payload.len() < size {
        payload.push(b'a' + (payload.len() % 26) as u8);
    }
    payload
}

/// Stream and number that [`payload`] was made from, after a check that it is whole.
pub(crate) fn parse(entry: &Entry) -> (String, u64) {
    let text = str::from_utf8(&entry.payload).unwrap();
    let mut words = text.split(' ');
    let (stream, seq) = (words.next().unwrap(), words.next().unwrap());
    let seq = seq.parse().unwrap();
    assert_eq!(entry.payload, payload(stream, seq, entry.payload.len()));
    (stream.to_owned(), seq)
}

/// Takes a number, appends its payload and returns both places.
pub(crate) fn put(journal: &mut Journal, stream: &str, size: usize) -> (u64, Position) {
    let seq = journal.next_seq(stream);
    let position = journal.append(Some((stream, seq)), &payload(stream, seq, size));
    (seq, position)
}

/// Everything that is not acknowledged, read in small steps; what cannot be read is given up.
pub(crate) fn read_all(journal: &mut Journal) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut from = journal.oldest();
    loop {
        match journal.read(from, 7) {
            Ok(entries) if entries.is_empty() => return all,
            Ok(entries) => {
                from = entries.last().unwrap().position.next();
                all.extend(entries);
            }
            Err(error) => from = error.skip_to,
        }
    }
}
