//! The last stage: tells the broker, and knows what it could not tell.
//!
//! One thread with a small asynchronous runtime of its own. The pipeline pushes into a queue and
//! never waits for the network. A verdict is worth something only now, for the part that is in
//! front of the actuator: so what cannot be sent now is not kept and sent later, it is *counted*,
//! by camera and by range of `seq`, and said in the log and in `state` once somebody listens.
//!
//! Order on every connection: last will (with the connection itself), `state`, then `online`, so
//! that who sees `online` may trust `state`. On a clean end: verdicts that are on their way,
//! `state`, `stopped`, farewell, which makes the broker forget the will.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc},
};

use flawd_core::event::{ModelData, Phase};
use tokio::{runtime, sync::mpsc};

use super::{
    counters::Counters,
    crew::Crew,
    frame::{Inspection, Sink},
};
use crate::config::MqttSettings;

mod backoff;
mod connection;
mod ledger;
mod message;
mod reply;
mod task;

use ledger::Undelivered;
pub use reply::Reply;
use task::Task;

/// Verdicts that may wait for the publisher's thread. It only moves them on, so this is never
/// reached while it runs.
const INBOX: usize = 256;

/// What the daemon says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it judges no parts; `None` if it does.
    pub not_ready: Option<String>,
}

/// What is published about one camera besides its verdicts.
#[derive(Clone, Debug)]
pub struct CameraInfo {
    /// Its name.
    pub name: String,
    /// What its pipeline has done.
    pub counters: Counters,
}

/// The way to the publisher; clones lead to the same one. It ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Publisher {
    inbox: mpsc::Sender<Order>,
    undelivered: UndeliveredByCamera,
}

/// What the publisher is asked to do.
#[derive(Debug)]
enum Order {
    Verdict(Box<Inspection>),
    Report(Report),
}

/// Undelivered verdicts by camera, counted on both sides of the inbox.
#[derive(Clone, Debug)]
struct UndeliveredByCamera(Arc<Mutex<Vec<Undelivered>>>);

/// How the first attempt to connect ended: connected, or why not.
pub type FirstAttempt = Result<(), String>;

/// Starts the publisher on a thread of `crew`.
///
/// The receiver gets one message, when the first attempt to connect has ended either way.
///
/// # Errors
/// When the system has no thread or no event queue to give.
pub fn start(
    crew: &mut Crew,
    settings: &MqttSettings,
    model: ModelData,
    cameras: Vec<CameraInfo>,
    report: Report,
) -> io::Result<(Publisher, std_mpsc::Receiver<FirstAttempt>)> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (inbox, orders) = mpsc::channel(INBOX);
    let (first_sender, first_attempt) = std_mpsc::channel();
    let undelivered = UndeliveredByCamera::new(cameras.len());
    let task = Task::new(
        settings.clone(),
        model,
        cameras,
        report,
        orders,
        undelivered.clone(),
        first_sender,
    );
    crew.spawn("publish", move || runtime.block_on(task.run()))?;
    Ok((Publisher { inbox, undelivered }, first_attempt))
}

impl Publisher {
    /// Says something new about the daemon.
    pub fn report(&self, report: Report) {
        // Only a thread other than the runtime's calls this, so it may wait for a place.
        self.inbox.blocking_send(Order::Report(report)).ok();
    }
}

impl Sink for Publisher {
    fn accept(&mut self, inspection: Inspection) {
        let (camera, seq) = (inspection.camera, inspection.verdict.seq);
        let order = Order::Verdict(Box::new(inspection));
        if self.inbox.try_send(order).is_err() {
            self.undelivered.lock()[camera].add(seq);
        }
    }
}

impl UndeliveredByCamera {
    fn new(cameras: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Undelivered::default(); cameras])))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Undelivered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
