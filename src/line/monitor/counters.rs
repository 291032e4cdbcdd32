//! What a camera's pipeline has done so far, counted where it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flawd_core::event::{DriftData, ShadowState};
use parking_lot::Mutex;

/// A number that only grows; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds so many.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Returns the current number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The latest of a series of values; clones share it.
#[derive(Clone, Debug)]
pub struct Latest<T>(Arc<Mutex<Option<T>>>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Latest<T> {
    /// Sets another value.
    pub fn set(&self, value: T) {
        *self.0.lock() = Some(value);
    }

    /// Returns the latest value, if any.
    pub fn get(&self) -> Option<T> {
        self.0.lock().clone()
    }
}

/// One camera's counters; clones share them.
///
/// `captured = overrun + missed + unused + inspected + those in flight`: nothing disappears
/// uncounted. There are more verdicts than inspected frames if triggers end without a frame.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Frames that the camera took, as far as the source knows.
    pub captured: Counter,
    /// Frames that were replaced by a newer one before they were processed.
    pub overrun: Counter,
    /// Frames that the camera took and its driver did not deliver.
    pub missed: Counter,
    /// Frames that were not requested: no trigger, no model yet, or inspection is paused.
    pub unused: Counter,
    /// Verdicts `ok`.
    pub ok: Counter,
    /// Verdicts `ng`.
    pub ng: Counter,
    /// Verdicts `no_decision`, whatever the reason.
    pub no_decision: Counter,
    /// Triggers that were accepted: each gets exactly one verdict.
    pub triggers_accepted: Counter,
    /// Triggers that were refused and get no verdict.
    pub triggers_refused: Counter,
    /// Whether parts are still like those of the calibration.
    pub drift: Latest<DriftData>,
    /// The state of the shadow model.
    pub shadow: Latest<ShadowState>,
}
