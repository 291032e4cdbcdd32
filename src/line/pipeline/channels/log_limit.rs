//! Decides whether a stage logs what it has logged before: the first times, then once per interval
//! with a count of the rest.

use std::time::{Duration, Instant};

/// Lines that may follow each other before counting begins.
const BURST: u32 = 10;

/// Decides which occurrences of one message are logged.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    window_began: Instant,
    in_window: u32,
    suppressed: u64,
}

impl Throttle {
    /// Allows at most a burst of lines in each interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            window_began: Instant::now(),
            in_window: 0,
            suppressed: 0,
        }
    }

    /// Counts an occurrence; returns `Some`, with the number left out before it, if it should be
    /// logged.
    pub fn permit(&mut self) -> Option<u64> {
        let now = Instant::now();
        if now.duration_since(self.window_began) >= self.interval {
            self.window_began = now;
            self.in_window = 0;
        }
        if self.in_window >= BURST {
            self.suppressed += 1;
            return None;
        }
        self.in_window += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_occurrences_are_counted_instead_of_shown() {
        let mut throttle = Throttle::new(Duration::from_secs(3600));
        let shown = (0..100).filter_map(|_| throttle.permit()).count();
        assert_eq!(shown, 10);
        throttle.interval = Duration::ZERO;
        assert_eq!(throttle.permit(), Some(90));
    }
}
