//! What the publisher sends for others: verdicts in real time, answers to commands, and records.
//!
//! ```text
//! verdict ─► waiting ─┐
//!                     ├─ as far as the window allows ────────► broker ─► in_flight
//! journal ─► outbox ──┘
//! ```

use std::time::{Duration, Instant};

use flawd_core::verdict::{Reason, Verdict};
use flawd_journal::Position;
use jiff::Timestamp;
use tracing::error;

use super::{Task, WAITING};
use crate::line::pipeline::part::stored::Stored;
use crate::line::pipeline::publish::Recorded;
use crate::line::pipeline::publish::connection::{Connection, Message, NotSent};
use crate::line::pipeline::publish::inflight::{Subject, VerdictId};

/// The time to the broker and back, if a verdict's deadline expires before it can have been
/// acknowledged. As long as TCP waits for one before it has measured it (RFC 6298).
const ROUND_TRIP: Duration = Duration::from_secs(1);

impl Task {
    /// Handles a verdict without a connection: in real time it is worth nothing; its record waits.
    pub(crate) fn take_offline(&mut self, recorded: &Recorded) {
        let verdict = verdict_id(recorded);
        self.last[verdict.camera] = Some((verdict.seq, Instant::now()));
        self.count_undelivered(verdict);
    }

    /// Takes a verdict and those that have come with it, as far as there is room.
    pub(crate) fn take_verdicts(&mut self, first: Recorded) {
        self.take_verdict(first);
        while self.waiting.len() < WAITING
            && let Ok(recorded) = self.parts.verdicts.try_recv()
        {
            self.take_verdict(*recorded);
        }
    }

    pub(crate) fn take_verdict(&mut self, recorded: Recorded) {
        let now = Instant::now();
        self.last[recorded.camera] = Some((recorded.event.data.seq, now));
        let expires = self.writer.expires(&recorded, now);
        self.waiting.push_back((recorded, expires));
        if self.waiting.len() > WAITING
            && let Some((oldest, _)) = self.waiting.pop_front()
        {
            self.count_undelivered(verdict_id(&oldest));
        }
    }

    /// Hands to the client what there is room for: verdicts, and behind them records.
    pub(crate) fn submit(&mut self, connection: &Connection) {
        self.submit_verdicts(connection);
        self.submit_records(connection);
    }

    pub(crate) fn submit_verdicts(&mut self, connection: &Connection) {
        while self.in_flight.open() < self.window.all
            && let Some((recorded, expires)) = self.waiting.pop_front()
        {
            self.submit_verdict(connection, recorded, expires);
        }
    }

    pub(crate) fn submit_records(&mut self, connection: &Connection) {
        while self.in_flight.open() < self.window.records
            && let Some(entry) = self.outbox.send_next()
        {
            let (position, stored) = (entry.position, Stored::from_json(&entry.payload));
            match stored {
                Ok(stored) => self.submit_record(connection, position, stored),
                Err(error) => {
                    error!(
                        %position,
                        %error,
                        "A record of the journal cannot be read and is left out"
                    );
                    let progress = self.outbox.taken(position, Instant::now());
                    self.note_progress(progress);
                }
            }
        }
        if let Some(more) = self.outbox.demand() {
            self.parts.backlog.credit(more);
        }
    }

    fn submit_verdict(&mut self, connection: &Connection, mut it: Recorded, expires: Instant) {
        let now = Instant::now();
        let verdict = verdict_id(&it);
        let mut left = expires.saturating_duration_since(now);
        if left.is_zero() {
            // Too late for the actuator, but subscribers that count verdicts are owed one.
            let verdict_word = &mut it.event.data.verdict;
            if it.deadline.is_none() || *verdict_word == Verdict::NoDecision(Reason::Late) {
                return self.count_undelivered(verdict);
            }
            *verdict_word = Verdict::NoDecision(Reason::Late);
            left = self.parts.settings.expiry;
        }
        if it.deadline.is_some_and(|deadline| deadline <= now) {
            // The requester has already decided without it, and might mistake it for the next
            // answer.
            it.reply = None;
        }
        self.parts.metrics.published(now.duration_since(it.time));
        let due = now + left.max(ROUND_TRIP).min(self.parts.settings.stall_timeout);
        let said = self.writer.verdict(it, left);
        for message in said.actuator.into_iter().chain([said.everyone]) {
            self.publish(connection, message, Subject::Verdict(verdict), due);
        }
        if let Some(message) = said.asker {
            self.answer(connection, message, due);
        }
    }

    fn submit_record(&mut self, connection: &Connection, position: Position, stored: Stored) {
        let age = Timestamp::now().duration_since(stored.time());
        let is_old = self.parts.backlog.is_from_before(position)
            || age.unsigned_abs() > self.parts.settings.expiry;
        let message = self.writer.stored(stored, is_old);
        self.publish(connection, message, Subject::Record(position), self.due());
    }

    /// Answers the requester, unless the broker is known to end connections over it.
    pub(crate) fn answer(&mut self, connection: &Connection, message: Message, due: Instant) {
        if self.answers.may_go(&message.topic, Instant::now()) {
            let about = Subject::Answer(message.topic.clone());
            self.publish(connection, message, about, due);
        }
    }

    pub(crate) fn start_row_over(&mut self) {
        let generation = self.outbox.start_over();
        self.parts.backlog.rewind(generation);
    }

    /// Returns whether the journal holds nothing that the broker would accept now.
    pub(crate) fn records_are_done(&self) -> bool {
        self.outbox.refusal().is_some() || self.parts.backlog.is_done(self.outbox.reached())
    }

    /// Publishes something that is published again anyway.
    pub(crate) fn publish_own(&mut self, connection: &Connection, message: Message) {
        self.publish(connection, message, Subject::Nothing, self.due());
    }

    /// Hands a message to the client, to be acknowledged by `due`.
    fn publish(&mut self, connection: &Connection, message: Message, about: Subject, due: Instant) {
        match connection.publish(message) {
            Ok(()) => self.in_flight.hand_over(about, due),
            Err(NotSent::Full) => {
                // The connection is gone or will be: a record stays in the journal.
                if let Subject::Verdict(verdict) = about {
                    self.count_undelivered(verdict);
                }
            }
            Err(NotSent::TooLarge { size, limit }) => self.leave_out(&about, size, limit),
        }
    }

    /// Leaves out a message that would end the connection. Everything else continues.
    fn leave_out(&mut self, about: &Subject, size: usize, limit: u32) {
        if let Subject::Record(position) = about {
            let reason = format!("it takes {size} bytes and the broker takes {limit}");
            let progress = self.outbox.set_aside(*position);
            return self.note_set_aside(progress, &reason);
        }
        let (camera, seq) = match about {
            Subject::Verdict(verdict) => {
                self.count_undelivered(*verdict);
                (
                    Some(self.parts.cameras[verdict.camera].name.as_str()),
                    Some(verdict.seq),
                )
            }
            _ => (None, None),
        };
        let answer = match about {
            Subject::Answer(topic) => Some(topic.as_str()),
            _ => None,
        };
        if let Some(suppressed) = self.too_large.permit() {
            error!(
                camera,
                seq, answer, size, limit, suppressed, "A message is larger than the broker takes"
            );
        }
    }

    /// Handles the end of the connection, and of every verdict in flight on it.
    pub(crate) fn abandon(&mut self) {
        let waiting = self.waiting.drain(..).map(|(it, _)| verdict_id(&it));
        let mut verdicts = self.in_flight.abandon();
        verdicts.extend(waiting);
        let mut undelivered = self.parts.undelivered.lock();
        for verdict in verdicts {
            undelivered[verdict.camera].add(verdict.seq);
        }
    }

    pub(crate) fn count_undelivered(&self, verdict: VerdictId) {
        self.parts.undelivered.lock()[verdict.camera].add(verdict.seq);
    }

    /// Returns when a message that does no harm when it is old should be acknowledged.
    pub(crate) fn due(&self) -> Instant {
        Instant::now() + self.parts.settings.keep_alive * 2
    }
}

fn verdict_id(recorded: &Recorded) -> VerdictId {
    VerdictId {
        camera: recorded.camera,
        seq: recorded.event.data.seq,
    }
}
