//! What comes in from the broker: triggers to their cameras, commands to the daemon.
//!
//! A message is taken only if somebody has just sent it to us. One that the broker has kept
//! (retained), one that says itself that it is old, and one that is delivered a second time are
//! refused and counted: acting on them would judge or reject the wrong part.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use flawd_core::event::LONGEST_PART_ID;
use jiff::Timestamp;
use serde::Deserialize;
use tracing::{info, warn};

use super::connection::{Incoming, PACKET_LIMIT};
use crate::{
    monitor::{MessageOutcome, Metrics},
    pipeline::{
        counters::Counters,
        event::{Command, Event, EventSender},
        frame::Moment,
        inbox::Inbox,
        throttle::Throttle,
        trigger::Trigger,
    },
};

/// A message that says it was sent longer ago than this, or will be sent in this time, is stale.
const LARGEST_AGE: Duration = Duration::from_secs(2);

/// Part ids that are remembered to recognise a second delivery.
const REMEMBERED: usize = 1024;

/// Why a message is refused that the broker has kept.
const RETAINED: &str = "it is a retained one, so nobody knows how old it is";

/// Where a camera's triggers go.
#[derive(Clone, Debug)]
pub struct TriggerTarget {
    /// The camera's number.
    pub index: usize,
    /// The camera's name.
    pub camera: String,
    /// The camera's stage.
    pub inbox: Inbox,
    /// Where refused triggers are counted.
    pub counters: Counters,
}

/// Reads messages and passes them on.
#[derive(Debug)]
pub(super) struct Intake {
    root: String,
    targets: Vec<(TriggerTarget, Recent)>,
    events: EventSender,
    metrics: Metrics,
    commands_refused: u64,
    refusals: Throttle,
}

/// Why a message is refused, for counting and for people.
type Refusal = (MessageOutcome, String);

/// The part ids of the last triggers.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<String>,
    ids: HashSet<String>,
}

/// The payload of a trigger; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerPayload {
    /// What the line calls the part.
    part_id: Option<String>,
    /// Which of the camera's models is to judge it.
    recipe: Option<String>,
    /// How long from now on the verdict is worth something.
    deadline_ms: Option<f64>,
    /// When it was sent, by the sender's clock.
    sent_at: Option<Timestamp>,
}

impl Intake {
    pub(super) fn new(
        root: &str,
        targets: Vec<TriggerTarget>,
        events: EventSender,
        metrics: Metrics,
    ) -> Self {
        Self {
            root: root.to_owned(),
            targets: targets
                .into_iter()
                .map(|it| (it, Recent::default()))
                .collect(),
            events,
            metrics,
            commands_refused: 0,
            refusals: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// What has to be subscribed to.
    pub(super) fn topics(&self) -> Vec<String> {
        let triggers = self.targets.iter();
        triggers
            .map(|(target, _)| format!("{}/{}/trigger", self.root, target.camera))
            .chain([format!("{}/cmd/+", self.root)])
            .collect()
    }

    /// Takes a message that has just arrived.
    pub(super) fn take(&mut self, message: Incoming) {
        let received = Moment::now();
        let levels = message.topic.strip_prefix(&self.root);
        let Some((what, verb)) = levels
            .and_then(|levels| levels.strip_prefix('/'))
            .and_then(|levels| levels.split_once('/'))
        else {
            return;
        };
        let problem = if what == "cmd" {
            let (outcome, problem) = outcome(self.take_command(verb, &message));
            self.commands_refused += u64::from(problem.is_some());
            self.metrics.command(outcome);
            // The daemon says what is wrong with the others, and to their senders too.
            problem.filter(|_| outcome == MessageOutcome::Retained)
        } else {
            let Some(index) = (self.targets.iter()).position(|(it, _)| it.camera == what) else {
                return;
            };
            let (outcome, problem) = outcome(self.take_trigger(index, &message, received));
            let target = &self.targets[index].0;
            if problem.is_some() {
                target.counters.triggers_refused.increment();
            }
            self.metrics.camera(target.index).trigger(outcome);
            problem
        };
        if let Some(problem) = problem
            && let Some(suppressed) = self.refusals.permit()
        {
            warn!(
                topic = message.topic,
                problem, suppressed, "Message refused"
            );
        }
    }

    fn take_trigger(
        &mut self,
        index: usize,
        message: &Incoming,
        received: Moment,
    ) -> Result<(), Refusal> {
        refuse_retained(message)?;
        refuse_too_long(message)?;
        let invalid = |problem| (MessageOutcome::Invalid, problem);
        let payload: TriggerPayload = if message.payload.is_empty() {
            TriggerPayload::default()
        } else {
            serde_json::from_slice(&message.payload).map_err(|error| {
                let wanted = "the payload has to be a JSON object as in docs/mqtt.md";
                invalid(format!("{wanted}: {error}"))
            })?
        };
        let length = payload.part_id.as_ref().map(|it| it.chars().count());
        if let Some(length) = length.filter(|length| *length > LONGEST_PART_ID) {
            let limit = format!("at most {LONGEST_PART_ID} characters are allowed");
            return Err(invalid(format!(
                "`part_id` has {length} characters; {limit}"
            )));
        }
        refuse_stale(payload.sent_at, received)?;
        let deadline = match payload.deadline_ms {
            None => None,
            Some(ms) => Some(
                Duration::try_from_secs_f64(ms / 1e3)
                    .ok()
                    .filter(|deadline| !deadline.is_zero() && deadline.as_secs() < 3600)
                    .ok_or_else(|| invalid(format!("`deadline_ms` cannot be {ms}")))?,
            ),
        };
        let (target, recent) = &mut self.targets[index];
        if let Some(part_id) = &payload.part_id {
            let is_known = !recent.remember(part_id);
            if is_known && message.duplicate {
                let problem = "it has been delivered before".to_owned();
                return Err((MessageOutcome::Duplicate, problem));
            }
        }
        target.inbox.trigger(Trigger {
            part_id: payload.part_id,
            recipe: payload.recipe,
            deadline,
            received,
            reply: message.reply.clone(),
        });
        Ok(())
    }

    /// What is refused and not retained is answered all the same, so that nobody waits for it.
    fn take_command(&self, verb: &str, message: &Incoming) -> Result<(), Refusal> {
        refuse_retained(message)?;
        let read = refuse_too_long(message)
            .and_then(|()| {
                Command::parse(verb, &message.payload)
                    .map_err(|problem| (MessageOutcome::Invalid, problem))
            })
            .and_then(|(command, sent_at)| {
                refuse_stale(sent_at, Moment::now())?;
                Ok(command)
            });
        if let Ok(command) = &read {
            info!(?command, "Command received");
        }
        let taken = read.as_ref().map(|_| ()).map_err(Clone::clone);
        self.events.send(Event::Command {
            command: read.map_err(|(_, problem)| problem),
            reply: message.reply.clone(),
        });
        taken
    }

    /// Commands that were refused since the daemon started.
    pub(super) fn commands_refused(&self) -> u64 {
        self.commands_refused
    }
}

fn outcome(taken: Result<(), Refusal>) -> (MessageOutcome, Option<String>) {
    match taken {
        Ok(()) => (MessageOutcome::Accepted, None),
        Err((outcome, problem)) => (outcome, Some(problem)),
    }
}

fn refuse_retained(message: &Incoming) -> Result<(), Refusal> {
    if message.retained {
        return Err((MessageOutcome::Retained, RETAINED.to_owned()));
    }
    Ok(())
}

/// Refuses what was skipped unread.
fn refuse_too_long(message: &Incoming) -> Result<(), Refusal> {
    match message.too_long {
        None => Ok(()),
        Some(size) => {
            let problem = format!("it has {size} bytes; it may have {PACKET_LIMIT}, all counted");
            Err((MessageOutcome::Invalid, problem))
        }
    }
}

/// Refuses what was sent too long ago, by the sender's clock, where the sender says when.
fn refuse_stale(sent_at: Option<Timestamp>, received: Moment) -> Result<(), Refusal> {
    let age = sent_at.map(|sent_at| received.wall.duration_since(sent_at));
    match age {
        Some(age) if age.unsigned_abs() > LARGEST_AGE => {
            let age = age.as_secs_f64();
            let problem = format!("by its `sent_at` it is {age:.1} s old; are both clocks right?");
            Err((MessageOutcome::Stale, problem))
        }
        _ => Ok(()),
    }
}

impl Recent {
    /// Remembers an id; `false` if it is remembered already.
    fn remember(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}
