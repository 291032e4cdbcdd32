//! Which stage has been working on an item since when: the facts from which health is judged.
//!
//! A stage that waits for input is healthy however long it waits; one that has worked on a single
//! item for seconds is not. So each stage notes when it begins and ends an item, and nothing runs
//! on a timer that would keep ticking in a stage that hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The progress of one stage; clones share it.
#[derive(Clone, Debug)]
pub struct Progress {
    shared: Arc<StageProgress>,
}

#[derive(Debug)]
struct StageProgress {
    stage: String,
    /// Milliseconds of [`clock`] at which the current item was begun; 0 between items.
    busy_since: AtomicU64,
}

/// An item being worked on; dropping it, on any thread, ends the work.
#[derive(Debug)]
#[must_use]
pub struct Working(Arc<StageProgress>);

impl Progress {
    /// Creates the progress of the stage with this name.
    pub fn new(stage: impl Into<String>) -> Self {
        Self {
            shared: Arc::new(StageProgress {
                stage: stage.into(),
                busy_since: AtomicU64::new(0),
            }),
        }
    }

    /// Returns the stage's name.
    pub fn stage(&self) -> &str {
        &self.shared.stage
    }

    /// Notes that work on an item begins; it ends when the result is dropped.
    pub fn begin(&self) -> Working {
        self.shared.busy_since.store(clock(), Ordering::Relaxed);
        Working(Arc::clone(&self.shared))
    }

    /// Returns how long the stage has been working on its current item; `None` while it waits for
    /// one.
    pub fn busy_for(&self) -> Option<Duration> {
        match self.shared.busy_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(clock().saturating_sub(since))),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}

/// Returns milliseconds since the first call, plus one, so that 0 can mean "never".
fn clock() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_busy_from_begin_to_drop() {
        let progress = Progress::new("infer");
        assert_eq!(progress.busy_for(), None);
        let working = progress.begin();
        assert!(progress.busy_for().is_some());
        drop(working);
        assert_eq!(progress.busy_for(), None);
    }
}
