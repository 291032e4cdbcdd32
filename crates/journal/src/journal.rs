//! The journal: numbers, appends, commits, reads and acknowledgements.

use std::path::Path;
use std::{io, mem};

use crate::entry;
use crate::error::{CommitError, OpenError, ReadError, WriteError};
use crate::options::{MIN_CAPACITY, Options};
use crate::position::{Entry, Position};
use crate::recovery::Recovery;
use crate::store::Store;

/// A bounded, numbered, crash-safe queue in a folder.
///
/// Dropping it without [`Journal::close`] is as safe at any point as a kill of the process: what
/// was not committed is gone, and acknowledged entries may come again.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    options: Options,
    recovery: Recovery,
    waiting: Waiting,
    unwritten: u64,
}

/// What was appended since the last commit.
#[derive(Debug, Default)]
struct Waiting {
    /// Bytes of each entry.
    sizes: Vec<u64>,
    /// The number of each entry, if it has one.
    numbers: Vec<Option<(String, u64)>>,
    /// The entries, without those that are too large.
    bytes: Vec<u8>,
}

impl Journal {
    /// Opens the journal in this folder, or creates one.
    ///
    /// Reads all segments (at most the whole capacity), cuts off what a kill left unfinished, and
    /// skips what is damaged; [`Journal::recovery`] says what was found.
    ///
    /// # Errors
    /// If the capacity is below [`MIN_CAPACITY`], the journal is open elsewhere, it is of a newer
    /// format, or the folder cannot be written. Damage is not an error.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        if options.capacity < MIN_CAPACITY {
            return Err(OpenError::Capacity {
                capacity: options.capacity,
            });
        }
        let (store, recovery) = Store::open(folder, options)?;
        Ok(Self {
            store,
            options,
            recovery,
            waiting: Waiting::default(),
            unwritten: 0,
        })
    }

    /// Returns what was found when it was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns the journal's name: 12 hexadecimal digits, drawn at random when it was made. A
    /// journal that starts over has another one, so that name, stream and number together never
    /// repeat.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.store.record.id
    }

    /// Takes the stream's next number: 1, 2, 3 and so on, without a gap.
    ///
    /// It is taken for ever once the entry that carries it has been through a commit, successful or
    /// not. Otherwise it is given again after a restart.
    pub fn next_seq(&mut self, stream: &str) -> u64 {
        self.store.record.streams.take(stream)
    }

    /// Appends an entry, in memory only until the next commit, and returns its future position.
    /// `stream` is the stream and its number that the entry carries, if any.
    pub fn append(&mut self, stream: Option<(&str, u64)>, payload: &[u8]) -> Position {
        let position = self.store.record.end + self.waiting.sizes.len() as u64;
        let size = entry::size(stream, payload);
        if self.fits(size) {
            entry::write(&mut self.waiting.bytes, position, stream, payload);
        }
        if let Some((name, seq)) = stream {
            self.store.record.streams.took(name, seq);
        }
        self.waiting.sizes.push(size);
        let number = stream.map(|(name, seq)| (name.to_owned(), seq));
        self.waiting.numbers.push(number);
        Position(position)
    }

    /// Writes everything that was appended since the last commit, with one write and, with
    /// [`Durability::Always`], one `fdatasync` (two of each if a segment is full).
    ///
    /// If the capacity is reached or the disk is full, the oldest entries are dropped to make room.
    ///
    /// # Errors
    /// If entries could still not be written. They are lost and counted in [`Journal::unwritten`];
    /// their numbers stay taken. The journal continues, and a later commit may succeed.
    ///
    /// [`Durability::Always`]: crate::Durability::Always
    pub fn commit(&mut self) -> Result<(), CommitError> {
        if self.waiting.sizes.is_empty() {
            return Ok(());
        }
        let Waiting {
            sizes,
            numbers,
            bytes,
        } = mem::take(&mut self.waiting);
        let mut sizes = &sizes[..];
        let mut numbers = numbers.into_iter();
        let mut bytes = &bytes[..];
        let mut failure = None;
        let mut lost = 0;
        while !sizes.is_empty() {
            let run = sizes.iter().take_while(|&&size| self.fits(size)).count();
            let settled = if run == 0 {
                failure.get_or_insert(WriteError::TooLarge {
                    bytes: sizes[0],
                    most: self.options.largest_entry(),
                });
                lost += 1;
                self.store.lose(1);
                1
            } else {
                match self.store.write(&sizes[..run], bytes) {
                    Ok(count) => {
                        let written: u64 = sizes[..count].iter().sum();
                        bytes = &bytes[usize::try_from(written).expect("they are in memory")..];
                        count
                    }
                    Err(error) => {
                        failure.get_or_insert(error.into());
                        lost += sizes.len() as u64;
                        self.store.lose(sizes.len() as u64);
                        sizes.len()
                    }
                }
            };
            for (name, seq) in numbers.by_ref().take(settled).flatten() {
                self.store.record.streams.settle(&name, seq);
            }
            sizes = &sizes[settled..];
        }
        self.unwritten += lost;
        let kept = self.store.remember(lost > 0);
        match failure {
            // The segments have the numbers too: the head is written again later.
            None => Ok(()),
            Some(source) => Err(CommitError {
                lost,
                numbers_kept: kept.is_ok(),
                folder: self.store.folder.path().to_owned(),
                source,
            }),
        }
    }

    /// Reads committed entries at or after `from` that are not acknowledged, in order, at most
    /// `limit`. Returns fewer, or none, if there are no more. Continuing where the last read
    /// stopped costs no search.
    ///
    /// # Errors
    /// If the first of them cannot be read; the error says where to continue. A read that meets
    /// such a place later returns what is before it.
    pub fn read(&mut self, from: Position, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let from = from.max(self.oldest()).0;
        self.store.read(from, limit)
    }

    /// Acknowledges everything up to and including this position: it may be deleted.
    ///
    /// If that cannot be written, it is tried again with the next commit or acknowledgement; after
    /// a restart in between, acknowledged entries come again.
    pub fn acknowledge(&mut self, through: Position) {
        let position = through.next().0.min(self.store.record.end);
        if position > self.store.record.oldest {
            self.store.acknowledge(position);
            // Repeated entries are the worst result of a failure, and `close` reports it.
            drop(self.store.remember(false));
            self.store.delete_acknowledged();
        }
    }

    /// Gives up the unacknowledged entries before this position, because they cannot be read or are
    /// not wanted. Returns their number; they count as dropped.
    pub fn give_up(&mut self, before: Position) -> u64 {
        let position = before.0.min(self.store.record.end);
        let given_up = self.pending() - self.store.entries_from(position.max(self.oldest().0));
        self.store.count_dropped(given_up);
        if let Some(last) = position.checked_sub(1) {
            self.acknowledge(Position(last));
        }
        given_up
    }

    /// Returns the first position that is not acknowledged; equal to [`Journal::end`] if all are.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position(self.store.record.oldest)
    }

    /// Returns one past the last position that has been through a commit.
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.store.record.end)
    }

    /// Returns the number of entries that are committed and not acknowledged.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.store.entries_from(self.store.record.oldest)
    }

    /// Returns the bytes on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Returns the number of entries deleted unacknowledged since it was opened: to make room, or
    /// given up.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.store.dropped
    }

    /// Returns the number of entries that could not be written since it was opened.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Writes the acknowledged position to the disk and releases the folder. What was appended and
    /// not committed is gone.
    ///
    /// # Errors
    /// If it cannot be written: acknowledged entries may come again then.
    pub fn close(mut self) -> io::Result<()> {
        self.store.finish()
    }

    fn fits(&self, size: u64) -> bool {
        size <= self.options.largest_entry()
    }
}
