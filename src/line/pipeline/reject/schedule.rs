//! Which pulses are to come, and when each begins. Only arithmetic, and the lock around it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Maximum pulses to come. More parts than this are not between a camera and its actuator; a storm
/// of triggers that get no decision can be.
pub(super) const MOST: usize = 4096;

/// The pulses to come, and what was not made of them.
#[derive(Debug)]
pub(super) struct Schedule {
    tolerance: Duration,
    moments: BinaryHeap<Reverse<Instant>>,
    late: u64,
    overrun: u64,
    is_closed: bool,
}

/// Pulses that are due, and pulses that never will be, since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Parts that are at the actuator now.
    pub(super) pulses: u64,
    /// Parts whose verdict came after they had passed it, or whose pulse would begin too late.
    pub(super) late: u64,
    /// Parts for whose pulse there was no room.
    pub(super) overrun: u64,
}

impl Schedule {
    /// Creates an empty schedule, whose pulses may begin this much after their moment.
    pub(super) fn new(tolerance: Duration) -> Self {
        Self {
            tolerance,
            moments: BinaryHeap::new(),
            late: 0,
            overrun: 0,
            is_closed: false,
        }
    }

    /// Notes a pulse at `moment`, unless that has passed.
    pub(super) fn note(&mut self, moment: Instant, now: Instant) {
        if moment < now {
            self.late += 1;
        } else if self.moments.len() >= MOST {
            self.overrun += 1;
        } else {
            self.moments.push(Reverse(moment));
        }
    }

    /// Takes what is due.
    pub(super) fn take(&mut self, now: Instant) -> Due {
        let mut due = Due {
            pulses: 0,
            late: std::mem::take(&mut self.late),
            overrun: std::mem::take(&mut self.overrun),
        };
        while let Some(Reverse(moment)) = self.moments.peek().copied()
            && moment <= now
        {
            self.moments.pop();
            if now.duration_since(moment) > self.tolerance {
                due.late += 1;
            } else {
                due.pulses += 1;
            }
        }
        due
    }

    fn next(&self) -> Option<Instant> {
        self.moments.peek().map(|Reverse(moment)| *moment)
    }

    fn has_news(&self) -> bool {
        self.late > 0 || self.overrun > 0
    }

    fn is_over(&self) -> bool {
        self.is_closed && self.moments.is_empty()
    }
}

/// A schedule that is filled by the stages and emptied by the thread of the line; clones share it.
#[derive(Clone, Debug)]
pub(super) struct SharedSchedule(Arc<(Mutex<Schedule>, Condvar)>);

impl SharedSchedule {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self(Arc::new((Mutex::new(schedule), Condvar::new())))
    }

    /// Notes a pulse at `moment`.
    pub(super) fn note(&self, moment: Instant) {
        let (schedule, changed) = &*self.0;
        schedule.lock().note(moment, Instant::now());
        changed.notify_one();
    }

    /// Says that no more pulses will be noted.
    pub(super) fn close(&self) {
        let (schedule, changed) = &*self.0;
        schedule.lock().is_closed = true;
        changed.notify_one();
    }

    /// Waits for the next pulse, at most until `until`, or less if none will come and nothing
    /// `is_active`; returns what is due by then, and whether nothing more will come.
    pub(super) fn wait(&self, until: Instant, is_active: bool) -> (Due, bool) {
        let (schedule, changed) = &*self.0;
        let mut schedule = schedule.lock();
        loop {
            let wake = schedule.next().map_or(until, |next| next.min(until));
            let is_done = schedule.has_news() || (schedule.is_over() && !is_active);
            if is_done || changed.wait_until(&mut schedule, wake).timed_out() {
                break;
            }
        }
        let due = schedule.take(Instant::now());
        (due, schedule.is_over())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_or_is_taken_too_late_makes_no_pulse() {
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        let mut schedule = Schedule::new(Duration::from_millis(5));
        schedule.note(after(9), after(10));
        schedule.note(after(30), after(10));
        schedule.note(after(20), after(10));
        schedule.note(after(21), after(10));
        let late = schedule.take(after(10));
        assert_eq!((late.pulses, late.late), (0, 1));
        assert_eq!(schedule.next(), Some(after(20)));
        // 20 is 6 ms ago, 21 is 5.
        let due = schedule.take(after(26));
        assert_eq!((due.pulses, due.late), (1, 1));
        assert_eq!(schedule.next(), Some(after(30)));
    }

    #[test]
    fn a_storm_is_bounded_and_counted() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(Duration::ZERO);
        for _ in 0..MOST + 7 {
            schedule.note(begin + Duration::from_secs(1), begin);
        }
        assert_eq!(schedule.take(begin).overrun, 7);
        assert_eq!(schedule.moments.len(), MOST);
    }
}
