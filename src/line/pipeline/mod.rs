//! The data path, and how its stages are wired.
//!
//! ```text
//! cap-<camera>       adm-<camera>                  infer              record           publish
//! capture ──slot───► admit, preprocess ──parts───► infer, decide ───► record ────────► broker
//!    ▲                │       ▲                    (all cameras)    │  │  journal  ◄── taken
//!    └── wanted ──────┤       └─── triggers ◄───────────────────────┼──┼──────────────  │
//!                     └─────────── no decision ────────────────────►┼► ┘
//! trg-<camera>                                                       └─► rej-<camera>
//! edges of an input line ─► admit                                        pulses of an output line
//! ```
//!
//! Each stage is a blocking loop on a named thread, and ends when its input has closed: so a
//! shutdown means "admit nothing more", and every later stage drains in order. Only the broker
//! client is asynchronous, and its runtime stays inside [`publish`].
//!
//! What may be lost, and where it is counted: a frame that a newer one displaces (`overrun`) or
//! that was not requested (`unused`); a verdict in real time that the broker does not accept
//! (`undelivered`); a record that the disk does not accept (`unwritten`) or that is dropped from a
//! full journal (`dropped`). Nothing else.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::Duration;

use flawd_journal::Journal;

use super::camera::{CameraIndex, PerCamera, numbered};
use super::config::{CameraSettings, MqttSettings, Overflow, TriggerMode};
use super::evidence::{EvidenceSink, EvidenceWriter};
use super::monitor::Metrics;

pub mod capture;
pub mod edges;
pub mod event;
pub mod publish;
pub mod record;
pub mod reject;
pub mod shadow;

pub mod admit;
pub mod channels;
pub mod infer;
pub mod part;

use super::monitor::counters::Counters;
use super::monitor::progress::Progress;
use admit::inbox::Inbox;
use admit::preprocess::{Preprocess, TENSORS};
use admit::{Admit, AdmitDeps, AdmitRules};
use capture::{Capture, Source};
use channels::shutdown::Shutdown;
use channels::threads::Threads;
use event::EventSender;
use infer::Infer;
use part::frame::Sink;
use publish::{CameraInfo, DaemonStatus, FirstAttempt, Publisher, TriggerTarget};
use record::{Record, Recorder};
use shadow::{CameraSetup, Shadow};

/// A camera that is open and has not started.
pub struct OpenCamera {
    /// Its name, overflow policy, trigger and deadline.
    pub settings: CameraSettings,
    /// Its frames.
    pub source: Box<dyn Source>,
    /// Where everything that concerns it arrives.
    pub inbox: Inbox,
    /// Its counters.
    pub counters: Counters,
}

impl OpenCamera {
    /// Creates a camera whose frames come from `source`.
    pub fn new(settings: CameraSettings, source: Box<dyn Source>) -> Self {
        Self {
            settings,
            source,
            inbox: Inbox::new(),
            counters: Counters::default(),
        }
    }

    /// Returns what is published about it.
    pub fn info(&self) -> CameraInfo {
        CameraInfo {
            name: self.settings.name.clone(),
            counters: self.counters.clone(),
        }
    }

    fn shadow(&self) -> CameraSetup {
        CameraSetup {
            name: self.settings.name.clone(),
            geometry: self.settings.geometry,
        }
    }

    fn trigger_target(&self, index: CameraIndex) -> Option<TriggerTarget> {
        let TriggerMode::Mqtt = self.settings.trigger.mode else {
            return None;
        };
        Some(TriggerTarget {
            index,
            camera: self.settings.name.clone(),
            require_sent_at: self.settings.trigger.require_sent_at,
            max_age: self.settings.trigger.max_age,
            inbox: self.inbox.clone(),
            counters: self.counters.clone(),
        })
    }
}

/// The second half of the pipeline, where verdicts are recorded and published.
pub struct Delivery {
    /// Accepts verdicts.
    pub recorder: Recorder,
    /// Publishes the daemon's messages.
    pub publisher: Publisher,
    /// Scores parts and decides nothing; it has no models yet.
    pub shadow: Shadow,
    /// Receives one message, when the first attempt to connect has ended either way.
    pub first_attempt: mpsc::Receiver<FirstAttempt>,
    /// The stages whose progress determines health.
    pub stages: Vec<Progress>,
}

/// What the second half is built from, besides the cameras.
pub struct DeliveryPlan {
    /// The broker.
    pub mqtt: MqttSettings,
    /// Where verdicts are recorded.
    pub journal: Journal,
    /// Where pictures are kept, if any.
    pub evidence: Option<(EvidenceSink, EvidenceWriter)>,
    /// The initial status of the daemon.
    pub report: DaemonStatus,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// Starts the record stage with its observers, and the publisher.
///
/// # Errors
/// If the system cannot create a thread or an event queue.
pub fn start_delivery(
    threads: &mut Threads,
    cameras: &PerCamera<OpenCamera>,
    plan: DeliveryPlan,
    events: &EventSender,
) -> io::Result<Delivery> {
    let DeliveryPlan {
        mqtt,
        journal,
        evidence,
        report,
        metrics,
    } = plan;
    let (evidence, writer) = evidence.unzip();
    if let Some(writer) = writer {
        threads.spawn("evidence", move || writer.run())?;
    }
    let (publisher, orders) = publish::channel(cameras.len());
    let parts = Record::prepare(record::RecordDeps {
        root: mqtt.root.clone(),
        cameras: (cameras.iter())
            .map(|camera| (camera.shadow(), camera.counters.clone()))
            .collect(),
        journal,
        evidence,
        publisher: publisher.clone(),
        metrics: metrics.clone(),
    })?;
    let stages = vec![parts.record.progress.clone(), publisher.progress().clone()];
    let record = parts.record;
    threads.spawn("record", move || record.run())?;
    let first_attempt = publish::start(
        threads,
        publish::PublisherDeps {
            settings: mqtt,
            cameras: cameras.iter().map(OpenCamera::info).collect(),
            report,
            orders,
            backlog: parts.backlog,
            triggers: numbered(cameras.iter())
                .filter_map(|(index, camera)| camera.trigger_target(index))
                .collect(),
            events: events.clone(),
            metrics,
        },
    )?;
    Ok(Delivery {
        recorder: parts.recorder,
        publisher,
        shadow: parts.shadow,
        first_attempt,
        stages,
    })
}

/// The first half of the pipeline, running.
pub struct Line {
    /// Where everything that concerns a camera arrives.
    pub inboxes: PerCamera<Inbox>,
    /// The stages whose progress determines health.
    pub stages: Vec<Progress>,
    shutdown: Shutdown,
}

impl Line {
    /// Tells the stages to admit nothing more and to pass on what they have.
    pub fn stop(&self) {
        self.shutdown.request();
        for inbox in self.inboxes.iter() {
            inbox.close();
        }
    }
}

/// Starts capture, admission and inference, the last stage first. Nothing is judged before
/// [`Control::Use`](admit::inbox::Control::Use) has set a model.
///
/// # Errors
/// If the system cannot create a thread.
pub fn start_line<S: Sink + 'static>(
    threads: &mut Threads,
    cameras: PerCamera<OpenCamera>,
    sink: S,
    events: &EventSender,
) -> io::Result<Line> {
    let shutdown = Shutdown::new();
    // Each part in it holds a tensor, so it is never full, and no camera waits for the model.
    let capacity = NonZeroUsize::new(TENSORS * cameras.len()).unwrap_or(NonZeroUsize::MIN);
    let (prepared_sender, prepared) = channels::link::link(capacity, Overflow::Block);
    let infer = Infer {
        cameras: cameras.iter().map(|it| it.settings.name.clone()).collect(),
        prepared,
        sink: sink.clone(),
        progress: Progress::new("infer"),
    };
    let mut stages = vec![infer.progress.clone()];
    let inboxes = cameras.iter().map(|it| it.inbox.clone()).collect();
    threads.spawn("infer", move || infer.run())?;
    for (index, camera) in numbered(cameras) {
        let OpenCamera {
            settings,
            source,
            inbox,
            counters,
        } = camera;
        let interval = capture::interval(&settings.source);
        let admit = Admit::new(
            admit_rules(index, &settings, interval),
            AdmitDeps {
                preprocess: Preprocess::new(&settings, inbox.clone()),
                inbox: inbox.clone(),
                prepared: prepared_sender.clone(),
                sink: sink.clone(),
                counters: counters.clone(),
                events: events.clone(),
            },
        );
        let capture = Capture {
            name: settings.name.clone(),
            source,
            interval,
            on_demand: settings.is_on_demand(),
            inbox,
            counters,
            shutdown: shutdown.clone(),
        };
        stages.push(admit.progress.clone());
        threads.spawn(format!("adm-{}", settings.name), move || admit.run())?;
        // It may hang in its driver, so its end is not waited for.
        Threads::spawn_detached(format!("cap-{}", settings.name), move || capture.run())?;
    }
    Ok(Line {
        inboxes,
        stages,
        shutdown,
    })
}

/// Returns the rules for a camera whose source delivers a frame every `interval`, if it has its own
/// pace.
fn admit_rules(
    camera: CameraIndex,
    settings: &CameraSettings,
    interval: Option<Duration>,
) -> AdmitRules {
    AdmitRules {
        camera,
        name: settings.name.clone(),
        deadline: settings.deadline,
        trigger: settings.trigger.clone(),
        // A source with its own pace owes no frame before its next one is due.
        frame_timeout: settings.frame_timeout + interval.unwrap_or(Duration::ZERO),
        on_demand: settings.is_on_demand(),
        may_be_idle: settings.may_be_idle(),
    }
}
