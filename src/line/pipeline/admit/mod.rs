//! The second stage: which parts are inspected, and whether the camera has stalled. Matches triggers
//! and frames, prepares the pictures, and immediately answers every part that cannot be judged.
//!
//! This is where "exactly one verdict per part" is ensured: a trigger that comes in here leaves
//! either with a frame, towards the model, or with a reason, towards the record. So the stage never
//! waits for one thing only: not for the camera, which may hang, and not for the model, which may
//! be slow. It sleeps until something arrives or the next request must be answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flawd_core::verdict::Reason;
use tracing::{info, warn};

use super::channels::link::Sender;
use super::event::{DaemonEvent, EventSender};
use super::part::frame::{AdmittedPart, Frame, NoDecision, Sink};
use super::part::model::ModelSet;
use super::part::moment::Moment;
use super::part::trigger::{Deadline, Trigger};
use crate::line::camera::CameraIndex;
use crate::line::config::{TriggerMode, TriggerSettings};
use crate::line::monitor::counters::Counters;
use crate::line::monitor::progress::Progress;
use inbox::{Arrived, Control, Inbox};
use matcher::Matcher;
use preprocess::Preprocess;

mod answer;
pub mod inbox;
pub(crate) mod matcher;
pub(crate) mod preprocess;
mod submit;

/// A part that has no frame by then, or no model to go to, is answered this long before its
/// deadline, so that the answer arrives in time; less if the deadline is shorter.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

/// The rules of the stage.
#[derive(Clone, Debug)]
pub(crate) struct AdmitRules {
    /// The camera.
    pub(crate) camera: CameraIndex,
    /// The camera's name.
    pub(crate) name: String,
    /// How long a verdict is useful, unless the trigger sets another value.
    pub(crate) deadline: Option<Duration>,
    /// What requests verdicts.
    pub(crate) trigger: TriggerSettings,
    /// A camera whose frame is overdue for longer than this is lost.
    pub(crate) frame_timeout: Duration,
    /// Whether frames are taken on request.
    pub(crate) on_demand: bool,
    /// Whether a frame is expected only for a trigger.
    pub(crate) may_be_idle: bool,
}

/// The stage of one camera.
pub(crate) struct Admit<S> {
    pub(crate) rules: AdmitRules,
    pub(crate) inbox: Inbox,
    pub(crate) preprocess: Preprocess,
    pub(crate) prepared: Sender<AdmittedPart>,
    pub(crate) sink: S,
    pub(crate) counters: Counters,
    pub(crate) events: EventSender,
    pub(crate) progress: Progress,
    state: AdmitState,
}

/// The changing state of the stage.
struct AdmitState {
    models: Option<ModelSet>,
    matcher: Matcher<Pending, Frame>,
    /// Parts with a frame, waiting for a free tensor.
    ready: VecDeque<Part>,
    /// When the last frame came, or the last one was requested.
    owed_since: Option<Instant>,
    has_seen_frame: bool,
    is_lost: bool,
    is_paused: bool,
    is_closing: bool,
    /// Whether the source is exhausted, and whether the daemon knows.
    exhausted: Option<bool>,
    snapshot_wanted: bool,
    timer: Option<Instant>,
}

/// A waiting trigger.
#[derive(Debug)]
pub(crate) struct Pending {
    trigger: Trigger,
    deadline: Option<Deadline>,
    /// When it must be answered, for the answer to be in time.
    answer_by: Option<Instant>,
}

/// Returns when a part must be answered whose deadline is `budget` after `start`.
fn in_time(start: Instant, budget: Duration) -> Instant {
    start + budget - ANSWER_MARGIN.min(budget / 5)
}

impl Pending {
    fn is_due(&self, now: Instant) -> bool {
        self.answer_by.is_some_and(|answer_by| answer_by <= now)
    }
}

/// A part with its frame.
#[derive(Debug)]
struct Part {
    pending: Option<Pending>,
    /// The moment that the trigger requested.
    moment: Option<Instant>,
    frame: Frame,
    undecided: Option<NoDecision>,
}

/// What an [`Admit`] is built from, besides its rules.
pub(crate) struct AdmitDeps<S> {
    pub(crate) inbox: Inbox,
    pub(crate) preprocess: Preprocess,
    pub(crate) prepared: Sender<AdmittedPart>,
    pub(crate) sink: S,
    pub(crate) counters: Counters,
    pub(crate) events: EventSender,
}

impl<S: Sink> Admit<S> {
    pub(crate) fn new(rules: AdmitRules, deps: AdmitDeps<S>) -> Self {
        let AdmitDeps {
            inbox,
            preprocess,
            prepared,
            sink,
            counters,
            events,
        } = deps;
        let TriggerSettings {
            match_within,
            queue,
            ..
        } = rules.trigger;
        Self {
            progress: Progress::new(format!("adm-{}", rules.name)),
            state: AdmitState {
                models: None,
                matcher: Matcher::new(match_within, queue),
                ready: VecDeque::new(),
                // A camera that delivers frames on its own owes the first one from now on.
                owed_since: (!rules.on_demand).then(Instant::now),
                has_seen_frame: false,
                is_lost: false,
                is_paused: false,
                is_closing: false,
                exhausted: None,
                snapshot_wanted: false,
                timer: None,
            },
            rules,
            inbox,
            preprocess,
            prepared,
            sink,
            counters,
            events,
        }
    }

    /// Admits parts until the pipeline is to end and every part has been passed on.
    pub(crate) fn run(mut self) {
        let progress = self.progress.clone();
        loop {
            let news = self.inbox.wait(self.wake());
            let working = progress.begin();
            self.take(news);
            self.keep_time(Instant::now());
            self.submit();
            self.ask_for_frame();
            drop(working);
            if self.is_finished() {
                break;
            }
        }
        // What came in between was accepted, and is answered.
        let (triggers, frame) = self.inbox.end();
        for trigger in triggers {
            self.take_trigger(trigger);
        }
        if frame.is_some() {
            self.counters.unused.increment();
        }
    }

    /// Returns whether the pipeline is to end and no part waits here or for the model.
    fn is_finished(&self) -> bool {
        let camera = self.rules.camera;
        self.state.is_closing
            && self.state.ready.is_empty()
            && (self.prepared).peek(|parts| parts.iter().all(|it| it.ticket.camera != camera))
    }

    fn take(&mut self, news: Arrived) {
        for order in news.orders {
            self.execute(order);
        }
        let (past, present) = match news.lost {
            Some(loss) if loss.is_over => (Some(loss), None),
            loss => (None, loss),
        };
        if let Some(loss) = past {
            self.lose_camera(&loss.why);
        }
        if news.frame.is_some() {
            self.note_camera_gives();
        }
        // Before the frame, which displaces another one that may be nearer to them.
        for trigger in news.triggers {
            self.take_trigger(trigger);
        }
        if let Some(frame) = news.frame {
            self.take_frame(frame);
        }
        if let Some(loss) = present {
            self.lose_camera(&loss.why);
        }
        if news.is_exhausted && self.state.exhausted.is_none() {
            self.state.exhausted = Some(false);
            self.abandon(Reason::CameraLost, "the source has given its last picture");
        }
        if news.is_closing && !self.state.is_closing {
            self.state.is_closing = true;
            self.abandon(Reason::Shutdown, "flawd is stopping");
        }
    }

    fn execute(&mut self, control: Control) {
        match control {
            Control::Use(models) => {
                self.preprocess.keep_for(&models);
                if self.state.models.replace(models).is_none() {
                    self.start_timer();
                    // No frames were taken so far.
                    if !self.rules.on_demand {
                        self.state.owed_since = Some(Instant::now());
                    }
                }
            }
            Control::Pause => {
                self.state.is_paused = true;
                self.abandon(Reason::Paused, "inspection was paused");
            }
            Control::Resume => {
                self.state.is_paused = false;
                self.start_timer();
            }
            Control::Snapshot => self.state.snapshot_wanted = true,
        }
    }

    fn start_timer(&mut self) {
        if let TriggerMode::Interval(interval) = self.rules.trigger.mode {
            self.state.timer = Some(Instant::now() + interval);
        }
    }

    fn is_free_run(&self) -> bool {
        matches!(self.rules.trigger.mode, TriggerMode::FreeRun)
    }

    fn note_camera_gives(&mut self) {
        self.state.owed_since = (!self.rules.on_demand).then(Instant::now);
        if std::mem::take(&mut self.state.is_lost) {
            info!(camera = self.rules.name, "Camera found again");
            self.events
                .send(DaemonEvent::CameraFound(self.rules.camera));
        }
        if !std::mem::replace(&mut self.state.has_seen_frame, true) {
            self.events.send(DaemonEvent::FirstFrame(self.rules.camera));
        }
    }

    fn take_frame(&mut self, frame: Frame) {
        if !self.is_free_run() {
            let mut answers = Vec::new();
            let captured = frame.captured.monotonic;
            self.state.matcher.offer(captured, frame, &mut answers);
            return self.settle(answers);
        }
        let is_wanted = self.state.models.is_some() && !self.state.is_paused;
        if !is_wanted || self.state.is_closing {
            return self.counters.unused.increment();
        }
        let age = frame.at_hand.duration_since(frame.captured.monotonic);
        let is_stale = !self.rules.on_demand && age > self.rules.frame_timeout;
        let undecided = is_stale.then(|| NoDecision {
            reason: Reason::FrameStale,
            detail: format!("the picture was {age:.1?} old when the camera gave it"),
        });
        self.state.ready.push_back(Part {
            pending: None,
            moment: None,
            frame,
            undecided,
        });
        if self.state.ready.len() > 1 {
            self.state.ready.pop_front();
            self.counters.overrun.increment();
        }
    }

    /// Answers requests that have waited long enough, and notices when the camera's frame is
    /// overdue.
    fn keep_time(&mut self, now: Instant) {
        if let (Some(due), TriggerMode::Interval(interval)) =
            (self.state.timer, self.rules.trigger.mode)
            && due <= now
        {
            let state = &self.state;
            let is_serving = !state.is_paused && !state.is_closing && state.exhausted.is_none();
            self.state.timer = is_serving.then(|| (due + interval).max(now));
            if is_serving {
                self.take_trigger(Trigger::plain(Moment::now()));
            }
        }
        let mut answers = Vec::new();
        self.state.matcher.expire(now, &mut answers);
        self.settle(answers);
        let mut index = 0;
        while let Some(part) = self.state.ready.get(index) {
            let is_due = (part.pending.as_ref()).is_some_and(|pending| pending.is_due(now));
            if !is_due {
                index += 1;
            } else if let Some(Part {
                pending: Some(pending),
                ..
            }) = self.state.ready.remove(index)
            {
                let NoDecision { reason, detail } = NoDecision::not_free();
                self.undecided(pending, reason, &detail);
            }
        }
        self.take_back(now);
        if self.camera_timeout().is_some_and(|limit| limit <= now) {
            let patience = self.rules.frame_timeout;
            self.lose_camera(&format!("no frame for {patience:?}"));
        }
        if self.state.exhausted == Some(false) && self.state.ready.is_empty() {
            self.state.exhausted = Some(true);
            self.events.send(DaemonEvent::Exhausted(self.rules.camera));
        }
    }

    /// Returns when the camera's frame will be overdue for too long.
    fn camera_timeout(&self) -> Option<Instant> {
        let is_expected = !self.state.is_lost && self.state.exhausted.is_none();
        let mut since = self.state.owed_since.filter(|_| is_expected)?;
        if self.rules.may_be_idle {
            since = since.max(self.state.matcher.next_moment()?);
        }
        Some(since + self.rules.frame_timeout)
    }

    fn lose_camera(&mut self, why: &str) {
        if !std::mem::replace(&mut self.state.is_lost, true) {
            warn!(camera = self.rules.name, error = why, "Camera lost");
            self.events.send(DaemonEvent::CameraLost(self.rules.camera));
        }
        self.abandon(Reason::CameraLost, why);
    }

    /// Requests a frame if one is needed and none is on its way.
    fn ask_for_frame(&mut self) {
        let state = &self.state;
        let is_serving = state.models.is_some() && !state.is_paused && !state.is_closing;
        let is_idle = state.owed_since.is_none() && state.exhausted.is_none();
        if !self.rules.on_demand || !is_serving || !is_idle {
            return;
        }
        let now = Instant::now();
        let is_needed = if self.is_free_run() {
            state.ready.is_empty()
        } else {
            state
                .matcher
                .next_moment()
                .is_some_and(|moment| moment <= now)
        };
        if is_needed {
            self.state.owed_since = Some(now);
            self.inbox.want_frame();
        }
    }

    /// Returns when there will be something to do even if nothing arrives.
    fn wake(&self) -> Option<Instant> {
        let state = &self.state;
        let unasked = self.rules.on_demand && state.owed_since.is_none();
        let moment = state.matcher.next_moment().filter(|_| unasked);
        let deadlines = (state.ready.iter()).filter_map(|part| part.pending.as_ref()?.answer_by);
        let moments = [
            state.matcher.next_expiry(),
            moment,
            state.timer,
            self.camera_timeout(),
            self.next_taken_back(),
        ];
        moments.into_iter().flatten().chain(deadlines).min()
    }
}

#[cfg(test)]
mod tests;
