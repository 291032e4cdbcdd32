//! Everything by which the pipeline may wake the daemon, on one screen.

use std::sync::mpsc;

/// What happened; cameras are numbered in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A camera gave its first frame.
    FirstFrame(usize),
    /// A camera gives no frames any more; it is opened again and again.
    CameraLost(usize),
    /// A lost camera gives frames again.
    CameraFound(usize),
    /// A source has given its last frame.
    Exhausted(usize),
    /// A signal asked for the end.
    Stop,
}

/// Where events are sent; clones send to the same daemon.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// Sends an event. A daemon that is past listening does not mind.
    pub fn send(&self, event: Event) {
        self.0.send(event).ok();
    }
}

/// A channel for events.
pub fn channel() -> (EventSender, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    (EventSender(sender), receiver)
}
