//! Decides which frame belongs to which trigger, and whose deadline has passed: arithmetic on
//! moments, without a clock or a thread.
//!
//! A trigger wants the picture of one moment. Of the frames taken within the tolerance around it,
//! it gets the nearest; a frame shows one part and is given to one trigger. Frames come in the
//! order in which they were taken, so the first one at or after the moment settles the question:
//! either it or its predecessor is the nearest there will ever be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Triggers that wait for their frame, and the newest frame.
#[derive(Debug)]
pub(crate) struct Matcher<T, F> {
    tolerance: Duration,
    capacity: usize,
    waiting: VecDeque<Wanted<T>>,
    newest: Option<(Instant, F)>,
}

/// A waiting trigger.
#[derive(Debug)]
pub(crate) struct Wanted<T> {
    /// An item that is returned to the caller.
    pub(crate) item: T,
    /// The moment that the picture should show.
    pub(crate) moment: Instant,
    /// When a frame would no longer be useful.
    pub(crate) give_up: Instant,
    /// Whether any frame has come since.
    saw_frame: bool,
}

/// The outcome for a trigger or a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched<T, F> {
    /// A trigger and its frame.
    Match {
        /// The trigger.
        item: T,
        /// Its frame.
        frame: F,
        /// The moment that it requested.
        moment: Instant,
    },
    /// Frames have come, none of them within the tolerance.
    Unmatched(T),
    /// No frame at all has come since the trigger.
    NoFrame(T),
    /// More triggers wait than are allowed; the oldest is dropped.
    Overrun(T),
    /// A frame that no trigger has requested.
    Unused(F),
}

impl<T> Wanted<T> {
    pub(crate) fn new(item: T, moment: Instant, give_up: Instant) -> Self {
        Self {
            item,
            moment,
            give_up,
            saw_frame: false,
        }
    }
}

impl<T, F> Matcher<T, F> {
    /// Creates a matcher in which at most `capacity` triggers wait, each for a frame taken at most
    /// `tolerance` from its moment.
    pub(crate) fn new(tolerance: Duration, capacity: usize) -> Self {
        Self {
            tolerance,
            capacity,
            waiting: VecDeque::new(),
            newest: None,
        }
    }

    /// Adds a trigger.
    pub(crate) fn want(&mut self, wanted: Wanted<T>, answers: &mut Vec<Matched<T, F>>) {
        self.waiting.push_back(wanted);
        self.settle(answers);
        while self.waiting.len() > self.capacity {
            let oldest = self.waiting.pop_front();
            answers.extend(oldest.map(|oldest| Matched::Overrun(oldest.item)));
        }
    }

    /// Adds a frame, taken at `captured`.
    pub(crate) fn offer(&mut self, captured: Instant, frame: F, answers: &mut Vec<Matched<T, F>>) {
        for wanted in &mut self.waiting {
            wanted.saw_frame = true;
        }
        // Triggers for which the previous frame is nearer than the new one.
        while let Some(front) = self.waiting.front()
            && captured >= front.moment
            && let Some((newest, _)) = self.newest
            && newest + self.tolerance >= front.moment
            && front.moment.saturating_duration_since(newest) < captured - front.moment
        {
            self.give_newest(answers);
        }
        let unused = self.newest.replace((captured, frame));
        answers.extend(unused.map(|(_, frame)| Matched::Unused(frame)));
        self.settle(answers);
    }

    /// Answers the triggers that have expired at `now`.
    pub(crate) fn expire(&mut self, now: Instant, answers: &mut Vec<Matched<T, F>>) {
        let mut index = 0;
        while let Some(wanted) = self.waiting.get(index) {
            if now < wanted.give_up {
                index += 1;
                continue;
            }
            let fits = self
                .newest
                .as_ref()
                .is_some_and(|(newest, _)| distance(*newest, wanted.moment) <= self.tolerance);
            // `get` has found it.
            let Some(wanted) = self.waiting.remove(index) else {
                return;
            };
            answers.push(match self.newest.take_if(|_| fits) {
                Some((_, frame)) => Matched::Match {
                    item: wanted.item,
                    frame,
                    moment: wanted.moment,
                },
                None if wanted.saw_frame => Matched::Unmatched(wanted.item),
                None => Matched::NoFrame(wanted.item),
            });
        }
    }

    /// Returns when the next trigger expires.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|wanted| wanted.give_up).min()
    }

    /// Returns the moment that the longest-waiting trigger requests.
    pub(crate) fn next_moment(&self) -> Option<Instant> {
        self.waiting.front().map(|wanted| wanted.moment)
    }

    /// Removes and returns every waiting trigger, in order.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = T> + use<T, F> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|wanted| wanted.item)
    }

    /// Answers every trigger whose moment the newest frame has reached.
    fn settle(&mut self, answers: &mut Vec<Matched<T, F>>) {
        while let Some(front) = self.waiting.front()
            && let Some((newest, _)) = self.newest
            && newest >= front.moment
        {
            if newest - front.moment <= self.tolerance {
                self.give_newest(answers);
            } else if let Some(front) = self.waiting.pop_front() {
                answers.push(Matched::Unmatched(front.item));
            }
        }
    }

    fn give_newest(&mut self, answers: &mut Vec<Matched<T, F>>) {
        if let Some((_, frame)) = self.newest.take()
            && let Some(Wanted { item, moment, .. }) = self.waiting.pop_front()
        {
            answers.push(Matched::Match {
                item,
                frame,
                moment,
            });
        }
    }
}

fn distance(a: Instant, b: Instant) -> Duration {
    a.saturating_duration_since(b)
        .max(b.saturating_duration_since(a))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Times in milliseconds after a common start.
    struct Line {
        start: Instant,
        matcher: Matcher<u64, u64>,
        answers: Vec<Matched<u64, u64>>,
    }

    impl Line {
        fn new(tolerance: u64, capacity: usize) -> Self {
            Self {
                start: Instant::now() + Duration::from_secs(3600),
                matcher: Matcher::new(Duration::from_millis(tolerance), capacity),
                answers: Vec::new(),
            }
        }

        fn at(&self, time: u64) -> Instant {
            self.start + Duration::from_millis(time)
        }

        fn trigger(&mut self, time: u64, give_up: u64) {
            let wanted = Wanted::new(time, self.at(time), self.at(give_up));
            self.matcher.want(wanted, &mut self.answers);
        }

        fn frame(&mut self, time: u64) {
            self.matcher.offer(self.at(time), time, &mut self.answers);
        }

        fn expire(&mut self, time: u64) {
            self.matcher.expire(self.at(time), &mut self.answers);
        }

        /// Returns pairs of trigger and frame.
        fn matches(&self) -> Vec<(u64, u64)> {
            let pairs = self.answers.iter().filter_map(|answer| match answer {
                Matched::Match { item, frame, .. } => Some((*item, *frame)),
                _ => None,
            });
            pairs.collect()
        }
    }

    #[test]
    fn the_nearest_frame_is_taken_before_or_after() {
        let mut line = Line::new(50, 4);
        line.frame(95);
        line.trigger(100, 1000);
        line.frame(128);
        line.trigger(150, 1000);
        line.frame(161);
        assert_eq!(line.matches(), [(100, 95), (150, 161)]);
    }

    #[test]
    fn a_frame_beyond_the_tolerance_leaves_the_trigger_unmatched() {
        let mut line = Line::new(20, 4);
        line.trigger(100, 1000);
        line.frame(79);
        line.frame(121);
        assert!(line.answers.contains(&Matched::Unmatched(100)));
        assert!(line.matches().is_empty());
    }

    #[test]
    fn a_trigger_that_has_waited_too_long_takes_what_fits_or_says_that_nothing_came() {
        let mut line = Line::new(20, 4);
        line.trigger(100, 150);
        line.frame(90);
        line.expire(149);
        assert!(line.answers.is_empty());
        line.expire(150);
        assert_eq!(line.matches(), [(100, 90)]);
        line.trigger(200, 250);
        line.expire(250);
        assert_eq!(line.answers.last(), Some(&Matched::NoFrame(200)));
    }

    #[test]
    fn one_frame_is_given_to_one_trigger() {
        let mut line = Line::new(50, 4);
        line.trigger(100, 1000);
        line.trigger(101, 1000);
        line.frame(102);
        assert_eq!(line.matches(), [(100, 102)]);
        line.frame(103);
        assert_eq!(line.matches(), [(100, 102), (101, 103)]);
    }

    #[test]
    fn the_oldest_gives_way_where_too_many_wait() {
        let mut line = Line::new(50, 1);
        line.trigger(100, 1000);
        line.trigger(101, 1000);
        assert_eq!(line.answers, [Matched::Overrun(100)]);
    }

    proptest! {
        /// Whatever the interleaving, each trigger is answered once, each frame is given once, and
        /// no match exceeds the tolerance.
        #[test]
        fn every_trigger_is_answered_once_and_every_match_is_within_the_tolerance(
            steps in prop::collection::vec((0_u8..3, 0_u64..40), 0..200),
            tolerance in 0_u64..60,
            capacity in 1_usize..5,
        ) {
            let mut line = Line::new(tolerance, capacity);
            let (mut now, mut last_frame) = (0, 0);
            let mut triggers = BTreeSet::new();
            for (kind, pause) in steps {
                now += pause + 1;
                match kind {
                    0 => {
                        triggers.insert(now);
                        line.trigger(now, now + 100);
                    }
                    1 => {
                        // A frame is available some time after it was taken.
                        last_frame = (now - pause.min(now)).max(last_frame + 1);
                        line.frame(last_frame);
                    }
                    _ => line.expire(now),
                }
            }
            line.expire(now + 101);
            prop_assert_eq!(line.matcher.next_expiry(), None);
            let mut answered = Vec::new();
            let mut frames = BTreeSet::new();
            for answer in &line.answers {
                match answer {
                    Matched::Match { item, frame, .. } => {
                        prop_assert!(item.abs_diff(*frame) <= tolerance);
                        prop_assert!(frames.insert(*frame), "frame {} twice", frame);
                        answered.push(*item);
                    }
                    Matched::Unmatched(item) | Matched::NoFrame(item) | Matched::Overrun(item) => {
                        answered.push(*item);
                    }
                    Matched::Unused(frame) => prop_assert!(frames.insert(*frame)),
                }
            }
            answered.sort_unstable();
            prop_assert_eq!(answered, triggers.into_iter().collect::<Vec<_>>());
        }
    }
}
