//! All events by which the pipeline may wake the daemon, on one screen.

use std::fmt;
use std::sync::mpsc;

use flawd_core::request::Command;

use super::part::refusal::MessageRefusal;
use super::part::reply::Reply;
use crate::line::camera::CameraIndex;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub enum DaemonEvent {
    /// A camera delivered its first frame.
    FirstFrame(CameraIndex),
    /// A camera no longer delivers frames; attempts to reopen it continue.
    CameraLost(CameraIndex),
    /// A lost camera delivers frames again.
    CameraFound(CameraIndex),
    /// A source has delivered its last frame, and all of them are on their way to the model.
    Exhausted(CameraIndex),
    /// A command or request arrived from the broker.
    Command {
        /// The command, or why it is refused.
        command: Result<Command, MessageRefusal>,
        /// Where the answer is sent, in addition to the log.
        reply: Option<Reply>,
    },
    /// The broker has answered the subscriptions.
    Subscriptions(RefusedTopics),
    /// The models have been loaded, or tested, or could not be.
    Models,
    /// A GPIO line can no longer be used; attempts to open it again continue.
    LineLost(String),
    /// A lost GPIO line can be used again.
    LineFound(String),
    /// A signal requested a reload of the configuration.
    Reload,
    /// A signal requested the shutdown.
    Stop,
}

/// The topics that the broker will send nothing from, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedTopics(pub Vec<(String, &'static str)>);

impl RefusedTopics {
    /// Returns whether the broker accepts all subscriptions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RefusedTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (topic, reason)) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{topic}: {reason}")?;
        }
        Ok(())
    }
}

/// Sends events; clones send to the same daemon.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<DaemonEvent>);

impl EventSender {
    /// Sends an event, which is ignored if the daemon no longer listens.
    pub fn send(&self, event: DaemonEvent) {
        self.0.send(event).ok();
    }
}

/// Creates a channel for events.
pub fn channel() -> (EventSender, mpsc::Receiver<DaemonEvent>) {
    let (sender, receiver) = mpsc::channel();
    (EventSender(sender), receiver)
}
