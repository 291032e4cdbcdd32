//! Passes a part on to the model: its picture is prepared in a free tensor, and it gets the ticket
//! that identifies it from here on. Parts that the model has not started at their deadline are
//! taken back and answered.

use std::sync::Arc;
use std::time::Instant;

use flawd_core::verdict::Reason;

use super::answer::NO_RECIPE;
use super::{Admit, Part, in_time};
use crate::line::pipeline::channels::link::Closed;
use crate::line::pipeline::channels::pool::Pooled;
use crate::line::pipeline::infer::decide::Inferred;
use crate::line::pipeline::part::frame::{
    AdmittedPart, Frame, NoDecision, Pixels, Sink, Tensor, Ticket,
};
use crate::line::pipeline::part::model::LoadedModel;
use crate::line::pipeline::part::trigger::Deadline;

impl<S: Sink> Admit<S> {
    /// Passes parts on as long as there are free tensors.
    pub(crate) fn submit(&mut self) {
        while let Some(part) = self.state.ready.front() {
            let recipe = part
                .pending
                .as_ref()
                .and_then(|it| it.trigger.recipe.as_deref());
            let Some(model) = self.model(recipe) else {
                // Its recipe was removed by an exchange of models while it waited for a free
                // tensor.
                let part = self.state.ready.pop_front();
                if let Some(pending) = part.and_then(|part| part.pending) {
                    self.undecided(pending, Reason::ModelError, NO_RECIPE);
                }
                continue;
            };
            let Some(tensor) = self.preprocess.tensor() else {
                return;
            };
            let Some(part) = self.state.ready.pop_front() else {
                return;
            };
            self.pass_on(part, model, tensor);
        }
    }

    /// Prepares a part's picture in `tensor` and passes both on.
    fn pass_on(&mut self, part: Part, model: Arc<LoadedModel>, mut tensor: Pooled<Tensor>) {
        let begun = Instant::now();
        let Frame {
            part: name,
            image,
            captured,
            at_hand,
        } = part.frame;
        let at_depth = |pixels: Pixels| Ok(pixels.at(model.depth)?);
        let picture = image.and_then(at_depth);
        let mut measured = None;
        let undecided = match part.undecided {
            Some(undecided) => Some(undecided),
            None => (self.preprocess)
                .run(name.as_ref(), &picture, &model, &mut tensor, &mut measured)
                .err(),
        };
        let (trigger, deadline, answer_by) = match part.pending {
            Some(pending) => (Some(pending.trigger), pending.deadline, pending.answer_by),
            None => {
                let budget = self.rules.deadline;
                let deadline = budget.map(|budget| Deadline::after(captured, budget));
                let answer_by = budget.map(|budget| in_time(captured.monotonic, budget));
                (None, deadline, answer_by)
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
            answer_by,
            picture: picture.ok(),
            geometry: self.preprocess.geometry(&model),
            is_snapshot: std::mem::take(&mut self.state.snapshot_wanted),
            is_standard: self.is_standard(&model),
            measured,
            captured,
            at_hand,
            begun,
            finished: Instant::now(),
        };
        let prepared = AdmittedPart {
            ticket,
            model,
            tensor,
            undecided,
        };
        if let Err(Closed(part)) = self.prepared.send(prepared) {
            // Inference ends after this stage, so this cannot happen, but the part must get a
            // verdict.
            let why = "parts are no longer judged".to_owned();
            self.end(part, Reason::Shutdown, why);
        }
    }

    /// Answers the parts that wait for the model when their time has come.
    pub(crate) fn take_back(&mut self, now: Instant) {
        let camera = self.rules.camera;
        let is_due = |ticket: &Ticket| {
            ticket.camera == camera && ticket.answer_by.is_some_and(|answer_by| answer_by <= now)
        };
        for mut part in self.prepared.take_back(|part| is_due(&part.ticket)) {
            let NoDecision { reason, detail } =
                part.undecided.take().unwrap_or_else(NoDecision::not_free);
            self.end(part, reason, detail);
        }
    }

    /// Gives the verdict on a part that never reached the model.
    fn end(&mut self, part: AdmittedPart, reason: Reason, detail: String) {
        let now = Instant::now();
        let outcome = Inferred {
            prediction: Err(NoDecision { reason, detail }),
            begun: now,
            finished: now,
        };
        self.sink.accept(part.end(&self.rules.name, outcome));
    }

    /// Returns when the next part must be taken back.
    pub(crate) fn next_taken_back(&self) -> Option<Instant> {
        let camera = self.rules.camera;
        self.prepared.peek(|parts| {
            let own = parts.iter().filter(|part| part.ticket.camera == camera);
            own.filter_map(|part| part.ticket.answer_by).min()
        })
    }
}

/// Returns the milliseconds from the requested moment until the picture was taken.
fn offset_ms(moment: Instant, captured: Instant) -> f64 {
    let after = captured.saturating_duration_since(moment).as_secs_f64();
    let before = moment.saturating_duration_since(captured).as_secs_f64();
    (after - before) * 1e3
}
