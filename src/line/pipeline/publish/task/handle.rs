//! Handles the broker's answers: tells the outbox which records it refuses, and follows response
//! topics that it rejects and a connection that has stalled.

use std::time::Instant;

use tracing::{error, info, warn};

use super::{Ended, Task};
use crate::line::pipeline::event::{DaemonEvent, RefusedTopics};
use crate::line::pipeline::part::stored::Stored;
use crate::line::pipeline::publish::connection::{
    Connection, ConnectionEvent, ConnectionLost, PublishRefusal,
};
use crate::line::pipeline::publish::inflight::Subject;
use crate::line::pipeline::publish::outbox::{Objection, RecordOutcome};

impl Task {
    /// Handles an event on the connection, and all that came with it; returns `Some` if it is over.
    pub(crate) fn handle_all(
        &mut self,
        first: ConnectionEvent,
        connection: &mut Connection,
    ) -> Option<Ended> {
        let mut next = Some(first);
        while let Some(event) = next {
            let ended = self.handle(event, connection);
            if ended.is_some() {
                return ended;
            }
            next = connection.at_hand();
        }
        None
    }

    fn handle(&mut self, event: ConnectionEvent, connection: &Connection) -> Option<Ended> {
        match event {
            ConnectionEvent::Sent(packet) => self.in_flight.sent(packet),
            ConnectionEvent::Acknowledged { packet, refused } => {
                if !std::mem::replace(&mut self.is_of_use, true) {
                    self.parts.metrics.mqtt_connected(true);
                }
                match (self.in_flight.acknowledged(packet), refused) {
                    (about, Some(refusal)) => self.note_refusal(about, refusal, connection),
                    (Subject::Record(position), None) => {
                        let progress = self.outbox.taken(position, Instant::now());
                        if self.note_progress(progress) {
                            self.publish_headline(connection);
                        }
                    }
                    (Subject::Answer(topic), None) => self.answers.taken(&topic),
                    (Subject::Verdict(_) | Subject::Nothing, None) => {}
                }
            }
            ConnectionEvent::Subscribed { refused } => self.note_subscriptions(refused),
            ConnectionEvent::Received(message) => self.parts.inbound.take(message),
            ConnectionEvent::Lost(cause) => return Some(Ended::Lost(cause)),
            ConnectionEvent::Connected(_) | ConnectionEvent::Disconnected => {}
        }
        None
    }

    /// Reports refused subscriptions to the daemon's readiness, so that all reports agree.
    fn note_subscriptions(&mut self, refused: RefusedTopics) {
        self.subscribed_by = None;
        if refused.is_empty() && !std::mem::replace(&mut self.subscriptions_said, true) {
            // There are brokers that accept what they will never serve.
            info!(
                topics = self.topics.join(", "),
                "Subscriptions accepted; only a message that arrives shows that the broker's \
                 access rules let it through"
            );
        }
        if refused == self.subscriptions_refused {
            return;
        }
        if !refused.is_empty() {
            let refused = refused.to_string();
            error!(refused, "The broker refuses subscriptions to this client");
        }
        self.parts
            .events
            .send(DaemonEvent::Subscriptions(refused.clone()));
        self.subscriptions_refused = refused;
    }

    fn note_refusal(&mut self, about: Subject, refusal: PublishRefusal, connection: &Connection) {
        let reason = refusal.reason;
        match about {
            Subject::Record(position) => {
                let objection = if refusal.about_payload {
                    Objection::Content
                } else {
                    Objection::Client
                };
                self.say_refusal(reason);
                let now = Instant::now();
                let progress = self
                    .outbox
                    .refused(position, objection, reason.to_owned(), now);
                self.note_set_aside(progress, reason);
                self.publish_headline(connection);
            }
            Subject::Verdict(verdict) => {
                self.say_refusal(reason);
                self.count_undelivered(verdict);
            }
            Subject::Nothing => self.say_refusal(reason),
            // The verdict has been sent to everyone else.
            Subject::Answer(topic) => {
                if let Some(suppressed) = self.answer_refusals.permit() {
                    warn!(
                        topic,
                        reason, suppressed, "The broker refuses an answer on a response topic"
                    );
                }
            }
        }
    }

    fn say_refusal(&mut self, reason: &str) {
        if let Some(suppressed) = self.refusals.permit() {
            error!(
                reason,
                suppressed, "The broker refuses to publish for this client"
            );
        }
    }

    /// Reports how many records the broker has acknowledged; returns whether it is more than
    /// before.
    pub(crate) fn note_progress(&mut self, progress: RecordOutcome) -> bool {
        if let Some(through) = progress.through {
            self.parts.backlog.taken(through);
        }
        progress.through.is_some()
    }

    /// Logs which record was abandoned, if any.
    pub(crate) fn note_set_aside(&mut self, progress: RecordOutcome, reason: &str) {
        if let Some(entry) = &progress.set_aside {
            self.parts
                .metrics
                .records_set_aside(self.outbox.count_set_aside());
            if let Some(suppressed) = self.set_aside.permit() {
                let about = Stored::from_json(&entry.payload).ok();
                let about = about.as_ref().map(Stored::part);
                error!(
                    camera = about.map(|it| it.camera),
                    seq = about.map(|it| it.seq),
                    part = about.and_then(|it| it.part_id),
                    size = entry.payload.len(),
                    reason,
                    suppressed,
                    "Record set aside: the broker does not take it"
                );
            }
        }
        self.note_progress(progress);
    }

    /// Returns why the connection must be cut, if so: an acknowledgement is overdue, and what is
    /// queued behind it grows old. An acknowledgement that is late because it lies behind unread
    /// messages is not the broker's fault: it is waited for once more as long, and no longer.
    pub(crate) fn overdue(&self, connection: &Connection) -> Option<Ended> {
        let due = self.due_at()?;
        let now = Instant::now();
        let limit = due + self.parts.settings.stall_timeout;
        let is_missing = connection.has_read_all_since(due) || limit <= now;
        (due <= now && is_missing).then_some(Ended::Lost(ConnectionLost::Stalled))
    }

    /// Attributes the end of a connection to what the broker should have acknowledged next. A
    /// record is held back before it is sent again, so that verdicts do not depend on it.
    pub(crate) fn blame(&mut self, ended: &Ended) {
        let Ended::Lost(cause) = ended else { return };
        let now = Instant::now();
        match (self.in_flight.oldest().cloned(), cause) {
            (Some(Subject::Record(position)), ConnectionLost::Stalled) => {
                let reason = "it is not acknowledged".to_owned();
                self.outbox
                    .refused(position, Objection::Client, reason, now);
            }
            (Some(Subject::Record(position)), cause) => {
                let reason = format!("the connection ended there: {cause}");
                let progress = (self.outbox).refused(position, Objection::End, reason.clone(), now);
                self.note_set_aside(progress, &reason);
            }
            (Some(Subject::Answer(_)), ConnectionLost::Stalled) => {}
            (Some(Subject::Answer(topic)), cause) => self.blame_answer(&topic, cause, now),
            (Some(Subject::Verdict(_) | Subject::Nothing) | None, _) => {}
        }
    }

    fn blame_answer(&mut self, topic: &str, cause: &ConnectionLost, now: Instant) {
        if self.answers.strike(topic, now) {
            let cause = cause.to_string();
            warn!(
                topic,
                cause, "Answers on a response topic are left out for an hour"
            );
        }
    }
}
