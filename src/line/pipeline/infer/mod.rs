//! The third stage: runs the model that each part carries, decides, and hands the verdict on. One
//! thread for all cameras, because they share one processor or one GPU.
//!
//! Deciding is a comparison, so it gets no separate thread: a link would cost more than the work.

pub mod decide;

use std::time::Instant;

use flawd_core::verdict::Reason;

use super::channels::link::Receiver;
use super::part::frame::{AdmittedPart, Inspection, NoDecision, Sink};
use crate::line::camera::PerCamera;
use crate::line::monitor::progress::Progress;
use crate::messages::with_causes;
use decide::Inferred;

/// The stage.
pub(crate) struct Infer<S> {
    /// The cameras' names.
    pub(crate) cameras: PerCamera<String>,
    pub(crate) prepared: Receiver<AdmittedPart>,
    pub(crate) sink: S,
    pub(crate) progress: Progress,
}

impl<S: Sink> Infer<S> {
    /// Judges parts until the last camera has no more.
    pub(crate) fn run(mut self) {
        let progress = self.progress.clone();
        while let Some(prepared) = self.prepared.recv() {
            let working = progress.begin();
            self.judge(prepared);
            drop(working);
        }
    }

    fn judge(&mut self, mut prepared: AdmittedPart) {
        let begun = Instant::now();
        let deadline = prepared.ticket.deadline;
        let undecided = match prepared.undecided.take() {
            Some(undecided) => Some(undecided),
            // Its camera normally takes it back first; this one has slipped through in between.
            None if deadline.is_some_and(|it| it.monotonic < begun) => Some(NoDecision::not_free()),
            None => None,
        };
        let prediction = match undecided {
            Some(undecided) => Err(undecided),
            None => (prepared.model.run(&prepared.tensor)).map_err(|error| NoDecision {
                reason: Reason::ModelError,
                detail: with_causes(&error),
            }),
        };
        let outcome = Inferred {
            prediction,
            begun,
            finished: Instant::now(),
        };
        let camera = &self.cameras[prepared.ticket.camera];
        let inspection = prepared.end(camera, outcome);
        self.sink.accept(inspection);
    }
}

impl AdmittedPart {
    /// Ends it with its only verdict. Its tensor is free from here on.
    pub(crate) fn end(self, camera: &str, outcome: Inferred) -> Inspection {
        drop(self.tensor);
        let mut inspection = self.model.judge.decide(camera, self.ticket, outcome);
        inspection.model = Some(self.model);
        inspection
    }
}
