//! All events by which the pipeline may wake the daemon, on one screen.

use std::sync::mpsc;

use flawd_core::request::Command;

use super::part::reply::Reply;

/// An event; cameras are numbered in the order of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum DaemonEvent {
    /// A camera delivered its first frame.
    FirstFrame(usize),
    /// A camera no longer delivers frames; attempts to reopen it continue.
    CameraLost(usize),
    /// A lost camera delivers frames again.
    CameraFound(usize),
    /// A source has delivered its last frame, and all of them are on their way to the model.
    Exhausted(usize),
    /// A command or request arrived from the broker.
    Command {
        /// The command, or why it cannot be read.
        command: Result<Command, String>,
        /// Where the answer is sent, in addition to the log.
        reply: Option<Reply>,
    },
    /// The broker has answered the subscriptions: which it refuses and why, `None` if none.
    Subscriptions(Option<String>),
    /// The models have been loaded, or tested, or could not be.
    Models,
    /// A signal requested a reload of the configuration.
    Reload,
    /// A signal requested the shutdown.
    Stop,
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
