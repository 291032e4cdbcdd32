//! Where items wait for the writer: a queue limited in bytes and in number, and the counts that
//! both sides see.
//!
//! Not a plain bounded channel: the limit is memory, which an item holds until it is on disk, and
//! while the disk accepts nothing the writer waits with one item in hand and takes no other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{EvidenceItem, EvidenceUsage};

/// Memory that items may hold until they are on disk: some twenty pictures of 1280x720. A
/// single item may be larger.
const MOST_BYTES: usize = 64 << 20;

/// Maximum items that may wait. They are written when the daemon ends, within its grace period, and
/// a small one takes as long as the disk takes to sync: 5 to 50 ms on flash (not measured on every
/// medium).
const MOST_ITEMS: usize = 32;

/// The queue, shared by both sides.
#[derive(Debug, Default)]
pub(crate) struct EvidenceQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    queue: VecDeque<EvidenceItem>,
    /// Bytes and number of items that were admitted and are not yet on disk, including the one in
    /// the writer's hands.
    held_bytes: usize,
    held: usize,
    is_closed: bool,
    usage: EvidenceUsage,
    /// Items left out since this was last reported.
    unsaid: u64,
    said_too_large: bool,
}

/// Why an item is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvidenceRefusal {
    /// No item of its size will ever be kept.
    TooLarge,
    /// There is no space, or nothing can be written, at present.
    NotNow,
}

/// The result of waiting for an item.
pub(crate) enum NextItem {
    /// The oldest item.
    Item(EvidenceItem),
    /// Nothing arrived in time.
    Timeout,
    /// No more will come: there is no sender, and the queue is empty or not to be taken from.
    Closed,
}

impl EvidenceQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// Waits up to `patience` for an item; takes none if `is_busy`, but notices the end.
    pub(crate) fn next(&self, patience: Duration, is_busy: bool) -> NextItem {
        let has_next = |state: &QueueState| !is_busy && !state.queue.is_empty();
        let mut state = self.lock();
        let is_idle = |state: &mut QueueState| !has_next(state) && !state.is_closed;
        self.changed.wait_while_for(&mut state, is_idle, patience);
        if has_next(&state) {
            let item = state.queue.pop_front();
            return NextItem::Item(item.expect("the queue is not empty"));
        }
        if state.is_closed {
            return NextItem::Closed;
        }
        NextItem::Timeout
    }

    /// Notes that an item of this weight is on disk, or abandoned.
    pub(crate) fn release(&self, weight: usize, is_kept: bool) {
        let mut state = self.lock();
        state.held_bytes -= weight;
        state.held -= 1;
        state.usage.dropped += u64::from(!is_kept);
    }

    /// Abandons the waiting items, and returns how many there were.
    pub(crate) fn give_up(&self) -> u64 {
        let mut state = self.lock();
        let given_up = std::mem::take(&mut state.queue);
        state.held_bytes -= given_up.iter().map(EvidenceItem::weight).sum::<usize>();
        state.held -= given_up.len();
        state.usage.dropped += given_up.len() as u64;
        given_up.len() as u64
    }

    /// Reports what is on disk, and why nothing can be written, if so.
    pub(crate) fn report(&self, files: u64, bytes: u64, suspended: Option<String>) {
        let mut state = self.lock();
        state.usage.files = files;
        state.usage.bytes = bytes;
        state.usage.suspended = suspended;
    }

    /// Returns how many items were left out since the last call.
    pub(crate) fn take_unsaid(&self) -> u64 {
        std::mem::take(&mut self.lock().unsaid)
    }
}

/// The sending end; after the last clone is gone, the queue is closed.
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

    /// Counts an item that is left out. Returns `true` if it is the first one for this reason, and
    /// the writer does not report that reason itself.
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

    /// Reserves space for an item of this weight; returns `None`, and counts the item, if there is
    /// none.
    pub(crate) fn reserve(&self, weight: usize) -> Option<Reservation<'_>> {
        let queue = self.queue();
        let mut state = queue.lock();
        let has_room =
            state.held == 0 || (state.held < MOST_ITEMS && state.held_bytes + weight <= MOST_BYTES);
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

/// Space in the queue that is reserved for one item.
#[must_use]
pub(crate) struct Reservation<'a>(&'a EvidenceQueue);

impl Reservation<'_> {
    /// Puts the item there.
    pub(crate) fn fill(self, item: EvidenceItem) {
        self.0.lock().queue.push_back(item);
        self.0.changed.notify_all();
    }
}
