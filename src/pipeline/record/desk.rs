//! The publisher's end of the record stage: what it asks for, and what it can see of the journal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flawd_core::event::{EvidenceState, RecordsState};
use flawd_journal::{Journal, Position};

use super::Input;
use crate::pipeline::link::Sender;

/// The way to the record stage for the publisher.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Desk {
    entries: Sender<Input>,
    status: Status,
    /// One past the last record that was there at the start.
    begin: Position,
}

/// How the journal is doing; shared with whoever says it.
#[derive(Clone, Debug)]
pub(super) struct Status(Arc<Mutex<Standing>>);

/// How much the journal holds.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) state: RecordsState,
    /// Of what the broker has not taken.
    oldest: Position,
    /// One past the last.
    end: Position,
    /// The pictures that are kept, where any are to be.
    pub(super) evidence: Option<EvidenceState>,
}

impl Desk {
    /// Of a journal to which nothing was added yet.
    pub(super) fn new(entries: Sender<Input>, status: Status) -> Self {
        let begin = status.lock().end;
        Self {
            entries,
            status,
            begin,
        }
    }

    /// Whether this record was written before this start of the daemon. Its place says so whatever
    /// was done to the clock since.
    pub(in crate::pipeline) fn is_from_before(&self, position: Position) -> bool {
        position < self.begin
    }

    /// Starts over with the oldest record that nobody has taken.
    pub(in crate::pipeline) fn rewind(&self, generation: u64) {
        self.entries.force(Input::Rewind { generation });
    }

    /// Asks for so many records more.
    pub(in crate::pipeline) fn credit(&self, more: usize) {
        self.entries.force(Input::Credit(more));
    }

    /// Says that the broker has taken every record up to this one.
    pub(in crate::pipeline) fn taken(&self, position: Position) {
        self.entries.force(Input::Taken(position));
    }

    /// Whether the broker has taken all there is, where it has taken everything before `reached`
    /// for certain.
    pub(in crate::pipeline) fn is_done(&self, reached: Position) -> bool {
        let standing = self.status.lock();
        standing.end <= standing.oldest.max(reached)
    }

    /// How the journal is doing, where the broker has taken everything before `reached` for
    /// certain; the record stage may not have heard of it yet.
    pub(in crate::pipeline) fn status(&self, reached: Position) -> RecordsState {
        let standing = self.status.lock();
        let taken = standing.oldest.max(reached).get();
        let untaken = standing.end.get().saturating_sub(taken);
        RecordsState {
            pending: standing.state.pending.min(untaken),
            ..standing.state.clone()
        }
    }

    /// How the evidence is doing, where there is any.
    pub(in crate::pipeline) fn evidence(&self) -> Option<EvidenceState> {
        self.status.lock().evidence.clone()
    }
}

impl Status {
    /// That of a journal that was just opened.
    pub(super) fn of(journal: &Journal) -> Self {
        Self(Arc::new(Mutex::new(Standing::of(journal, None))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    pub(super) fn of(journal: &Journal, failing: Option<String>) -> Self {
        Self {
            state: RecordsState {
                pending: journal.pending(),
                bytes: journal.bytes(),
                dropped: journal.dropped(),
                unwritten: journal.unwritten(),
                refused: None,
                set_aside: 0,
                failing,
            },
            oldest: journal.oldest(),
            end: journal.end(),
            evidence: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use flawd_journal::{Durability, MIN_CAPACITY, Options};

    use super::*;
    use crate::{config::Overflow, pipeline::link::link};

    #[test]
    fn records_from_before_are_those_that_the_journal_had_when_it_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            capacity: MIN_CAPACITY,
            sync: Durability::System,
        };
        let mut journal = Journal::open(folder.path(), options).unwrap();
        let old = journal.append(None, b"old");
        journal.commit().unwrap();
        let status = Status::of(&journal);
        let (entries, _inputs) = link(NonZeroUsize::MIN, Overflow::Block);
        let desk = Desk::new(entries, status.clone());
        let new = journal.append(None, b"new");
        journal.commit().unwrap();
        *status.lock() = Standing::of(&journal, None);
        assert!(desk.is_from_before(old) && !desk.is_from_before(new));
    }
}
