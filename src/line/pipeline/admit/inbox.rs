//! Where all that concerns one camera arrives: frames, triggers, camera losses, control messages.
//!
//! One lock and one place to wait, because the stage behind it has to react to whichever comes
//! first, and must never wait for the camera alone. Frames have one slot, in which the newest wins;
//! everything else is kept in order. Triggers are bounded, and none is accepted that would get no
//! verdict.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::line::config::LONGEST_QUEUE;
use crate::line::pipeline::part::frame::Frame;
use crate::line::pipeline::part::model::ModelSet;
use crate::line::pipeline::part::trigger::{NotTaken, Trigger};

/// Maximum triggers in the inbox. The stage takes all of them each time it wakes, so they
/// accumulate only if it is held up by a disk that is slower than the triggers. At some 10 KiB for
/// the longest ones that is 10 MiB per camera.
const TRIGGERS: usize = LONGEST_QUEUE;

/// The inbox of one camera; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    shared: Arc<InboxShared>,
}

/// What the daemon may send to a camera's stage.
#[derive(Debug)]
pub enum Control {
    /// Judge by these models from the next part on.
    Use(ModelSet),
    /// Take no parts until further notice.
    Pause,
    /// Resume.
    Resume,
    /// Keep the next picture as evidence, whatever its verdict.
    Snapshot,
}

/// What has arrived since the last call.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) frame: Option<Frame>,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) orders: Vec<Control>,
    /// The camera delivers no frames, and may do so again.
    pub(crate) lost: Option<CameraOutage>,
    /// The source has delivered its last frame, which has been seen here.
    pub(crate) is_exhausted: bool,
    /// The pipeline is to end.
    pub(crate) is_closing: bool,
}

/// A period without a camera.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CameraOutage {
    /// Why it delivered no frames.
    pub(crate) why: String,
    /// The frame that comes with this report was taken after the outage.
    pub(crate) is_over: bool,
}

#[derive(Debug, Default)]
struct InboxShared {
    state: Mutex<InboxState>,
    /// For the stage: something has arrived.
    arrived: Condvar,
    /// For capture: a frame is wanted, or the pipeline is ending.
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct InboxState {
    news: Arrived,
    /// Something that the stage depends on has changed elsewhere.
    is_nudged: bool,
    /// The stage has ended.
    has_ended: bool,
    is_frame_wanted: bool,
}

impl Inbox {
    /// Creates an empty inbox.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.shared.state.lock()
    }

    fn change(&self, change: impl FnOnce(&mut InboxState)) {
        change(&mut self.lock());
        self.shared.arrived.notify_one();
    }

    /// Accepts a trigger, which gets exactly one verdict from here on: those beyond the stage's
    /// queue are refused with their own verdict.
    ///
    /// # Errors
    /// [`NotTaken`]: it gets no verdict.
    pub fn trigger(&self, trigger: Trigger) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(NotTaken::Ended);
        }
        let waiting = state.news.triggers.len();
        if waiting >= TRIGGERS {
            return Err(NotTaken::Full { waiting });
        }
        state.news.triggers.push(trigger);
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Sends a control message from the daemon.
    pub fn order(&self, order: Control) {
        self.change(|state| state.news.orders.push(order));
    }

    /// Ends the pipeline: no more frames are wanted.
    pub fn close(&self) {
        self.change(|state| {
            state.news.is_closing = true;
            state.is_nudged = true;
        });
        self.shared.wanted.notify_all();
    }

    /// Puts in a frame; returns the one that it displaces.
    ///
    /// # Errors
    /// The frame, if the stage has ended.
    pub(crate) fn frame(&self, frame: Frame) -> Result<Option<Frame>, Frame> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(frame);
        }
        let displaced = state.news.frame.replace(frame);
        if let Some(loss) = &mut state.news.lost {
            loss.is_over = true;
        }
        drop(state);
        self.shared.arrived.notify_one();
        Ok(displaced)
    }

    /// Reports that the camera delivers no frames; the next frame ends the outage.
    pub(crate) fn camera_lost(&self, why: String) {
        self.change(|state| {
            state.news.lost = Some(CameraOutage {
                why,
                is_over: false,
            });
        });
    }

    /// Reports that the source has delivered its last frame.
    pub(crate) fn exhausted(&self) {
        self.change(|state| {
            state.news.is_exhausted = true;
            state.is_nudged = true;
        });
    }

    /// Reports that something the stage waits for may have become possible.
    pub(crate) fn nudge(&self) {
        self.change(|state| state.is_nudged = true);
    }

    /// Requests one frame from capture, if it delivers frames only on demand.
    pub(crate) fn want_frame(&self) {
        self.lock().is_frame_wanted = true;
        self.shared.wanted.notify_all();
    }

    /// Waits until a frame is wanted; returns `false` once the pipeline is to end.
    pub(crate) fn wait_until_wanted(&self) -> bool {
        let mut state = self.lock();
        self.shared.wanted.wait_while(&mut state, |state| {
            !state.is_frame_wanted && !state.news.is_closing
        });
        state.is_frame_wanted = false;
        !state.news.is_closing
    }

    /// Ends the stage: returns the triggers and the frame that arrived since its last call; later
    /// ones are refused.
    pub(crate) fn end(&self) -> (Vec<Trigger>, Option<Frame>) {
        let mut state = self.lock();
        state.has_ended = true;
        (
            std::mem::take(&mut state.news.triggers),
            state.news.frame.take(),
        )
    }

    /// Waits until something arrives, at most until `until`; takes all of it.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Arrived {
        let mut state = self.lock();
        let arrived = &self.shared.arrived;
        let is_idle = |state: &mut InboxState| state.has_nothing_new();
        match until {
            None => arrived.wait_while(&mut state, is_idle),
            Some(until) => {
                arrived.wait_while_until(&mut state, is_idle, until);
            }
        }
        state.is_nudged = false;
        let (is_exhausted, is_closing) = (state.news.is_exhausted, state.news.is_closing);
        let news = std::mem::take(&mut state.news);
        // These two are permanent, but they are reported only once.
        state.news.is_closing = is_closing;
        state.news.is_exhausted = is_exhausted;
        news
    }
}

impl InboxState {
    fn has_nothing_new(&self) -> bool {
        let Arrived {
            frame,
            triggers,
            orders,
            lost,
            ..
        } = &self.news;
        let is_empty = frame.is_none() && triggers.is_empty() && orders.is_empty();
        is_empty && lost.is_none() && !self.is_nudged
    }
}
