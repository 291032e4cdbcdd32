//! Response topics that are no longer used, because the broker has ended connections for them.
//!
//! Any client that may send a trigger names the topic of the answer, and there are brokers that end
//! the connection of a client that publishes where it may not, or on a topic that they reject. Then
//! one answer costs all others their verdicts. So a topic that was the oldest one on the wire twice
//! when a connection ended is not used for a while. Requesters may use a separate topic for each
//! request, so the levels above are watched as well, each allowing twice as many strikes.

use std::collections::VecDeque;
use std::iter;
use std::time::{Duration, Instant};

/// Connections that end at one topic before it is no longer used.
const STRIKES: u32 = 2;

/// Levels that are watched: the topic, and those above it.
const LEVELS: usize = 5;

/// How long a topic is not used before it is tried once more.
const PAUSE: Duration = Duration::from_hours(1);

/// Topics that are remembered.
const REMEMBERED: usize = 64;

/// What is known about response topics.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    suspects: VecDeque<SuspectTopic>,
}

#[derive(Debug)]
struct SuspectTopic {
    topic: String,
    strikes: u32,
    last: Instant,
}

impl Answers {
    /// Returns whether an answer may be sent on this topic.
    pub(crate) fn may_go(&self, topic: &str, now: Instant) -> bool {
        !levels(topic).any(|(name, patience)| {
            let suspect = self.suspects.iter().find(|it| it.topic == name);
            suspect.is_some_and(|it| {
                it.strikes >= patience && now.saturating_duration_since(it.last) < PAUSE
            })
        })
    }

    /// Notes that the broker has ended a connection at an answer on this topic; returns whether
    /// answers on it are left out from now on.
    pub(crate) fn strike(&mut self, topic: &str, now: Instant) -> bool {
        let could_go = self.may_go(topic, now);
        for (name, _) in levels(topic) {
            let known = self.suspects.iter_mut().find(|it| it.topic == name);
            if let Some(suspect) = known {
                suspect.strikes += 1;
                suspect.last = now;
                continue;
            }
            self.suspects.push_back(SuspectTopic {
                topic: name.to_owned(),
                strikes: 1,
                last: now,
            });
            if self.suspects.len() > REMEMBERED {
                self.suspects.pop_front();
            }
        }
        could_go && !self.may_go(topic, now)
    }

    /// Notes that the broker has acknowledged an answer on this topic.
    pub(crate) fn taken(&mut self, topic: &str) {
        self.suspects
            .retain(|it| levels(topic).all(|(name, _)| name != it.topic));
    }
}

/// Returns a topic and the levels above it, each with the number of strikes that bars it.
fn levels(topic: &str) -> impl Iterator<Item = (&str, u32)> {
    let names = iter::successors(Some(topic), |name| {
        name.rsplit_once('/').map(|(above, _)| above)
    });
    let patience = iter::successors(Some(STRIKES), |it| it.checked_mul(2));
    names.zip(patience).take(LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_ends_two_connections_is_left_alone_for_an_hour_and_then_tried_once() {
        let mut answers = Answers::default();
        let now = Instant::now();
        assert!(!answers.strike("plc/answers/7", now));
        assert!(answers.may_go("plc/answers/7", now));
        assert!(answers.strike("plc/answers/7", now));
        assert!(!answers.may_go("plc/answers/7", now));
        assert!(answers.may_go("plc/answers/8", now));
        let later = now + PAUSE;
        assert!(answers.may_go("plc/answers/7", later));
        assert!(answers.strike("plc/answers/7", later));
        assert!(!answers.may_go("plc/answers/7", later));
    }

    #[test]
    fn an_answer_that_is_taken_clears_its_topic() {
        let mut answers = Answers::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(!answers.strike("answers", now));
            answers.taken("answers");
        }
        assert!(answers.may_go("answers", now));
    }

    #[test]
    fn a_topic_of_its_own_for_each_request_does_not_end_connections_for_ever() {
        let mut answers = Answers::default();
        let now = Instant::now();
        let topics: Vec<_> = (0..1000).map(|it| format!("plc/answers/{it}")).collect();
        let went = topics.iter().filter(|topic| {
            let may_go = answers.may_go(topic, now);
            if may_go {
                answers.strike(topic, now);
            }
            may_go
        });
        assert_eq!(went.count(), 4);
        assert!(answers.suspects.len() <= REMEMBERED);
    }
}
