//! Which messages the broker has not acknowledged on this connection, since when, and which verdicts
//! never arrived.
//!
//! The client numbers messages only when it writes them to the wire, so a message is first one of
//! those handed over, in order, and then the one with a packet id. A verdict counts as delivered
//! when the broker has acknowledged every message about it, and as undelivered when one of them was
//! refused, abandoned, or not acknowledged when the connection broke. The last few of those may
//! have arrived anyway: "not known to be delivered" is all that a sender can say.
//!
//! Every message has a moment by which it must be acknowledged. When the oldest is overdue, the
//! connection is stalled, and what is queued on it grows old.

use std::collections::VecDeque;
use std::time::Instant;

use flawd_core::event::{self, Gap};
use flawd_journal::Position;

use crate::line::camera::CameraIndex;

/// Identifies a verdict: its camera, and its number for that camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VerdictId {
    pub(crate) camera: CameraIndex,
    pub(crate) seq: u64,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A verdict in real time.
    Verdict(VerdictId),
    /// A record of the journal.
    Record(Position),
    /// An answer on this topic of the requester.
    Answer(String),
    /// Something that is published again anyway.
    Nothing,
}

/// The messages of one connection.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    handed_over: VecDeque<Open>,
    /// In the order of the wire; packet ids are not.
    on_the_wire: VecDeque<(u16, Open)>,
}

/// An unacknowledged message.
#[derive(Debug)]
struct Open {
    about: Subject,
    /// When it should have been acknowledged.
    due: Instant,
}

impl InFlight {
    /// Notes that a message was handed to the client; it should be acknowledged by `due`.
    pub(crate) fn hand_over(&mut self, about: Subject, due: Instant) {
        self.handed_over.push_back(Open { about, due });
    }

    /// Notes that the next message handed over is on the wire; those without a packet id are done.
    pub(crate) fn sent(&mut self, packet: u16) {
        if let Some(open) = self.handed_over.pop_front()
            && packet != 0
        {
            self.on_the_wire.push_back((packet, open));
        }
    }

    /// Notes that a message was acknowledged, either way; returns what it was about.
    pub(crate) fn acknowledged(&mut self, packet: u16) -> Subject {
        let place = self.on_the_wire.iter().position(|(it, _)| *it == packet);
        let open = place.and_then(|place| self.on_the_wire.remove(place));
        open.map_or(Subject::Nothing, |(_, open)| open.about)
    }

    /// Returns how many messages have been handed over and are not acknowledged.
    pub(crate) fn open(&self) -> usize {
        self.handed_over.len() + self.on_the_wire.len()
    }

    /// Returns what has been on the wire for longest. Brokers answer in order: if one ends the
    /// connection over a message, it is this one.
    pub(crate) fn oldest(&self) -> Option<&Subject> {
        self.on_the_wire.front().map(|(_, open)| &open.about)
    }

    /// Returns when the first of the messages is due to be acknowledged.
    pub(crate) fn due(&self) -> Option<Instant> {
        let sent = self.on_the_wire.iter().map(|(_, open)| open);
        sent.chain(&self.handed_over).map(|open| open.due).min()
    }

    /// Handles the end of the connection: returns the verdicts that were lost with it, each once,
    /// in order.
    pub(crate) fn abandon(&mut self) -> Vec<VerdictId> {
        let waiting = std::mem::take(&mut self.handed_over);
        let sent = std::mem::take(&mut self.on_the_wire).into_iter();
        let mut verdicts: Vec<_> = sent
            .map(|(_, open)| open)
            .chain(waiting)
            .filter_map(|open| match open.about {
                Subject::Verdict(verdict) => Some(verdict),
                Subject::Record(_) | Subject::Answer(_) | Subject::Nothing => None,
            })
            .collect();
        verdicts.sort_unstable();
        verdicts.dedup();
        verdicts
    }
}

/// The verdicts of one camera that are not known to have reached the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undelivered {
    count: u64,
    latest: Option<Gap>,
    is_said: bool,
}

impl Undelivered {
    /// Counts a verdict. Numbers come in order; a repeated number, which occurs when both messages
    /// about a verdict are refused, is counted once.
    pub(crate) fn add(&mut self, seq: u64) {
        match &mut self.latest {
            Some(gap) if gap.last_seq == seq => return,
            Some(gap) if !self.is_said => {
                gap.count += 1;
                gap.last_seq = seq;
            }
            _ => {
                self.latest = Some(Gap {
                    count: 1,
                    first_seq: seq,
                    last_seq: seq,
                });
            }
        }
        self.is_said = false;
        self.count += 1;
    }

    /// Returns what must be reported now, once: the gap since the last call.
    pub(crate) fn take_unreported(&mut self) -> Option<Gap> {
        if std::mem::replace(&mut self.is_said, true) {
            None
        } else {
            self.latest.clone()
        }
    }

    /// Returns how many there were since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether something has not been reported.
    pub(crate) fn is_unsaid(&self) -> bool {
        !self.is_said && self.latest.is_some()
    }

    /// Returns the entry for the state; `None` while everything was delivered.
    pub(crate) fn to_event(&self) -> Option<event::Undelivered> {
        Some(event::Undelivered {
            count: self.count,
            latest: self.latest.clone()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdict(seq: u64) -> VerdictId {
        let camera = CameraIndex(0);
        VerdictId { camera, seq }
    }

    #[test]
    fn what_is_not_acknowledged_when_the_connection_breaks_is_abandoned() {
        let mut in_flight = InFlight::default();
        let due = Instant::now();
        for seq in [1, 1, 2, 3] {
            in_flight.hand_over(Subject::Verdict(verdict(seq)), due);
        }
        in_flight.hand_over(Subject::Answer("plc/answers".to_owned()), due);
        // Both messages about verdict 1 and the one about 2 are sent; 2 and half of 1 are
        // confirmed.
        for packet in 1..=3 {
            in_flight.sent(packet);
        }
        assert_eq!(in_flight.acknowledged(1), Subject::Verdict(verdict(1)));
        assert_eq!(in_flight.acknowledged(3), Subject::Verdict(verdict(2)));
        assert_eq!(in_flight.open(), 3);
        assert_eq!(in_flight.abandon(), [verdict(1), verdict(3)]);
        assert_eq!(in_flight.open(), 0);
    }

    #[test]
    fn a_message_without_acknowledgement_is_done_when_it_is_sent() {
        let mut in_flight = InFlight::default();
        in_flight.hand_over(Subject::Nothing, Instant::now());
        in_flight.sent(0);
        assert_eq!((in_flight.open(), in_flight.due()), (0, None));
    }

    #[test]
    fn the_message_that_is_due_first_counts_whether_it_has_left_or_not() {
        let mut in_flight = InFlight::default();
        let now = Instant::now();
        let [soon, later, last] = [1, 2, 3].map(|it| now + Duration::from_secs(it));
        in_flight.hand_over(Subject::Verdict(verdict(1)), later);
        in_flight.hand_over(Subject::Nothing, last);
        in_flight.hand_over(Subject::Verdict(verdict(2)), soon);
        // Packet ids start again from time to time.
        in_flight.sent(20);
        in_flight.sent(1);
        assert_eq!(in_flight.due(), Some(soon));
        assert_eq!(in_flight.oldest(), Some(&Subject::Verdict(verdict(1))));
        in_flight.sent(2);
        in_flight.acknowledged(2);
        assert_eq!(in_flight.due(), Some(later));
        in_flight.acknowledged(20);
        assert_eq!(in_flight.oldest(), Some(&Subject::Nothing));
    }

    #[test]
    fn each_gap_is_said_once_with_its_range() {
        let mut undelivered = Undelivered::default();
        assert_eq!(undelivered.take_unreported(), None);
        // 5 was refused twice: for the actuator and for everyone.
        for seq in [5, 5, 6, 9] {
            undelivered.add(seq);
        }
        let gap = undelivered.take_unreported().unwrap();
        assert_eq!((gap.count, gap.first_seq, gap.last_seq), (3, 5, 9));
        assert_eq!(undelivered.take_unreported(), None);
        undelivered.add(9);
        undelivered.add(20);
        let gap = undelivered.take_unreported().unwrap();
        assert_eq!((gap.count, gap.first_seq, gap.last_seq), (1, 20, 20));
        assert_eq!(undelivered.to_event().unwrap().count, 4);
    }
}
