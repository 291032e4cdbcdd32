//! What the publisher reports about itself: state, heartbeat, and what it could not deliver.

use std::time::Instant;

use flawd_core::condition::Quantity;
use flawd_core::event::{DriftData, State};
use tracing::warn;

use super::{Task, state};
use crate::line::pipeline::publish::connection::Connection;

/// A change in one of these is published without being requested.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Headline {
    refused: Option<String>,
    failing: Option<String>,
    is_dropping: bool,
    has_set_aside: bool,
    suspended: Option<String>,
    /// By camera: whether there is an alarm, and the quantities that have raised it.
    drift: Vec<(bool, Vec<Quantity>)>,
}

impl Task {
    pub(crate) fn publish_state(&mut self, connection: &Connection) {
        let state = self.state();
        self.headline = Some(Headline::of(&state));
        self.publish_own(connection, self.writer.state(&state));
    }

    /// Publishes the state if something important in it has changed.
    pub(crate) fn publish_headline(&mut self, connection: &Connection) {
        let is_unsaid = (self.parts.undelivered.lock().iter()).any(|camera| camera.is_unsaid());
        if is_unsaid || self.headline != Some(Headline::of(&self.state())) {
            self.say_undelivered();
            self.publish_state(connection);
        }
    }

    /// Publishes at most one heartbeat per interval, and only when the pipeline makes progress.
    pub(crate) fn publish_heartbeat(&mut self, connection: &Connection) {
        let now = Instant::now();
        if now < self.heartbeat_due {
            return;
        }
        self.heartbeat_due = now + self.parts.settings.heartbeat;
        let heartbeat = state::heartbeat(&self.parts.cameras, &self.last, now);
        let message = self.writer.heartbeat(&heartbeat);
        self.publish_own(connection, message);
        self.publish_headline(connection);
    }

    fn state(&self) -> State {
        let mut records = self.parts.backlog.status(self.outbox.reached());
        records.refused = self.outbox.refusal().map(str::to_owned);
        records.set_aside = self.outbox.count_set_aside();
        let evidence = self.parts.backlog.evidence();
        let undelivered = self.parts.undelivered.lock();
        let cameras = &self.parts.cameras;
        let commands_refused = self.parts.inbound.commands_refused();
        state::state(
            &self.parts.report,
            cameras,
            &undelivered,
            commands_refused,
            records,
            evidence,
        )
    }

    /// Logs each gap once, unless there are too many.
    pub(crate) fn say_undelivered(&mut self) {
        let mut undelivered = self.parts.undelivered.lock();
        for (camera, undelivered) in self.parts.cameras.iter().zip(undelivered.iter_mut()) {
            if let Some(gap) = undelivered.take_unreported()
                && let Some(suppressed) = self.gaps.permit()
            {
                warn!(
                    camera = camera.name,
                    count = gap.count,
                    first_seq = gap.first_seq,
                    last_seq = gap.last_seq,
                    total = undelivered.count(),
                    suppressed,
                    "Verdicts not delivered"
                );
            }
        }
    }
}

/// Returns what of a drift alarm is news; the order of the causes is not.
fn of_drift(drift: &DriftData) -> (bool, Vec<Quantity>) {
    let mut quantities: Vec<Quantity> = drift.causes.iter().map(|it| it.quantity).collect();
    quantities.sort();
    (drift.alarm, quantities)
}

impl Headline {
    fn of(state: &State) -> Self {
        let records = state.records.clone().unwrap_or_default();
        Self {
            refused: records.refused,
            failing: records.failing,
            is_dropping: records.dropped > 0,
            has_set_aside: records.set_aside > 0,
            suspended: state.evidence.as_ref().and_then(|it| it.suspended.clone()),
            drift: (state.cameras.values())
                .map(|camera| camera.drift.as_ref().map_or((false, Vec::new()), of_drift))
                .collect(),
        }
    }
}
