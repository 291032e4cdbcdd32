//! What a camera's pipeline has done so far, counted where it happens.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number that only grows; clones are the same number.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One camera's counters; clones count into the same ones.
///
/// `captured = overrun + inspected + those on their way`, and `inspected = ok + ng + no_decision`:
/// nothing disappears uncounted.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames that the source gave.
    pub captured: Counter,
    /// Frames that were replaced by a newer one before they were looked at.
    pub overrun: Counter,
    /// Verdicts `ok`.
    pub ok: Counter,
    /// Verdicts `ng`.
    pub ng: Counter,
    /// Verdicts `no_decision`, whatever the reason.
    pub no_decision: Counter,
}
