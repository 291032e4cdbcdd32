//! The last stage: publishes to the broker, and keeps track of what could not be delivered.
//!
//! One thread with its own small asynchronous runtime. The record stage pushes into a queue and
//! never waits for the network. A verdict is useful only now, for the part that is in front of the
//! actuator: so what cannot be sent now is not kept and sent later, it is *counted*, by camera and
//! by range of `seq`, and reported in the log and in `state` once there is a connection.
//!
//! The *record* of a verdict is different: it stays in the journal until the broker has
//! acknowledged it, is requested by credit, and is sent in order, behind the messages in real time.
//!
//! Incoming triggers and commands are read by [`incoming`] and passed on at once.
//!
//! Order on every connection: last will (with the connection itself), subscriptions, `state`, then
//! `online`, so that a subscriber that sees `online` can rely on `state`. On a clean end: verdicts
//! in flight, `state`, `stopped`, DISCONNECT, which makes the broker discard the will.

use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Instant;

use flawd_core::event::{Event as CloudEvent, ModelData, Phase, VerdictData};
use flawd_journal::Entry;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

use super::channels::threads::Threads;
use super::event::EventSender;
use crate::line::camera::{CameraIndex, PerCamera};
use crate::line::config::MqttSettings;
use crate::line::event_loop;
use crate::line::monitor::Metrics;
use crate::line::monitor::counters::Counters;
use crate::line::monitor::progress::{Progress, Working};
use backlog::Backlog;

mod answers;
pub(crate) mod backlog;
mod connection;
mod incoming;
mod inflight;
mod message;
mod outbox;
mod reconnect;
mod state;
mod task;

pub use super::part::reply::Reply;
pub use connection::ConnectionLost;
pub use incoming::TriggerTarget;

use incoming::Inbound;
use inflight::Undelivered;
use task::Task;

/// Maximum verdicts that may wait for the publisher's thread. It only moves them on, so this is
/// never reached while it runs.
const INBOX: usize = 256;

/// The daemon's status.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonStatus {
    /// The phase of the daemon's life.
    pub phase: Phase,
    /// Why it judges no parts; `None` if it does.
    pub not_ready: Option<String>,
    /// Whether the system's clock is synchronised, if known.
    pub clock_synchronised: Option<bool>,
    /// The status of each camera.
    pub cameras: PerCamera<CameraReport>,
}

/// The status of one camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraReport {
    /// The model that judges its parts, once it is loaded.
    pub model: Option<ModelData>,
    /// Whether inspection is paused by command.
    pub paused: bool,
}

/// What is published about one camera besides its verdicts.
#[derive(Clone, Debug)]
pub struct CameraInfo {
    /// Its name.
    pub name: String,
    /// What its pipeline has done so far.
    pub counters: Counters,
}

/// A verdict that is numbered and recorded, on its way to be published.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The camera.
    pub(crate) camera: CameraIndex,
    pub(crate) event: CloudEvent<VerdictData>,
    /// The picture was taken or, if there is none, was requested.
    pub(crate) time: Instant,
    /// The moment after which the verdict is worthless.
    pub(crate) deadline: Option<Instant>,
    /// Where the requester wants the answer.
    pub(crate) reply: Option<Reply>,
}

/// An answer to a command.
#[derive(Clone, Debug)]
pub struct CommandAnswer {
    /// The public topic under the root, if it is also published there.
    pub topic: Option<&'static str>,
    /// JSON.
    pub payload: Vec<u8>,
    /// Where the requester wants the answer.
    pub reply: Option<Reply>,
}

/// The handle to the publisher; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Publisher {
    verdicts: mpsc::Sender<Box<Recorded>>,
    orders: mpsc::UnboundedSender<Request>,
    undelivered: UndeliveredByCamera,
    progress: Progress,
}

/// The publisher's end of that channel.
pub struct Requests {
    verdicts: mpsc::Receiver<Box<Recorded>>,
    orders: mpsc::UnboundedReceiver<Request>,
    undelivered: UndeliveredByCamera,
}

/// A request to the publisher, besides verdicts. Each is bounded elsewhere: records by the credit
/// that was given, the rest by how often the daemon has something to report.
#[derive(Debug)]
enum Request {
    Records {
        generation: u64,
        entries: Vec<Entry>,
    },
    Report(DaemonStatus),
    Answer(CommandAnswer),
    /// The pipeline makes progress, even if there is no verdict to show for it.
    Beat,
    /// Show that requests are handled, by dropping this.
    Sign(Working),
    /// No more verdicts will come.
    Finish,
}

/// Undelivered verdicts by camera, counted on both sides of the inbox.
#[derive(Clone, Debug)]
struct UndeliveredByCamera(Arc<Mutex<PerCamera<Undelivered>>>);

/// How the first attempt to connect ended: connected, or why not.
pub type FirstAttempt = Result<(), ConnectionLost>;

/// Creates the handle to a publisher that is yet to be started, for this many cameras.
pub fn channel(cameras: usize) -> (Publisher, Requests) {
    let (verdict_sender, verdicts) = mpsc::channel(INBOX);
    let (order_sender, orders) = mpsc::unbounded_channel();
    let undelivered = UndeliveredByCamera::new(cameras);
    let publisher = Publisher {
        verdicts: verdict_sender,
        orders: order_sender,
        undelivered: undelivered.clone(),
        progress: Progress::new("publish"),
    };
    let orders = Requests {
        verdicts,
        orders,
        undelivered,
    };
    (publisher, orders)
}

/// What the publisher is built from.
pub(crate) struct PublisherDeps {
    pub(crate) settings: MqttSettings,
    pub(crate) cameras: PerCamera<CameraInfo>,
    pub(crate) report: DaemonStatus,
    pub(crate) orders: Requests,
    pub(crate) backlog: Backlog,
    pub(crate) triggers: Vec<TriggerTarget>,
    pub(crate) events: EventSender,
    pub(crate) metrics: Metrics,
}

/// Starts the publisher on a thread of `threads`.
///
/// The receiver gets one message, when the first attempt to connect has ended either way.
///
/// # Errors
/// If the system cannot create a thread or an event queue.
pub(crate) fn start(
    threads: &mut Threads,
    plan: PublisherDeps,
) -> io::Result<std_mpsc::Receiver<FirstAttempt>> {
    let runtime = event_loop::new()?;
    let (first_sender, first_attempt) = std_mpsc::channel();
    let inbound = Inbound::new(
        &plan.settings.root,
        plan.triggers,
        plan.events.clone(),
        plan.metrics.clone(),
    );
    let Requests {
        verdicts,
        orders,
        undelivered,
    } = plan.orders;
    let task = Task::new(task::TaskDeps {
        settings: plan.settings,
        cameras: plan.cameras,
        report: plan.report,
        verdicts,
        orders,
        undelivered,
        backlog: plan.backlog,
        inbound,
        events: plan.events,
        first_attempt: first_sender,
        metrics: plan.metrics,
    });
    threads.spawn("publish", move || runtime.block_on(task.run()))?;
    Ok(first_attempt)
}

impl Publisher {
    /// Reports a new status of the daemon.
    pub fn report(&self, report: DaemonStatus) {
        self.order(Request::Report(report));
    }

    /// Answers a command.
    pub fn answer(&self, answer: CommandAnswer) {
        self.order(Request::Answer(answer));
    }

    /// Reports that the pipeline makes progress.
    pub fn beat(&self) {
        self.order(Request::Beat);
    }

    /// Returns how long a sign of life has been pending. Unlike other stages, the publisher does
    /// not handle one item after another, but waits for several things at a time.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Requests a sign of life, unless one is already pending.
    pub fn ask_for_a_sign(&self) {
        if self.progress.busy_for().is_none() {
            self.order(Request::Sign(self.progress.begin()));
        }
    }

    /// Publishes a verdict, or counts it as undelivered; never waits.
    pub(crate) fn verdict(&self, recorded: Recorded) {
        let (camera, seq) = (recorded.camera, recorded.event.data.seq);
        if self.verdicts.try_send(Box::new(recorded)).is_err() {
            self.undelivered.lock()[camera].add(seq);
        }
    }

    /// Hands over records that were requested.
    pub(crate) fn records(&self, generation: u64, entries: Vec<Entry>) {
        self.order(Request::Records {
            generation,
            entries,
        });
    }

    /// Reports that no more verdicts will come.
    pub(crate) fn finish(&self) {
        self.order(Request::Finish);
    }

    fn order(&self, order: Request) {
        // Ignored by a publisher that has finished.
        self.orders.send(order).ok();
    }
}

impl UndeliveredByCamera {
    fn new(cameras: usize) -> Self {
        let none = vec![Undelivered::default(); cameras];
        Self(Arc::new(Mutex::new(none.into())))
    }

    fn lock(&self) -> MutexGuard<'_, PerCamera<Undelivered>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_that_takes_no_order_is_found_and_one_that_has_ended_is_not() {
        let (publisher, mut orders) = channel(1);
        let owes = || publisher.progress().busy_for().is_some();
        assert!(!owes());
        publisher.ask_for_a_sign();
        publisher.ask_for_a_sign();
        assert!(owes());
        assert!(matches!(orders.orders.try_recv(), Ok(Request::Sign(_))));
        assert!(!owes());
        assert!(orders.orders.try_recv().is_err(), "one sign is enough");
        publisher.ask_for_a_sign();
        drop(orders);
        assert!(!owes());
        publisher.ask_for_a_sign();
        assert!(!owes());
    }
}
