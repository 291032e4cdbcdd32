//! Removes parts: one pulse of an output line for each, when the part is at the actuator.
//!
//! ```text
//! infer, admit ──inspection──► Rejecting ──────────────────────► record ─► …
//!                                  └─moment─► rej-<camera> ─pulse─► line
//! ```
//!
//! It hangs off the verdict and not off the record, so a pulse waits neither for the journal nor
//! for the broker; noting its moment takes a lock that is never held while the line is driven. A
//! part that has passed the actuator is never acted on: another one is there by then.

mod pulser;
mod schedule;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flawd_core::verdict::Verdict;

use super::channels::threads::Threads;
use super::event::EventSender;
use super::part::frame::{Inspection, Sink};
use crate::line::camera::{CameraIndex, PerCamera};
use crate::line::config::{CameraSettings, RejectSettings, UndecidedRule};
use crate::line::gpio::{Opener, OutputLine};
use crate::line::monitor::Metrics;
use crate::line::monitor::progress::Progress;

use pulser::Pulser;
use schedule::{Schedule, SharedSchedule};

/// The outputs of all cameras, which run until the last clone is dropped and every pulse that was
/// noted by then has ended.
#[derive(Clone, Default)]
pub struct Rejects(Arc<PerCamera<Option<RejectOutput>>>);

/// The output of one camera.
struct RejectOutput {
    settings: RejectSettings,
    /// From a trigger until the part is in front of the camera, for triggers without a picture.
    trigger_delay: Duration,
    schedule: SharedSchedule,
}

/// An output line that is open.
pub struct RejectLine {
    /// The line, inactive.
    pub line: Box<dyn OutputLine>,
    /// Opens it again when it was lost.
    pub open: Opener<dyn OutputLine>,
}

/// Starts a thread for each camera that has an output; also returns their progress.
///
/// # Errors
/// If the system cannot create a thread.
pub fn start(
    threads: &mut Threads,
    cameras: &[CameraSettings],
    lines: PerCamera<Option<RejectLine>>,
    metrics: &Metrics,
    events: &EventSender,
) -> io::Result<(Rejects, Vec<Progress>)> {
    let mut rejects = Vec::new();
    let mut stages = Vec::new();
    for (index, (camera, line)) in cameras.iter().zip(lines).enumerate() {
        let (Some(settings), Some(line)) = (&camera.reject, line) else {
            rejects.push(None);
            continue;
        };
        let schedule = SharedSchedule::new(Schedule::new(settings.tolerance));
        let name = format!("rej-{}", camera.name);
        let pulser = Pulser {
            camera: camera.name.clone(),
            index: CameraIndex(index),
            length: settings.length,
            line: Some(line.line),
            open: line.open,
            schedule: schedule.clone(),
            metrics: metrics.clone(),
            events: events.clone(),
            progress: Progress::new(name.clone()),
        };
        stages.push(pulser.progress.clone());
        threads.spawn(name, move || pulser.run())?;
        rejects.push(Some(RejectOutput {
            settings: settings.clone(),
            trigger_delay: camera.trigger.delay,
            schedule,
        }));
    }
    Ok((Rejects(Arc::new(rejects.into())), stages))
}

impl RejectOutput {
    /// Returns when the part is at the actuator, if it is to be removed there.
    fn moment(&self, inspection: &Inspection) -> Option<Instant> {
        let verdict = &inspection.verdict;
        let is_wanted = match verdict.verdict {
            Verdict::Ok => false,
            Verdict::Ng => true,
            Verdict::NoDecision(_) => self.settings.no_decision == UndecidedRule::Reject,
        };
        let start = inspection.time.monotonic;
        // Without a picture it is the time of the trigger.
        let in_front = match verdict.captured_at {
            Some(_) => start,
            None => start + self.trigger_delay,
        };
        is_wanted.then(|| in_front + self.settings.delay)
    }
}

/// Ends the thread once it has nothing left to do.
impl Drop for RejectOutput {
    fn drop(&mut self) {
        self.schedule.close();
    }
}

/// Notes the pulse of each part, and passes its inspection on.
#[derive(Clone)]
pub struct Rejecting<S> {
    rejects: Rejects,
    next: S,
}

impl<S> Rejecting<S> {
    /// Creates a sink in front of `next`.
    pub fn new(rejects: Rejects, next: S) -> Self {
        Self { rejects, next }
    }
}

impl<S: Sink> Sink for Rejecting<S> {
    fn accept(&mut self, inspection: Inspection) {
        if let Some(reject) = &self.rejects.0[inspection.camera]
            && let Some(moment) = reject.moment(&inspection)
        {
            reject.schedule.note(moment);
        }
        self.next.accept(inspection);
    }
}

#[cfg(test)]
mod tests;
