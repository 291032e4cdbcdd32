//! What the publisher sends of others: verdicts in real time, and behind them records.
//!
//! ```text
//! verdict ─► waiting ─┐
//!                     ├─ as much as the window has room for ─► broker ─► ledger
//! journal ─► row ─────┘
//! ```

use std::time::Instant;

use flawd_core::verdict::{Reason, Verdict};
use flawd_journal::Entry;
use jiff::Timestamp;
use tracing::error;

use super::{RECORD_WINDOW, Task, WAITING, WINDOW};
use crate::pipeline::{
    publish::{
        Recorded,
        connection::{Connection, Message},
        ledger::{About, VerdictId},
    },
    record::Stored,
};

impl Task {
    /// Without a connection a verdict in real time is worth nothing; its record waits.
    pub(super) fn take_offline(&mut self, recorded: &Recorded) {
        let verdict = verdict_id(recorded);
        self.last[verdict.camera] = Some((verdict.seq, Instant::now()));
        self.count_undelivered(About::Verdict(verdict));
    }

    pub(super) fn take_verdict(&mut self, recorded: Recorded) {
        let now = Instant::now();
        self.last[recorded.camera] = Some((recorded.event.data.seq, now));
        let expires = self.writer.expires(&recorded, now);
        self.waiting.push_back((recorded, expires));
        if self.waiting.len() > WAITING
            && let Some((oldest, _)) = self.waiting.pop_front()
        {
            self.count_undelivered(About::Verdict(verdict_id(&oldest)));
        }
    }

    /// Hands to the client what there is room for: verdicts, and behind them records.
    pub(super) fn submit(&mut self, connection: &Connection) {
        self.submit_verdicts(connection);
        self.submit_records(connection);
    }

    pub(super) fn submit_verdicts(&mut self, connection: &Connection) {
        while self.ledger.open() < WINDOW
            && let Some((recorded, expires)) = self.waiting.pop_front()
        {
            self.submit_verdict(connection, recorded, expires);
        }
    }

    pub(super) fn submit_records(&mut self, connection: &Connection) {
        while self.ledger.open() < RECORD_WINDOW
            && let Some(entry) = self.row.send_next()
        {
            self.submit_record(connection, entry);
        }
        if let Some(more) = self.row.demand() {
            self.parts.desk.credit(more);
        }
    }

    fn submit_verdict(&mut self, connection: &Connection, mut it: Recorded, expires: Instant) {
        let now = Instant::now();
        let about = About::Verdict(verdict_id(&it));
        let mut left = expires.saturating_duration_since(now);
        if left.is_zero() {
            // Too late for the actuator, but whoever counts verdicts is owed one.
            let verdict = &mut it.event.data.verdict;
            if it.deadline.is_none() || *verdict == Verdict::NoDecision(Reason::Late) {
                return self.count_undelivered(about);
            }
            *verdict = Verdict::NoDecision(Reason::Late);
            left = self.parts.settings.expiry;
        }
        self.parts.metrics.published(now.duration_since(it.time));
        for message in self.writer.verdict(it, left) {
            self.publish(connection, message, about);
        }
    }

    fn submit_record(&mut self, connection: &Connection, entry: Entry) {
        let position = entry.position;
        match Stored::from_json(&entry.payload) {
            Ok(stored) => {
                let age = Timestamp::now().duration_since(stored.time());
                let is_old = self.parts.desk.is_from_before(position)
                    || age.unsigned_abs() > self.parts.settings.expiry;
                let message = self.writer.stored(stored, is_old);
                self.publish(connection, message, About::Record(position));
            }
            Err(error) => {
                error!(%position, %error, "A record of the journal cannot be read and is left out");
                if let Some(position) = self.row.taken(position) {
                    self.parts.desk.taken(position);
                }
            }
        }
    }

    pub(super) fn start_row_over(&mut self) {
        let generation = self.row.start_over();
        self.parts.desk.rewind(generation);
    }

    /// Whether the journal holds nothing that the broker would take now.
    pub(super) fn records_are_done(&self) -> bool {
        self.row.refusal().is_some() || self.parts.desk.is_done(self.row.reached())
    }

    pub(super) fn publish(&mut self, connection: &Connection, message: Message, about: About) {
        match connection.publish(message) {
            Ok(()) => self.ledger.hand_over(about),
            // The connection is gone or will be: a record stays in the journal.
            Err(_) => self.count_undelivered(about),
        }
    }

    /// The connection is gone, and with it every verdict that was on its way.
    pub(super) fn abandon(&mut self) {
        let waiting = self.waiting.drain(..).map(|(it, _)| verdict_id(&it));
        let mut verdicts = self.ledger.abandon();
        verdicts.extend(waiting);
        let mut undelivered = self.parts.undelivered.lock();
        for verdict in verdicts {
            undelivered[verdict.camera].add(verdict.seq);
        }
    }

    pub(super) fn count_undelivered(&self, about: About) {
        if let About::Verdict(verdict) = about {
            self.parts.undelivered.lock()[verdict.camera].add(verdict.seq);
        }
    }
}

fn verdict_id(recorded: &Recorded) -> VerdictId {
    VerdictId {
        camera: recorded.camera,
        seq: recorded.event.data.seq,
    }
}
