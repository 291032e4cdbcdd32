//! A request for a verdict, from a line controller or the interval timer.
//!
//! Contains nothing about where triggers come from or which frame they get.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::moment::Moment;
use super::reply::Reply;

/// One part that needs exactly one verdict.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The line's name for the part.
    pub part_id: Option<String>,
    /// Which of the camera's models is to judge it.
    pub recipe: Option<String>,
    /// How long after `received` the verdict is useful.
    pub deadline: Option<Duration>,
    /// When it was received.
    pub received: Moment,
    /// Where the requester wants the answer, in addition to the public topic.
    pub reply: Option<Reply>,
}

impl Trigger {
    /// Creates a trigger of this moment without further requests.
    pub fn plain(received: Moment) -> Self {
        Self {
            part_id: None,
            recipe: None,
            deadline: None,
            received,
            reply: None,
        }
    }
}

/// Why a trigger is not accepted; it gets no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The stage is held up, and the maximum number is waiting.
    #[error("{waiting} triggers wait to be looked at: they come faster than verdicts are written")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The stage has ended.
    #[error("flawd has stopped to inspect")]
    Ended,
}

/// The moment after which a verdict is worthless, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// For messages.
    pub wall: Timestamp,
    /// For decisions.
    pub monotonic: Instant,
}

impl Deadline {
    /// Returns the deadline `budget` after `start`.
    pub fn after(start: Moment, budget: Duration) -> Self {
        let signed = SignedDuration::try_from(budget).unwrap_or(SignedDuration::MAX);
        Self {
            wall: start.wall.saturating_add(signed).unwrap_or(Timestamp::MAX),
            monotonic: start.monotonic + budget,
        }
    }

    /// Returns what is left at `now`, in milliseconds; negative once it has passed.
    pub fn remaining_ms(&self, now: Instant) -> f64 {
        milliseconds(now, self.monotonic) - milliseconds(self.monotonic, now)
    }
}

/// Returns the milliseconds from one moment to a later one; 0 if it is earlier.
pub(crate) fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}
