//! The records that the broker has not acknowledged: what the publisher requests of them, and what
//! it can see of the journal. The record stage answers.

use std::sync::Arc;

use flawd_core::event::{EvidenceState, RecordsState};
use flawd_journal::{Journal, Position};
use parking_lot::{Mutex, MutexGuard};

/// A request from the publisher to the record stage.
#[derive(Debug)]
pub(crate) enum BacklogRequest {
    /// Start over with the oldest record that the broker has not acknowledged.
    Rewind {
        /// Distinguishes what is sent from now on from what is still in flight.
        generation: u64,
    },
    /// There is room for this many more.
    Credit(usize),
    /// The broker has acknowledged every record up to this one.
    Taken(Position),
}

/// The publisher's handle to the record stage.
#[derive(Clone)]
pub(crate) struct Backlog {
    ask: Arc<dyn Fn(BacklogRequest) + Send + Sync>,
    status: SharedStatus,
    /// One past the last record that was there at the start.
    begin: Position,
}

/// The journal's status; shared with those who report it.
#[derive(Clone, Debug)]
pub(crate) struct SharedStatus(Arc<Mutex<JournalStatus>>);

/// How much the journal holds.
#[derive(Debug)]
pub(crate) struct JournalStatus {
    pub(crate) state: RecordsState,
    /// The oldest entry that the broker has not acknowledged.
    oldest: Position,
    /// One past the last.
    end: Position,
    /// The pictures that are kept, if any.
    pub(crate) evidence: Option<EvidenceState>,
}

impl Backlog {
    /// Creates the backlog of a journal to which nothing was added yet.
    pub(crate) fn new(
        ask: impl Fn(BacklogRequest) + Send + Sync + 'static,
        status: SharedStatus,
    ) -> Self {
        let begin = status.lock().end;
        Self {
            ask: Arc::new(ask),
            status,
            begin,
        }
    }

    /// Returns whether this record was written before the current start of the daemon. Its position
    /// shows that, even if the clock has been changed since.
    pub(crate) fn is_from_before(&self, position: Position) -> bool {
        position < self.begin
    }

    /// Starts over with the oldest record that was not acknowledged.
    pub(crate) fn rewind(&self, generation: u64) {
        (self.ask)(BacklogRequest::Rewind { generation });
    }

    /// Requests this many more records.
    pub(crate) fn credit(&self, more: usize) {
        (self.ask)(BacklogRequest::Credit(more));
    }

    /// Reports that the broker has acknowledged every record up to this one.
    pub(crate) fn taken(&self, position: Position) {
        (self.ask)(BacklogRequest::Taken(position));
    }

    /// Returns whether the broker has acknowledged everything, given that it has certainly
    /// acknowledged everything before `reached`.
    pub(crate) fn is_done(&self, reached: Position) -> bool {
        let standing = self.status.lock();
        standing.end <= standing.oldest.max(reached)
    }

    /// Returns the journal's status, given that the broker has certainly acknowledged everything
    /// before `reached`; the record stage may not know that yet.
    pub(crate) fn status(&self, reached: Position) -> RecordsState {
        let standing = self.status.lock();
        let taken = standing.oldest.max(reached).get();
        let untaken = standing.end.get().saturating_sub(taken);
        RecordsState {
            pending: standing.state.pending.min(untaken),
            ..standing.state.clone()
        }
    }

    /// Returns the status of the evidence, if any.
    pub(crate) fn evidence(&self) -> Option<EvidenceState> {
        self.status.lock().evidence.clone()
    }
}

impl SharedStatus {
    /// Returns the status of a journal that was just opened.
    pub(crate) fn of(journal: &Journal) -> Self {
        Self(Arc::new(Mutex::new(JournalStatus::of(journal, None))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, JournalStatus> {
        self.0.lock()
    }
}

impl JournalStatus {
    pub(crate) fn of(journal: &Journal, failing: Option<String>) -> Self {
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

    use flawd_journal::{Durability, MIN_CAPACITY, Options};

    use super::*;

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
        let status = SharedStatus::of(&journal);
        let backlog = Backlog::new(drop, status.clone());
        let new = journal.append(None, b"new");
        journal.commit().unwrap();
        *status.lock() = JournalStatus::of(&journal, None);
        assert!(backlog.is_from_before(old) && !backlog.is_from_before(new));
    }
}
