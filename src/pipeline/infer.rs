//! The third stage: runs the model that each part carries, decides, and hands the verdict on. One
//! thread for all cameras, because they share one processor or one GPU.
//!
//! Deciding is a comparison, so it gets no thread of its own: a link would cost more than the work.

use std::time::Instant;

use flawd_core::verdict::Reason;

use super::{
    decide::Outcome,
    frame::{Flaw, Prepared, Sink},
    link::Receiver,
    progress::Progress,
};
use crate::failure::with_causes;

/// The stage.
pub(super) struct Infer<S> {
    /// The cameras' names, in order.
    pub(super) cameras: Vec<String>,
    pub(super) prepared: Receiver<Prepared>,
    pub(super) sink: S,
    pub(super) progress: Progress,
}

impl<S: Sink> Infer<S> {
    /// Judges parts until the last camera has none any more.
    pub(super) fn run(mut self) {
        let progress = self.progress.clone();
        while let Some(prepared) = self.prepared.recv() {
            let working = progress.begin();
            self.judge(prepared);
            drop(working);
        }
    }

    fn judge(&mut self, prepared: Prepared) {
        let Prepared {
            ticket,
            model,
            input,
        } = prepared;
        let begun = Instant::now();
        let prediction = input.and_then(|tensor| {
            model.run(&tensor).map_err(|error| Flaw {
                reason: Reason::ModelError,
                detail: with_causes(&error),
            })
        });
        let outcome = Outcome {
            prediction,
            begun,
            finished: Instant::now(),
        };
        let camera = &self.cameras[ticket.camera];
        let mut inspection = model.judge.decide(camera, ticket, outcome);
        inspection.model = Some(model);
        self.sink.accept(inspection);
    }
}
