//! Pauses between attempts: doubling and bounded.

use std::time::Duration;

/// A series of pauses.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    is_jittered: bool,
    failures: u32,
}

impl Backoff {
    /// Creates a series that begins at `first` and does not exceed `longest`.
    pub(crate) fn steady(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            is_jittered: false,
            failures: 0,
        }
    }

    /// As [`Self::steady`], with each pause between half and all of its length, so that a hall full
    /// of stations does not reconnect to a restarted broker at the same instant.
    pub(crate) fn jittered(first: Duration, longest: Duration) -> Self {
        Self {
            is_jittered: true,
            ..Self::steady(first, longest)
        }
    }

    /// Counts a failure; returns the pause before the next attempt.
    pub(crate) fn fail(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        let pause = doubled.min(self.longest);
        self.failures = self.failures.saturating_add(1);
        if self.is_jittered {
            pause.mul_f64(1.0 - fastrand::f64() / 2.0)
        } else {
            pause
        }
    }

    /// Counts a success: the series starts again.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);

    #[test]
    fn pauses_grow_to_their_bound_and_start_again_after_a_success() {
        let longest = Duration::from_secs(1);
        let mut backoff = Backoff::steady(FIRST, longest);
        let pauses: Vec<_> = (0..5).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 1000, 1000]);
        backoff.succeed();
        assert_eq!(backoff.fail(), FIRST);
    }

    #[test]
    fn a_jittered_pause_is_at_least_half_as_long_and_differs() {
        let longest = Duration::from_secs(30);
        let mut backoff = Backoff::jittered(FIRST, longest);
        let first = backoff.fail();
        assert!(first >= FIRST / 2 && first <= FIRST, "{first:?}");
        let late: Vec<_> = (0..100).map(|_| backoff.fail()).skip(10).collect();
        let bounds = longest / 2..=longest;
        assert!(late.iter().all(|pause| bounds.contains(pause)), "{late:?}");
        assert!(late.iter().any(|pause| *pause != late[0]), "{late:?}");
    }
}
