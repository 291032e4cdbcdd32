//! Everything by which the pipeline may wake the daemon, on one screen.

use std::sync::mpsc;

use flawd_core::request::Command;

use super::part::reply::Reply;

/// What happened; cameras are numbered in the order of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum DaemonEvent {
    /// A camera gave its first frame.
    FirstFrame(usize),
    /// A camera gives no frames any more; it is opened again and again.
    CameraLost(usize),
    /// A lost camera gives frames again.
    CameraFound(usize),
    /// A source has given its last frame, and all of them are on their way to the model.
    Exhausted(usize),
    /// A command or request arrived from the broker.
    Command {
        /// What, or why that cannot be known.
        command: Result<Command, String>,
        /// Where the answer goes, besides the log.
        reply: Option<Reply>,
    },
    /// The broker has answered the subscriptions: which it refuses and why, `None` if none.
    Subscriptions(Option<String>),
    /// The models have been loaded, or tested, or could not be.
    Models,
    /// A signal asked for another configuration.
    Reload,
    /// A signal asked for the end.
    Stop,
}

/// Where events are sent; clones send to the same daemon.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<DaemonEvent>);

impl EventSender {
    /// Sends an event. A daemon that is past listening does not mind.
    pub fn send(&self, event: DaemonEvent) {
        self.0.send(event).ok();
    }
}

/// A channel for events.
pub fn channel() -> (EventSender, mpsc::Receiver<DaemonEvent>) {
    let (sender, receiver) = mpsc::channel();
    (EventSender(sender), receiver)
}
