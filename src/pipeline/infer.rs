//! The third stage: runs the model, decides, and hands the verdict on. One thread for all
//! cameras, because they share one model.
//!
//! Deciding is a comparison and handing on is a push into a queue, so neither gets a thread: a
//! link would cost more than the work.

use std::time::Instant;

use flawd_core::verdict::{Reason, Verdict};
use flawd_onnx::Model;
use tracing::{trace, warn};

use super::{
    counters::Counters,
    decide::{CameraRules, Judge, Outcome},
    frame::{Flaw, Prepared, Sink},
    link::Receiver,
    progress::Progress,
    throttle::Throttle,
};
use crate::failure::with_causes;

/// The stage.
pub(super) struct Infer<S> {
    pub(super) model: Model,
    pub(super) judge: Judge,
    /// In the order of the cameras.
    pub(super) rules: Vec<CameraRules>,
    /// In the order of the cameras.
    pub(super) counters: Vec<Counters>,
    pub(super) prepared: Receiver<Prepared>,
    pub(super) sink: S,
    pub(super) progress: Progress,
    pub(super) flaws: Throttle,
}

impl<S: Sink> Infer<S> {
    /// Judges frames until the last camera's preprocessing has ended.
    pub(super) fn run(mut self) {
        let progress = self.progress.clone();
        while let Some(prepared) = self.prepared.recv() {
            let working = progress.begin();
            self.judge(prepared);
            drop(working);
        }
    }

    fn judge(&mut self, Prepared { ticket, input }: Prepared) {
        let begun = Instant::now();
        let prediction = input.and_then(|tensor| {
            self.model.run(&tensor).map_err(|error| Flaw {
                reason: Reason::ModelError,
                detail: with_causes(&error),
            })
        });
        let outcome = Outcome {
            prediction,
            begun,
            finished: Instant::now(),
        };
        let counters = &self.counters[ticket.camera];
        let rules = &self.rules[ticket.camera];
        let inspection = self.judge.decide(rules, ticket, outcome);
        let verdict = &inspection.verdict;
        match verdict.verdict {
            Verdict::Ok => counters.ok.increment(),
            Verdict::Ng => counters.ng.increment(),
            Verdict::NoDecision(reason) => {
                counters.no_decision.increment();
                if let Some(suppressed) = self.flaws.permit() {
                    warn!(
                        camera = verdict.camera,
                        seq = verdict.seq,
                        part = verdict.part_id,
                        %reason,
                        detail = verdict.detail,
                        suppressed,
                        "No decision"
                    );
                }
            }
        }
        trace!(
            camera = verdict.camera,
            seq = verdict.seq,
            verdict = %verdict.verdict,
            score = verdict.score,
            latency_ms = verdict.latency_ms.total,
            "Verdict"
        );
        self.sink.accept(inspection);
    }
}
