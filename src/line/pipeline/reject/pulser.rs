//! The thread of one output line: makes it active and inactive, and opens it again when it is lost.
//!
//! Pulses that overlap or touch are one: the line stays active until the last of them has ended, so
//! that each part is under an active actuator for the whole length.

use std::time::{Duration, Instant};

use tracing::{error, info};

use super::schedule::{Due, SharedSchedule};
use crate::line::camera::CameraIndex;
use crate::line::gpio::{LineError, Opener, OutputLine};
use crate::line::monitor::progress::Progress;
use crate::line::monitor::{Metrics, RejectOutcome};
use crate::line::pipeline::channels::log_limit::Throttle;
use crate::line::pipeline::event::{DaemonEvent, EventSender};

/// How often a line that has nothing to do is set all the same, which shows whether it is there; and
/// how often a lost one is looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The thread, not yet running.
pub(super) struct Pulser {
    pub(super) camera: String,
    pub(super) index: CameraIndex,
    pub(super) length: Duration,
    /// `None` while it is lost.
    pub(super) line: Option<Box<dyn OutputLine>>,
    pub(super) open: Opener<dyn OutputLine>,
    pub(super) schedule: SharedSchedule,
    pub(super) metrics: Metrics,
    pub(super) events: EventSender,
    pub(super) progress: Progress,
}

impl Pulser {
    /// Makes pulses until no more will come and the last has ended.
    pub(super) fn run(mut self) {
        let mut complaints = Throttle::new(Duration::from_secs(60));
        // When the pulse ends that is being made.
        let mut active_until: Option<Instant> = None;
        let mut look = Instant::now() + LOOK_INTERVAL;
        loop {
            let (due, is_over) = {
                let until = active_until.unwrap_or(look);
                self.schedule.wait(until, active_until.is_some())
            };
            let progress = self.progress.clone();
            let working = progress.begin();
            self.begin(due, &mut active_until, &mut complaints);
            let now = Instant::now();
            if active_until.is_some_and(|end| end <= now) {
                active_until = None;
                self.set(false);
                look = Instant::now() + LOOK_INTERVAL;
            } else if active_until.is_none() && look <= now {
                self.look();
                look = Instant::now() + LOOK_INTERVAL;
            }
            drop(working);
            if is_over && active_until.is_none() {
                // Whatever has happened before, this is the state at the end.
                self.set(false);
                return;
            }
        }
    }

    /// Begins what is due, or makes the pulse longer that is being made.
    fn begin(&mut self, due: Due, active_until: &mut Option<Instant>, complaints: &mut Throttle) {
        let mut failed = 0;
        for _ in 0..due.pulses {
            let is_active = active_until.is_some();
            if is_active || self.set(true) {
                *active_until = Some(Instant::now() + self.length);
                let outcome = if is_active {
                    RejectOutcome::Merged
                } else {
                    RejectOutcome::Pulsed
                };
                self.count(outcome, 1);
            } else {
                failed += 1;
            }
        }
        for (outcome, parts) in [
            (RejectOutcome::Failed, failed),
            (RejectOutcome::Late, due.late),
            (RejectOutcome::Overrun, due.overrun),
        ] {
            self.count(outcome, parts);
            if parts > 0
                && let Some(suppressed) = complaints.permit()
            {
                let (camera, why) = (&self.camera, outcome.as_str());
                error!(camera, parts, why, suppressed, "Parts not rejected");
            }
        }
    }

    fn count(&self, outcome: RejectOutcome, parts: u64) {
        self.metrics.camera(self.index).reject(outcome, parts);
    }

    /// Makes the line active or inactive; returns whether that was possible.
    fn set(&mut self, active: bool) -> bool {
        let Some(line) = &mut self.line else {
            return false;
        };
        match line.set(active) {
            Ok(()) => true,
            Err(error) => {
                self.lose(&error);
                false
            }
        }
    }

    fn lose(&mut self, error: &LineError) {
        // The kernel takes back what is left of it.
        self.line = None;
        let line = self.line_name();
        error!(line, %error, "GPIO line lost");
        self.events.send(DaemonEvent::LineLost(line));
    }

    /// Looks whether the line is there, and opens it if it was lost.
    fn look(&mut self) {
        if self.line.is_some() {
            self.set(false);
            return;
        }
        if let Ok(line) = (self.open)() {
            self.line = Some(line);
            let line = self.line_name();
            info!(line, "GPIO line found again");
            self.events.send(DaemonEvent::LineFound(line));
        }
    }

    fn line_name(&self) -> String {
        format!("reject output of {}", self.camera)
    }
}
