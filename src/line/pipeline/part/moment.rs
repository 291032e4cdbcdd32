//! A moment on both clocks.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// A moment on both clocks: the wall clock for display, the monotonic one for every difference.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For messages and logs; may jump.
    pub wall: Timestamp,
    /// For ages and latencies.
    pub monotonic: Instant,
}

impl Moment {
    /// Returns the current moment.
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            monotonic: Instant::now(),
        }
    }

    /// Returns the current moment, less `age`.
    pub fn before_now(age: Duration) -> Self {
        let now = Self::now();
        let signed = SignedDuration::try_from(age).unwrap_or(SignedDuration::ZERO);
        Self {
            wall: now.wall.checked_sub(signed).unwrap_or(now.wall),
            monotonic: now.monotonic.checked_sub(age).unwrap_or(now.monotonic),
        }
    }
}
