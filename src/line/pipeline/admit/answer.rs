//! Answers every trigger that cannot be served, at once and with its one verdict.

use std::sync::Arc;
use std::time::Instant;

use flawd_core::verdict::Reason;

use super::matcher::{Matched, Wanted};
use super::{Admit, Part, Pending, in_time};
use crate::line::pipeline::infer::decide::Undecided;
use crate::line::pipeline::part::frame::{Frame, Sink};
use crate::line::pipeline::part::model::LoadedModel;
use crate::line::pipeline::part::trigger::{Deadline, Trigger};

pub(crate) const NO_RECIPE: &str = "this camera has no such recipe";

impl<S: Sink> Admit<S> {
    pub(crate) fn take_trigger(&mut self, trigger: Trigger) {
        let rules = &self.rules;
        let budget = trigger.deadline.or(rules.deadline);
        let received = trigger.received;
        let moment = received.monotonic + rules.trigger.delay;
        let answer_by = budget.map(|budget| in_time(received.monotonic, budget));
        let patience = moment + rules.trigger.match_within + rules.frame_timeout;
        let pending = Pending {
            answer_by,
            deadline: budget.map(|budget| Deadline::after(received, budget)),
            trigger,
        };
        if let Some((reason, why)) = self.refusal(pending.trigger.recipe.as_deref()) {
            return self.undecided(pending, reason, why);
        }
        let give_up = answer_by.map_or(patience, |answer_by| answer_by.min(patience));
        let mut answers = Vec::new();
        let wanted = Wanted::new(pending, moment, give_up);
        self.state.matcher.want(wanted, &mut answers);
        self.settle(answers);
    }

    /// Returns why no trigger can be served now, if so.
    fn refusal(&self, recipe: Option<&str>) -> Option<(Reason, &'static str)> {
        let state = &self.state;
        let Some(models) = &state.models else {
            return Some((Reason::EngineBuilding, "the model is not loaded yet"));
        };
        if state.is_closing {
            Some((Reason::Shutdown, "flawd is stopping"))
        } else if state.is_paused {
            Some((Reason::Paused, "inspection is paused"))
        } else if models.select(recipe).is_none() {
            Some((Reason::ModelError, NO_RECIPE))
        } else if state.exhausted.is_some() {
            let why = "the source has given its last picture";
            Some((Reason::CameraLost, why))
        } else if state.is_lost {
            Some((Reason::CameraLost, "the camera gives no frames"))
        } else {
            None
        }
    }

    pub(crate) fn settle(&mut self, answers: Vec<Matched<Pending, Frame>>) {
        for answer in answers {
            match answer {
                Matched::Match {
                    item,
                    frame,
                    moment,
                } => {
                    self.state.ready.push_back(Part {
                        pending: Some(item),
                        moment: Some(moment),
                        frame,
                        undecided: None,
                    });
                    if self.state.ready.len() > self.rules.trigger.queue
                        && let Some(oldest) = self.state.ready.pop_front()
                        && let Some(pending) = oldest.pending
                    {
                        let why = "newer triggers came faster than the model could judge";
                        self.undecided(pending, Reason::Overrun, why);
                    }
                }
                Matched::Unmatched(pending) if pending.is_due(Instant::now()) => {
                    let why = "no frame near enough to the trigger came before the deadline";
                    self.undecided(pending, Reason::Late, why);
                }
                Matched::Unmatched(pending) => {
                    let why = "no frame was taken near enough to the trigger";
                    self.undecided(pending, Reason::TriggerUnmatched, why);
                }
                // Whether the camera is lost shows only when its frame is overdue for too long.
                Matched::NoFrame(pending) if pending.is_due(Instant::now()) => {
                    let why = "the camera has given no frame before the deadline";
                    self.undecided(pending, Reason::Late, why);
                }
                Matched::NoFrame(pending) => {
                    let why = "the camera has given no frame since the trigger";
                    self.undecided(pending, Reason::CameraLost, why);
                }
                Matched::Overrun(pending) => {
                    let why = "newer triggers came faster than the camera gives frames";
                    self.undecided(pending, Reason::Overrun, why);
                }
                Matched::Unused(_) => self.counters.unused.increment(),
            }
        }
    }

    /// Answers every trigger that waits for a frame.
    pub(crate) fn abandon(&mut self, reason: Reason, why: &str) {
        for pending in self.state.matcher.abandon() {
            self.undecided(pending, reason, why);
        }
    }

    pub(crate) fn undecided(&mut self, pending: Pending, reason: Reason, why: &str) {
        let recipe = pending.trigger.recipe.as_deref();
        let model = self.model(recipe);
        let undecided = Undecided {
            camera: self.rules.camera,
            trigger: pending.trigger,
            deadline: pending.deadline,
            reason,
            detail: why.to_owned(),
            model,
            now: Instant::now(),
        };
        self.sink
            .accept(undecided.into_inspection(&self.rules.name));
    }

    pub(crate) fn model(&self, recipe: Option<&str>) -> Option<Arc<LoadedModel>> {
        self.state.models.as_ref()?.select(recipe).cloned()
    }

    pub(crate) fn is_standard(&self, model: &Arc<LoadedModel>) -> bool {
        let models = self.state.models.as_ref();
        models.is_some_and(|models| Arc::ptr_eq(&models.standard, model))
    }
}
