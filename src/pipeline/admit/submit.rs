//! The way of a part towards the model: its picture is prepared in a free tensor, and it gets the
//! ticket by which it is known from here on.

use std::time::Instant;

use flawd_core::verdict::Reason;
use tracing::debug;

use super::{Admit, answer::NO_RECIPE};
use crate::pipeline::{
    frame::{Frame, Prepared, Sink, Ticket},
    trigger::Deadline,
};

impl<S: Sink> Admit<S> {
    /// Passes parts on as long as there are free tensors; `false` if nobody takes them.
    pub(super) fn submit(&mut self) -> bool {
        while let Some(part) = self.state.ready.front() {
            let recipe = part
                .pending
                .as_ref()
                .and_then(|it| it.trigger.recipe.as_deref());
            let Some(model) = self.model(recipe) else {
                // Its recipe went with an exchange of models while it waited for a free tensor.
                let part = self.state.ready.pop_front();
                if let Some(pending) = part.and_then(|part| part.pending) {
                    self.undecided(pending, Reason::ModelError, NO_RECIPE);
                }
                continue;
            };
            let Some(tensor) = self.preprocess.tensor(&model) else {
                return true;
            };
            let Some(part) = self.state.ready.pop_front() else {
                return true;
            };
            let begun = Instant::now();
            let input = match part.flaw {
                Some(flaw) => Err(flaw),
                None => self.preprocess.run(&part.frame.image, &model, tensor),
            };
            let Frame {
                part: name,
                image,
                captured,
                at_hand,
            } = part.frame;
            let (trigger, deadline) = match part.pending {
                Some(pending) => (Some(pending.trigger), pending.deadline),
                None => {
                    let budget = self.rules.deadline;
                    let deadline = budget.map(|budget| Deadline::after(captured, budget));
                    (None, deadline)
                }
            };
            let ticket = Ticket {
                camera: self.rules.camera,
                trigger,
                part: name,
                match_offset_ms: part
                    .moment
                    .map(|moment| offset_ms(moment, captured.monotonic)),
                deadline,
                picture: image.ok(),
                geometry: self.preprocess.geometry(&model),
                is_snapshot: std::mem::take(&mut self.state.snapshot_wanted),
                is_standard: self.is_standard(&model),
                captured,
                at_hand,
                begun,
                finished: Instant::now(),
            };
            let prepared = Prepared {
                ticket,
                model,
                input,
            };
            if self.prepared.send(prepared).is_err() {
                debug!(camera = self.rules.name, "Nobody judges parts any more");
                return false;
            }
        }
        true
    }
}

/// From the moment that was asked for until the picture was taken, in milliseconds.
fn offset_ms(moment: Instant, captured: Instant) -> f64 {
    let after = captured.saturating_duration_since(moment).as_secs_f64();
    let before = moment.saturating_duration_since(captured).as_secs_f64();
    (after - before) * 1e3
}
