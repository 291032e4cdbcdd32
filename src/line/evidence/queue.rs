//! Where items wait for the writer: a queue with a limit in bytes and in number, and the counts
//! that both sides see.
//!
//! No plain bounded channel: the limit is memory, which an item holds until it is on disk, and
//! while the disk takes nothing the writer waits with one item in hand and takes no next one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{EvidenceItem, EvidenceUsage};

/// Memory that items may hold until they are on disk: some twenty pictures of 1280x720. A
/// single item may be larger.
const MOST_BYTES: usize = 64 << 20;

/// Exhibits that may wait. They are written when the daemon ends, within its grace period, and a
/// small one takes as long as the disk takes to sync: 5 to 50 ms on flash (not measured on every
/// medium).
const MOST_EXHIBITS: usize = 32;

/// The queue, which both sides hold.
#[derive(Debug, Default)]
pub(crate) struct EvidenceQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    queue: VecDeque<EvidenceItem>,
    /// Bytes and number of what was admitted and is not yet on disk, the one in the writer's
    /// hands included.
    held_bytes: usize,
    held: usize,
    is_closed: bool,
    usage: EvidenceUsage,
    /// Exhibits left out since this was last said.
    unsaid: u64,
    said_too_large: bool,
}

/// Why an item is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvidenceRefusal {
    /// Nothing of its size will ever be kept.
    TooLarge,
    /// There is no room, or nothing can be written, at present.
    NotNow,
}

/// What the writer finds.
pub(crate) enum NextItem {
    /// The oldest item.
    Exhibit(EvidenceItem),
    /// Nothing in time.
    Timeout,
    /// No more will come: there is no sender, and the queue is empty or not to be taken from.
    Closed,
}

impl EvidenceQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code that could panic runs under this lock, so a poisoned one is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits `patience` for an item; takes none if `is_busy`, but sees the end.
    pub(crate) fn next(&self, patience: Duration, is_busy: bool) -> NextItem {
        let has_next = |state: &QueueState| !is_busy && !state.queue.is_empty();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| {
                !has_next(state) && !state.is_closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        if has_next(&state) {
            let item = state.queue.pop_front();
            return NextItem::Exhibit(item.expect("the queue is not empty"));
        }
        if state.is_closed {
            return NextItem::Closed;
        }
        NextItem::Timeout
    }

    /// An item of this weight is on disk, or given up.
    pub(crate) fn release(&self, weight: usize, is_kept: bool) {
        let mut state = self.lock();
        state.held_bytes -= weight;
        state.held -= 1;
        state.usage.dropped += u64::from(!is_kept);
    }

    /// Gives up what waits, and says how much that was.
    pub(crate) fn give_up(&self) -> u64 {
        let mut state = self.lock();
        let given_up = std::mem::take(&mut state.queue);
        state.held_bytes -= given_up.iter().map(EvidenceItem::weight).sum::<usize>();
        state.held -= given_up.len();
        state.usage.dropped += given_up.len() as u64;
        given_up.len() as u64
    }

    /// Says what is on disk, and why nothing can be written where that is so.
    pub(crate) fn report(&self, files: u64, bytes: u64, suspended: Option<String>) {
        let mut state = self.lock();
        state.usage.files = files;
        state.usage.bytes = bytes;
        state.usage.suspended = suspended;
    }

    /// How many items were left out since this was last asked.
    pub(crate) fn take_unsaid(&self) -> u64 {
        std::mem::take(&mut self.lock().unsaid)
    }
}

/// The end that items come in at; after the last clone is gone, the queue is closed.
#[derive(Clone, Debug)]
pub(crate) struct EvidenceSender(Arc<Closing>);

#[derive(Debug)]
struct Closing(Arc<EvidenceQueue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl EvidenceSender {
    pub(crate) fn new(queue: Arc<EvidenceQueue>) -> Self {
        Self(Arc::new(Closing(queue)))
    }

    fn queue(&self) -> &Arc<EvidenceQueue> {
        &self.0.0
    }

    pub(crate) fn usage(&self) -> EvidenceUsage {
        self.queue().lock().usage.clone()
    }

    /// Counts an item that is left out. True if it is the first one for this reason, and the
    /// reason is not one that the writer says.
    pub(crate) fn refuse(&self, refusal: EvidenceRefusal) -> bool {
        let mut state = self.queue().lock();
        state.usage.dropped += 1;
        match refusal {
            EvidenceRefusal::TooLarge => !std::mem::replace(&mut state.said_too_large, true),
            EvidenceRefusal::NotNow => {
                state.unsaid += 1;
                false
            }
        }
    }

    /// Room for an item of this weight; `None`, and counted, where there is none.
    pub(crate) fn reserve(&self, weight: usize) -> Option<Reservation<'_>> {
        let queue = self.queue();
        let mut state = queue.lock();
        let has_room = state.held == 0
            || (state.held < MOST_EXHIBITS && state.held_bytes + weight <= MOST_BYTES);
        if !has_room || state.usage.suspended.is_some() {
            drop(state);
            self.refuse(EvidenceRefusal::NotNow);
            return None;
        }
        state.held_bytes += weight;
        state.held += 1;
        Some(Reservation(queue))
    }
}

/// Room on the queue that is kept for one item.
#[must_use]
pub(crate) struct Reservation<'a>(&'a EvidenceQueue);

impl Reservation<'_> {
    /// Puts the item there.
    pub(crate) fn fill(self, item: EvidenceItem) {
        self.0.lock().queue.push_back(item);
        self.0.changed.notify_all();
    }
}
