//! The publisher's position in the journal, and what it gets next.
//!
//! Entries that cannot be read hold up those behind them, so they are eventually abandoned: at once
//! if they are damaged, after [`PATIENCE`] if the disk may recover. Never before the broker has
//! acknowledged what was read before them, which would be lost as well.

use std::io;
use std::time::{Duration, Instant};

use flawd_journal::{Entry, Journal, Position, ReadError};
use tracing::{error, warn};

use crate::messages::with_causes;

/// How long a disk that fails to read entries may take to recover.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two attempts to read from it: on a dying disk each of them takes long, and
/// verdicts wait behind it.
const PAUSE: Duration = Duration::from_secs(5);

/// The publisher's position in the journal.
#[derive(Debug)]
pub(crate) struct JournalReader {
    generation: u64,
    /// One past the last entry that it was given.
    next: Position,
    /// How many more it has room for.
    credit: usize,
    trouble: Option<ReadFailure>,
}

/// The next entries cannot be read.
#[derive(Debug)]
struct ReadFailure {
    since: Instant,
    /// When to try again; `None` if it waits for an acknowledgement.
    again: Option<Instant>,
}

/// What there is for the publisher.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    /// Entries, for this generation.
    Records(u64, Vec<Entry>),
    /// Entries were abandoned; there may be others.
    GivenUp,
}

impl JournalReader {
    /// Creates a reader at the beginning of the journal, without credit.
    pub(crate) fn new(journal: &Journal) -> Self {
        Self {
            generation: 0,
            next: journal.oldest(),
            credit: 0,
            trouble: None,
        }
    }

    /// Starts over with the oldest entry that was not acknowledged.
    pub(crate) fn rewind(&mut self, generation: u64, journal: &Journal) {
        self.generation = generation;
        self.next = journal.oldest();
        self.credit = 0;
    }

    /// Notes that the publisher has room for this many more.
    pub(crate) fn credit(&mut self, more: usize) {
        self.credit += more;
    }

    /// Returns when to try again even if nothing else happens: the next entries could not be read,
    /// and the disk may have recovered by then.
    pub(crate) fn retry_at(&self, journal: &Journal) -> Option<Instant> {
        let again = self.trouble.as_ref()?.again;
        // Otherwise something else must happen before there is anything to request.
        again.filter(|_| self.credit > 0 && self.next < journal.end())
    }

    /// Returns what the publisher gets at `now`; `None` if it gets nothing before something else
    /// happens.
    pub(crate) fn next(&mut self, journal: &mut Journal, now: Instant) -> Option<ReadAhead> {
        let is_time = self.trouble.as_ref().and_then(|it| it.again) <= Some(now);
        if self.credit == 0 || self.next >= journal.end() || !is_time {
            return None;
        }
        match journal.read(self.next, self.credit) {
            Ok(entries) => {
                self.trouble = None;
                self.next = entries.last()?.position.next();
                self.credit = self.credit.saturating_sub(entries.len());
                Some(ReadAhead::Records(self.generation, entries))
            }
            Err(error) => self
                .on_read_error(&error, journal, now)
                .then_some(ReadAhead::GivenUp),
        }
    }

    /// Handles entries that cannot be read; returns whether they were abandoned.
    fn on_read_error(&mut self, error: &ReadError, journal: &mut Journal, now: Instant) -> bool {
        if self.trouble.is_none() {
            error!(
                error = with_causes(error),
                "Records of the journal cannot be read"
            );
        }
        let since = self.trouble.as_ref().map_or(now, |it| it.since);
        let again = None;
        self.trouble = Some(ReadFailure { since, again });
        if journal.oldest() < self.next {
            return false;
        }
        if !is_lasting(error) && now.duration_since(since) < PATIENCE {
            self.trouble = Some(ReadFailure {
                since,
                again: Some(now + PAUSE),
            });
            return false;
        }
        let count = journal.give_up(error.skip_to);
        warn!(
            count,
            "Records that cannot be read are given up and counted as dropped"
        );
        self.next = journal.oldest();
        self.trouble = None;
        true
    }
}

/// Returns whether trying again is useless: damaged, cut short, or gone.
fn is_lasting(error: &ReadError) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.source.kind(), InvalidData | UnexpectedEof | NotFound)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use flawd_journal::{Durability, MIN_CAPACITY, Options};

    use super::*;

    fn journal(folder: &Path) -> Journal {
        let options = Options {
            capacity: MIN_CAPACITY,
            sync: Durability::System,
        };
        Journal::open(folder, options).unwrap()
    }

    fn append(journal: &mut Journal, payload: &[u8], count: usize) -> Position {
        let positions = (0..count).map(|_| journal.append(None, payload));
        let last = positions.last().unwrap();
        journal.commit().unwrap();
        last
    }

    fn numbers(fed: Option<ReadAhead>) -> Vec<u64> {
        match fed {
            Some(ReadAhead::Records(_, entries)) => {
                entries.iter().map(|entry| entry.position.get()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Overwrites this payload wherever it is in the journal's files.
    fn damage(folder: &Path, payload: &[u8]) {
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let mut bytes = fs::read(&file).unwrap();
            while let Some(at) = bytes.windows(payload.len()).position(|it| it == payload) {
                bytes[at] ^= 0xff;
                fs::write(&file, &bytes).unwrap();
            }
        }
    }

    #[test]
    fn damaged_entries_are_given_up_when_all_before_them_is_taken_and_not_earlier() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        append(&mut journal, b"first", 3);
        append(&mut journal, b"a bad one", 1);
        // Enough for segments behind the damaged one.
        let last = append(&mut journal, &[b'x'; 1000], 20);
        damage(folder.path(), b"a bad one");

        let mut reader = JournalReader::new(&journal);
        let now = Instant::now();
        reader.credit(100);
        assert_eq!(numbers(reader.next(&mut journal, now)), [0, 1, 2]);
        // Those are in flight; nothing is abandoned before they have been acknowledged.
        assert_eq!(reader.next(&mut journal, now), None);
        journal.acknowledge(Position::new(1));
        assert_eq!(reader.next(&mut journal, now), None);
        assert_eq!((journal.oldest(), journal.dropped()), (Position::new(2), 0));
        journal.acknowledge(Position::new(2));
        assert_eq!(reader.next(&mut journal, now), Some(ReadAhead::GivenUp));
        let resumed = numbers(reader.next(&mut journal, now));
        assert_eq!(resumed.last(), Some(&last.get()));
        // What is lost with it is counted, and nothing else is lost.
        assert_eq!(journal.dropped(), resumed[0] - 3);
        assert!(resumed.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_damaged_entry_in_the_newest_segment_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        append(&mut journal, b"first", 3);
        append(&mut journal, b"a bad one", 1);
        append(&mut journal, b"behind it", 5);
        damage(folder.path(), b"a bad one");

        let mut reader = JournalReader::new(&journal);
        let now = Instant::now();
        reader.credit(100);
        assert_eq!(numbers(reader.next(&mut journal, now)), [0, 1, 2]);
        append(&mut journal, b"later", 2);
        journal.acknowledge(Position::new(2));
        assert_eq!(reader.next(&mut journal, now), Some(ReadAhead::GivenUp));
        assert_eq!(journal.dropped(), 1);
        append(&mut journal, b"still later", 2);
        let mut fed = Vec::new();
        while let Some(records) = reader.next(&mut journal, now) {
            fed.extend(numbers(Some(records)));
        }
        assert_eq!(fed, (4..13).collect::<Vec<_>>());
        reader.rewind(1, &journal);
        reader.credit(100);
        assert_eq!(numbers(reader.next(&mut journal, now)), fed);
    }

    /// Simulates a disk with temporary errors: the folder is there, and its contents cannot be
    /// read.
    #[test]
    fn a_disk_that_does_not_give_entries_back_is_asked_again_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        append(&mut journal, b"entry", 1);
        let mut reader = JournalReader::new(&journal);
        reader.credit(1);
        let now = Instant::now();
        assert_eq!(reader.retry_at(&journal), None);
        let error = ReadError {
            position: Position::new(0),
            skip_to: Position::new(1),
            file: folder.path().to_owned(),
            source: io::Error::from(io::ErrorKind::TimedOut),
        };
        assert!(!reader.on_read_error(&error, &mut journal, now));
        assert_eq!(reader.retry_at(&journal), Some(now + PAUSE));
        assert_eq!(reader.next(&mut journal, now), None);
        assert_eq!(numbers(reader.next(&mut journal, now + PAUSE)), [0]);
        assert_eq!(reader.retry_at(&journal), None);
    }

    #[test]
    fn a_rewind_goes_back_to_the_oldest_entry_that_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        append(&mut journal, b"entry", 5);
        let mut reader = JournalReader::new(&journal);
        let now = Instant::now();
        reader.credit(3);
        assert_eq!(numbers(reader.next(&mut journal, now)), [0, 1, 2]);
        assert_eq!(reader.next(&mut journal, now), None);
        journal.acknowledge(Position::new(0));
        reader.rewind(7, &journal);
        assert_eq!(reader.next(&mut journal, now), None);
        reader.credit(2);
        let fed = reader.next(&mut journal, now);
        assert!(matches!(fed, Some(ReadAhead::Records(7, _))), "{fed:?}");
        assert_eq!(numbers(fed), [1, 2]);
    }
}
