//! Incoming messages from the broker: triggers to their cameras, commands to the daemon.
//!
//! A message is accepted only if it has just been sent. One that the broker has stored (retained),
//! one that is old by its own time stamp, and one that is delivered a second time are refused and
//! counted: acting on them would judge or reject the wrong part.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use flawd_core::request::{Command, TriggerRequest, brief};
use jiff::Timestamp;
use tracing::{info, warn};

use super::connection::{Incoming, PACKET_LIMIT};
use crate::line::camera::CameraIndex;
use crate::line::monitor::counters::Counters;
use crate::line::monitor::{MessageOutcome, Metrics};
use crate::line::pipeline::admit::inbox::Inbox;
use crate::line::pipeline::channels::log_limit::Throttle;
use crate::line::pipeline::event::{DaemonEvent, EventSender};
use crate::line::pipeline::part::moment::Moment;
use crate::line::pipeline::part::refusal::MessageRefusal;
use crate::line::pipeline::part::trigger::Trigger;

/// A command whose `sent_at` is further than this in the past or in the future is stale.
const LARGEST_AGE: Duration = Duration::from_secs(2);

/// Commands that may come at once, and how long it takes until another one is allowed. They come
/// from operators and their tools, and each costs the daemon more than a trigger.
const COMMANDS: u32 = 20;
const COMMAND_INTERVAL: Duration = Duration::from_millis(500);

/// Part ids that are remembered to recognise a second delivery.
const REMEMBERED: usize = 1024;

/// Where a camera's triggers go.
#[derive(Clone, Debug)]
pub struct TriggerTarget {
    /// The camera.
    pub index: CameraIndex,
    /// The camera's name.
    pub camera: String,
    /// Whether a trigger must state when it was sent.
    pub require_sent_at: bool,
    /// A trigger whose `sent_at` is further than this in the past or in the future is stale.
    pub max_age: Duration,
    /// The camera's stage.
    pub inbox: Inbox,
    /// Where refused triggers are counted.
    pub counters: Counters,
}

/// Reads messages and passes them on.
#[derive(Debug)]
pub(crate) struct Inbound {
    root: String,
    targets: Vec<(TriggerTarget, SeenIds)>,
    events: EventSender,
    metrics: Metrics,
    commands_refused: u64,
    refusals: Throttle,
    unasked: Throttle,
    commands: Throttle,
    allowance: Allowance,
}

/// How many commands are allowed.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When one more was last allowed.
    since: Instant,
}

/// The part ids of the last triggers.
#[derive(Debug, Default)]
struct SeenIds {
    order: VecDeque<String>,
    ids: HashSet<String>,
}

impl Inbound {
    pub(crate) fn new(
        root: &str,
        targets: Vec<TriggerTarget>,
        events: EventSender,
        metrics: Metrics,
    ) -> Self {
        Self {
            root: root.to_owned(),
            targets: targets
                .into_iter()
                .map(|it| (it, SeenIds::default()))
                .collect(),
            events,
            metrics,
            commands_refused: 0,
            refusals: Throttle::new(Duration::from_secs(60)),
            unasked: Throttle::new(Duration::from_secs(60)),
            commands: Throttle::new(Duration::from_secs(60)),
            allowance: Allowance {
                left: COMMANDS,
                since: Instant::now(),
            },
        }
    }

    /// Returns the topics to subscribe to. A wildcard is for commands that do not exist: their
    /// senders are told.
    pub(crate) fn topics(&self, wildcards: bool) -> Vec<String> {
        let triggers = self.targets.iter();
        let verbs: &[&str] = if wildcards { &["+"] } else { &Command::VERBS };
        triggers
            .map(|(target, _)| format!("{}/{}/trigger", self.root, target.camera))
            .chain(verbs.iter().map(|verb| format!("{}/cmd/{verb}", self.root)))
            .collect()
    }

    /// Handles a message that has just arrived.
    pub(crate) fn take(&mut self, message: Incoming) {
        let received = Moment::now();
        let levels = message.topic.strip_prefix(&self.root);
        let Some((what, verb)) = levels
            .and_then(|levels| levels.strip_prefix('/'))
            .and_then(|levels| levels.split_once('/'))
        else {
            return self.say_unasked(&message.topic);
        };
        let refusal = if what == "cmd" {
            let taken = self.take_command(verb, &message);
            self.commands_refused += u64::from(taken.is_err());
            self.metrics.command(outcome(&taken));
            // The daemon reports what is wrong with the others, also to their senders.
            taken.err().filter(|refusal| {
                use MessageRefusal::{Retained, TooManyCommands};
                matches!(refusal, Retained | TooManyCommands)
            })
        } else {
            let index = (self.targets.iter())
                .position(|(it, _)| it.camera == what)
                .filter(|_| verb == "trigger");
            let Some(index) = index else {
                return self.say_unasked(&message.topic);
            };
            let taken = self.take_trigger(index, &message, received);
            let target = &self.targets[index].0;
            let counters = &target.counters;
            match taken {
                Ok(()) => counters.triggers_accepted.increment(),
                Err(_) => counters.triggers_refused.increment(),
            }
            self.metrics.camera(target.index).trigger(outcome(&taken));
            taken.err()
        };
        if let Some(refusal) = refusal
            && let Some(suppressed) = self.refusals.permit()
        {
            let (topic, problem) = (brief(&message.topic), refusal.to_string());
            warn!(topic, problem, suppressed, "Message refused");
        }
    }

    fn say_unasked(&mut self, topic: &str) {
        if let Some(suppressed) = self.unasked.permit() {
            warn!(
                topic = brief(topic),
                suppressed, "A message on a topic that was not subscribed to is ignored"
            );
        }
    }

    fn take_trigger(
        &mut self,
        index: usize,
        message: &Incoming,
        received: Moment,
    ) -> Result<(), MessageRefusal> {
        refuse_retained(message)?;
        refuse_too_long(message)?;
        let request = TriggerRequest::parse(&message.payload)?;
        let (target, recent) = &mut self.targets[index];
        if target.require_sent_at && request.sent_at.is_none() {
            return Err(MessageRefusal::Undated);
        }
        refuse_stale(request.sent_at, target.max_age, received)?;
        if let Some(part_id) = &request.part_id {
            let is_known = !recent.remember(part_id);
            if is_known && message.duplicate {
                return Err(MessageRefusal::Duplicate);
            }
        }
        let trigger = Trigger {
            part_id: request.part_id,
            recipe: request.recipe,
            deadline: request.deadline,
            received,
            reply: message.reply.clone(),
        };
        Ok(target.inbox.trigger(trigger)?)
    }

    /// Handles a command. Even one that is unreadable or old is answered, so that no requester
    /// waits for it.
    fn take_command(&mut self, verb: &str, message: &Incoming) -> Result<(), MessageRefusal> {
        refuse_retained(message)?;
        if !self.allowance.take(Instant::now()) {
            return Err(MessageRefusal::TooManyCommands);
        }
        let read = read_command(verb, message);
        if let Ok(command) = &read
            && let Some(suppressed) = self.commands.permit()
        {
            info!(?command, suppressed, "Command received");
        }
        let taken = read.as_ref().map(|_| ()).map_err(Clone::clone);
        self.events.send(DaemonEvent::Command {
            command: read,
            reply: message.reply.clone(),
        });
        taken
    }

    /// Returns the number of commands that were refused since the daemon started.
    pub(crate) fn commands_refused(&self) -> u64 {
        self.commands_refused
    }
}

/// Returns the outcome to count.
fn outcome(taken: &Result<(), MessageRefusal>) -> MessageOutcome {
    match taken {
        Ok(()) => MessageOutcome::Accepted,
        Err(refusal) => refusal.outcome(),
    }
}

/// Reads a command that has just been sent.
fn read_command(verb: &str, message: &Incoming) -> Result<Command, MessageRefusal> {
    refuse_too_long(message)?;
    let (command, sent_at) = Command::parse(verb, &message.payload)?;
    refuse_stale(sent_at, LARGEST_AGE, Moment::now())?;
    Ok(command)
}

fn refuse_retained(message: &Incoming) -> Result<(), MessageRefusal> {
    if message.retained {
        return Err(MessageRefusal::Retained);
    }
    Ok(())
}

/// Refuses what was skipped unread.
fn refuse_too_long(message: &Incoming) -> Result<(), MessageRefusal> {
    match message.too_long {
        None => Ok(()),
        Some(size) => Err(MessageRefusal::TooLong {
            size,
            limit: PACKET_LIMIT,
        }),
    }
}

/// Refuses what was sent too long ago by the sender's clock, if the sender states when.
fn refuse_stale(
    sent_at: Option<Timestamp>,
    max_age: Duration,
    received: Moment,
) -> Result<(), MessageRefusal> {
    let age = sent_at.map(|sent_at| received.wall.duration_since(sent_at));
    match age {
        Some(age) if age.unsigned_abs() > max_age => Err(MessageRefusal::Stale { age }),
        _ => Ok(()),
    }
}

impl Allowance {
    /// Returns whether one more is allowed.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < COMMANDS && now.duration_since(self.since) >= COMMAND_INTERVAL {
            self.since += COMMAND_INTERVAL;
            self.left += 1;
        }
        if self.left == COMMANDS {
            self.since = now;
        }
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }
}

impl SeenIds {
    /// Remembers an id; returns `false` if it is already remembered.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::pipeline::event;

    #[test]
    fn without_wildcards_every_command_has_its_own_topic() {
        let (events, _) = event::channel();
        let inbound = Inbound::new("flawd/press", Vec::new(), events, Metrics::new(["top"]));
        assert_eq!(inbound.topics(true), ["flawd/press/cmd/+"]);
        let topics = Command::VERBS.map(|verb| format!("flawd/press/cmd/{verb}"));
        assert_eq!(inbound.topics(false), topics);
    }

    #[test]
    fn more_commands_than_can_be_followed_are_refused_and_counted() {
        let (events, received) = event::channel();
        let metrics = Metrics::new(["top"]);
        let mut inbound = Inbound::new("flawd/press", Vec::new(), events, metrics);
        for _ in 0..10_000 {
            inbound.take(Incoming {
                topic: "flawd/press/cmd/reload".to_owned(),
                payload: Vec::new(),
                retained: false,
                duplicate: false,
                too_long: None,
                reply: None,
            });
        }
        // One more every half second, however long that took.
        let followed = received.try_iter().count() as u64;
        assert!(followed >= u64::from(COMMANDS), "{followed}");
        assert_eq!(followed + inbound.commands_refused(), 10_000);
        assert!(inbound.commands_refused() > 0);
    }

    #[test]
    fn an_allowance_that_is_used_up_comes_back_one_by_one() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut allowance = Allowance {
            left: COMMANDS,
            since: begun,
        };
        assert!((0..COMMANDS).all(|_| allowance.take(after(0))));
        assert!(!allowance.take(after(499)));
        assert!(allowance.take(after(500)));
        assert!(!allowance.take(after(999)));
        assert!((0..COMMANDS).all(|_| allowance.take(after(100_000))));
        assert!(!allowance.take(after(100_000)));
    }
}
