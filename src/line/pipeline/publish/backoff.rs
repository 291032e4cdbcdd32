//! Pauses between attempts: doubling, bounded, and jittered, so that a hall full of stations does
//! not reconnect to a restarted broker at the same instant.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The usual pause after the first failure.
const FIRST: Duration = Duration::from_millis(250);

/// A series of pauses.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    /// Differs from process to process.
    jitter: RandomState,
}

impl Backoff {
    /// Creates a series that begins at a quarter of a second and does not exceed `longest`.
    pub(crate) fn new(longest: Duration) -> Self {
        Self::from(FIRST, longest)
    }

    /// Creates a series that begins at `first` and does not exceed `longest`.
    pub(crate) fn from(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
            jitter: RandomState::new(),
        }
    }

    /// Counts a failure; returns the pause before the next attempt, between half and all of its
    /// nominal length.
    pub(crate) fn fail(&mut self) -> Duration {
        let nominal = self
            .first
            .saturating_mul(1 << self.failures.min(16))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let share = self.jitter.hash_one(self.failures) % 1024;
        nominal / 2 + nominal / 2 * u32::try_from(share).unwrap_or(0) / 1024
    }

    /// Counts a success: the series starts again.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_anew_after_a_success() {
        let longest = Duration::from_secs(30);
        let mut backoff = Backoff::new(longest);
        let first = backoff.fail();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let last = (0..100).map(|_| backoff.fail()).last().unwrap();
        assert!(last >= longest / 2 && last <= longest, "{last:?}");
        backoff.succeed();
        assert!(backoff.fail() <= FIRST);
    }
}
