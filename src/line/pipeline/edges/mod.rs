//! Triggers from an input line: one for each edge, with the time that the kernel gives it, so that
//! each gets the frame of its moment however late this thread is.
//!
//! ```text
//! line ─edges─► trg-<camera> ─triggers─► admit
//! ```

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::admit::inbox::Inbox;
use super::channels::log_limit::Throttle;
use super::channels::shutdown::Shutdown;
use super::event::{DaemonEvent, EventSender};
use super::part::moment::Moment;
use super::part::trigger::{NotTaken, Trigger};
use crate::line::camera::CameraIndex;
use crate::line::gpio::{Edge, InputLine, LineError, Opener};
use crate::line::monitor::counters::Counters;
use crate::line::monitor::{MessageOutcome, Metrics};

/// How long it waits for an edge before it looks whether to end, and whether the chip is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Pause before a lost line is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// The source of one camera's triggers, not yet running.
pub struct EdgeTriggers {
    /// The camera.
    pub index: CameraIndex,
    /// The camera's name.
    pub camera: String,
    /// The line.
    pub line: Box<dyn InputLine>,
    /// Opens it again when it was lost.
    pub open: Opener<dyn InputLine>,
    /// Older edges are not acted on: their parts have passed the camera.
    pub max_age: Duration,
    /// Where triggers go.
    pub inbox: Inbox,
    /// Counts them.
    pub counters: Counters,
    /// Counts them too.
    pub metrics: Metrics,
    /// Is told when the line is lost and found.
    pub events: EventSender,
    /// Ends it.
    pub shutdown: Shutdown,
}

impl EdgeTriggers {
    /// Makes triggers until the shutdown is requested.
    pub fn run(mut self) {
        let mut refusals = Throttle::new(Duration::from_secs(60));
        while !self.shutdown.wait_until(Instant::now()) {
            match self.line.wait(LOOK_INTERVAL) {
                Ok(edges) => {
                    for edge in edges {
                        self.take(edge, &mut refusals);
                    }
                }
                Err(error) => {
                    if !self.find_again(&error) {
                        return;
                    }
                }
            }
        }
    }

    fn take(&self, edge: Edge, refusals: &mut Throttle) {
        if edge.missed > 0 {
            let camera = &self.camera;
            for _ in 0..edge.missed {
                self.refuse(MessageOutcome::Overrun);
            }
            if let Some(suppressed) = refusals.permit() {
                let edges = edge.missed;
                warn!(
                    camera,
                    edges, suppressed, "Edges came faster than they could be read"
                );
            }
        }
        let received = Moment::before_now(edge.at.elapsed());
        let problem = if edge.at.elapsed() > self.max_age {
            self.refuse(MessageOutcome::Stale);
            "the edge was read later than trigger.max_age".to_owned()
        } else {
            match self.inbox.trigger(Trigger::plain(received)) {
                Ok(()) => {
                    self.counters.triggers_accepted.increment();
                    let metrics = self.metrics.camera(self.index);
                    return metrics.trigger(MessageOutcome::Accepted);
                }
                Err(refusal) => {
                    self.refuse(match refusal {
                        NotTaken::Full { .. } => MessageOutcome::Overrun,
                        NotTaken::Ended => MessageOutcome::Shutdown,
                    });
                    refusal.to_string()
                }
            }
        };
        if let Some(suppressed) = refusals.permit() {
            let camera = &self.camera;
            warn!(camera, problem, suppressed, "Trigger refused");
        }
    }

    fn refuse(&self, outcome: MessageOutcome) {
        self.counters.triggers_refused.increment();
        self.metrics.camera(self.index).trigger(outcome);
    }

    /// Opens the line again, however long that takes; returns `false` if the shutdown is requested.
    fn find_again(&mut self, error: &LineError) -> bool {
        let line = format!("trigger input of {}", self.camera);
        error!(line, %error, "GPIO line lost");
        self.events.send(DaemonEvent::LineLost(line.clone()));
        while !self.shutdown.wait_until(Instant::now() + PAUSE) {
            if let Ok(found) = (self.open)() {
                self.line = found;
                info!(line, "GPIO line found again");
                self.events.send(DaemonEvent::LineFound(line));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
