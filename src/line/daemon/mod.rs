//! The order of the daemon's life: parse → validate → prepare → build → run → drain. Handles
//! signals, systemd and exit codes; contains nothing about pixels, tensors or topics.
//!
//! [`Daemon::prepare`] is everything at start that touches no hardware, so `flawd check` is exactly
//! that; `flawd run` continues from there. Errors are found in this order: configuration, bundles,
//! runtime library, journal (78), cameras (69), broker if required (69). Then the pipeline starts,
//! and answers triggers with `engine_building` while the models are loaded and proven; if they are
//! not fit, the daemon exits (78). If the environment may fix the cause, for example a full disk,
//! the code is always 69.
//!
//! A shutdown admits nothing more; every later stage drains because its input closes, and the
//! publisher disconnects last. Whatever does not finish within the grace period is named.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use flawd_journal::Journal;
use flawd_onnx::{Model, Runtime, RuntimeError};
use tracing::{info, warn};

use super::camera::{CameraIndex, PerCamera, numbered};
use super::config::{ConfigError, JournalSettings, MqttSettings, TriggerMode, ValidConfig};
use super::evidence::{EvidenceError, EvidenceSink};
use super::gpio::LineError;
use super::models::{LoadedModels, ModelsError};
use super::monitor::progress::Progress;
use super::monitor::{Health, ListenError, Metrics, Server};
use super::pipeline::capture::{self, SourceError};
use super::pipeline::channels::log_limit::Throttle;
use super::pipeline::channels::shutdown::Shutdown;
use super::pipeline::channels::threads::Threads;
use super::pipeline::event::{DaemonEvent, EventSender};
use super::pipeline::publish::{CameraReport, ConnectionLost, DaemonStatus, FirstAttempt};
use super::pipeline::reject::{self, Rejecting};
use super::pipeline::{self, DeliveryPlan, Line, OpenCamera};
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::bundle::{Bundle, BundleError};
use crate::exit_code::Kind;
use crate::logging;

pub(crate) mod clock;
mod command;
mod heartbeat;
mod lines;
mod model_thread;
mod paused;
mod readiness;
mod signals;
mod supervisor;
mod systemd;

pub use signals::listen as listen_to_signals;

use clock::Clock;
use lines::Lines;
use model_thread::Models;
use paused::PausedFile;
use readiness::Readiness;
use supervisor::Supervisor;
use systemd::ServiceManager;

/// The threads that wait for the disk.
const WRITERS: [&str; 2] = ["evidence", "record"];

/// Why the daemon did not start, or did not shut down cleanly.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bundle.
    #[error("cannot use the bundle")]
    Bundle(#[from] BundleError),
    /// ONNX Runtime's library.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model, or its golden test.
    #[error("the model is not fit to judge parts")]
    Scorer(#[from] ScorerError),
    /// The models of the cameras.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// The journal of verdicts.
    #[error("cannot keep a journal of verdicts in {}", folder.display())]
    Journal {
        /// Its folder.
        folder: PathBuf,
        /// The cause.
        source: flawd_journal::OpenError,
    },
    /// Evidence cannot be kept.
    #[error("cannot keep pictures")]
    Evidence(#[from] EvidenceError),
    /// A camera.
    #[error("camera `{camera}`")]
    Source {
        /// Its name.
        camera: String,
        /// The cause.
        source: SourceError,
    },
    /// A GPIO line.
    #[error("cannot use {what}")]
    Gpio {
        /// What it is for.
        what: String,
        /// The cause.
        source: LineError,
    },
    /// The broker cannot be reached and is required.
    #[error(
        "the broker {host}:{port} cannot be reached ({cause}), and mqtt.required_at_start is set"
    )]
    Broker {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// The cause.
        cause: ConnectionLost,
    },
    /// The address for metrics and health.
    #[error(transparent)]
    Monitor(#[from] ListenError),
    /// The operating system.
    #[error("the system refuses a thread or an event queue")]
    System(#[from] io::Error),
    /// The grace period has expired.
    #[error("not finished within the grace period of {grace_period:?}: {}", laggards.join(", "))]
    Overdue {
        /// The grace period.
        grace_period: Duration,
        /// The threads that are still running.
        laggards: Vec<String>,
    },
}

impl DaemonError {
    /// Returns the kind of error, which determines the exit code.
    pub fn kind(&self) -> Kind {
        let place = match self {
            // The other process may exit.
            Self::Journal {
                source: flawd_journal::OpenError::Locked { .. },
                ..
            }
            | Self::Evidence(EvidenceError::InUse { .. }) => Kind::Unavailable,
            Self::Source { source, .. } if source.is_permanent() => Kind::Config,
            Self::Gpio { source, .. } if !source.is_mistake() => Kind::Unavailable,
            Self::Config(_)
            | Self::Gpio { .. }
            | Self::Bundle(_)
            | Self::Runtime(_)
            | Self::Scorer(_)
            | Self::Models(_)
            | Self::Journal { .. }
            | Self::Evidence(_) => Kind::Config,
            Self::Source { .. } | Self::Broker { .. } | Self::Monitor(_) => Kind::Unavailable,
            // These write to the disk, and a disk that does not respond is not a bug.
            Self::Overdue { laggards, .. }
                if laggards.iter().all(|it| WRITERS.contains(&&**it)) =>
            {
                Kind::Unavailable
            }
            Self::System(_) | Self::Overdue { .. } => Kind::Bug,
        };
        Kind::of(self, place)
    }
}

/// A daemon with everything prepared but the hardware.
#[derive(Debug)]
pub struct Daemon {
    /// The configuration's path, for reloads.
    configuration: PathBuf,
    config: ValidConfig,
    /// The bundles by folder.
    bundles: BTreeMap<PathBuf, Bundle>,
    runtime: Runtime,
}

impl Daemon {
    /// Reads the configuration, opens every bundle in it with every digest verified, and loads ONNX
    /// Runtime's library. Does not touch cameras, broker or accelerator.
    ///
    /// # Errors
    /// [`DaemonError`] for the first of these that fails.
    pub fn prepare(configuration: &Path) -> Result<Self, DaemonError> {
        let config = ValidConfig::load(configuration)?;
        logging::configure(&config.log);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %configuration.display(),
            station = config.station,
            "Starting"
        );
        Self::open(configuration, config)
    }

    /// Opens everything that a configuration, read from `configuration`, names except the hardware.
    ///
    /// # Errors
    /// [`DaemonError`] for the bundles, the library, or a source that this program lacks.
    pub fn open(configuration: &Path, config: ValidConfig) -> Result<Self, DaemonError> {
        for camera in &config.cameras {
            capture::check(&camera.source).map_err(|source| DaemonError::Source {
                camera: camera.name.clone(),
                source,
            })?;
        }
        let mut bundles = BTreeMap::new();
        for folder in config.cameras.iter().flat_map(|it| it.models.folders()) {
            if !bundles.contains_key(folder) {
                bundles.insert(folder.to_owned(), Bundle::open(folder)?);
            }
        }
        let runtime = crate::packages::runtime::load(config.inference.onnxruntime.as_deref())?;
        Ok(Self {
            configuration: configuration.to_owned(),
            config,
            bundles,
            runtime,
        })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ValidConfig {
        &self.config
    }

    /// Returns the bundles, by folder.
    pub fn bundles(&self) -> &BTreeMap<PathBuf, Bundle> {
        &self.bundles
    }

    /// Returns ONNX Runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Loads the models of all cameras and proves them with their golden inputs.
    ///
    /// # Errors
    /// [`DaemonError::Models`].
    pub fn load_models(&self) -> Result<LoadedModels, DaemonError> {
        Ok(LoadedModels::load(
            &self.config,
            &self.runtime,
            &mut |_| (),
        )?)
    }

    /// Loads the first camera's model a second time, on its own.
    ///
    /// # Errors
    /// [`DaemonError::Scorer`].
    pub fn load_bare_model(&self) -> Result<Model, DaemonError> {
        let bundle = &self.bundles[&self.config.cameras[0].models.bundle];
        let scorer = Scorer::open(bundle, self.runtime.with(&self.config.inference.session))?;
        Ok(scorer.into_model())
    }

    /// Opens a camera.
    ///
    /// # Errors
    /// [`DaemonError::Source`].
    pub fn open_camera(&self, camera: CameraIndex) -> Result<OpenCamera, DaemonError> {
        let settings = self.config.cameras[camera.0].clone();
        let source = capture::open(&settings.source).map_err(|source| DaemonError::Source {
            camera: settings.name.clone(),
            source,
        })?;
        Ok(OpenCamera::new(settings, source))
    }

    /// Opens the journal, which no other process may have open.
    ///
    /// # Errors
    /// [`DaemonError::Journal`].
    pub fn open_journal(settings: &JournalSettings) -> Result<Journal, DaemonError> {
        let options = flawd_journal::Options {
            capacity: settings.capacity,
            sync: settings.durability.into(),
        };
        let journal =
            Journal::open(&settings.folder, options).map_err(|source| DaemonError::Journal {
                folder: settings.folder.clone(),
                source,
            })?;
        let recovery = journal.recovery();
        info!(
            folder = %settings.folder.display(),
            pending = journal.pending(),
            recovery = ?recovery,
            "Journal open"
        );
        Ok(journal)
    }

    /// Inspects until a signal arrives or the last source is exhausted, then drains.
    ///
    /// `events` wakes the daemon: the pipeline sends to it, and signals may too.
    ///
    /// # Errors
    /// [`DaemonError`] for what is unavailable at start, or unfinished at the end.
    pub fn run(
        self,
        events: &EventSender,
        received: &mpsc::Receiver<DaemonEvent>,
    ) -> Result<(), DaemonError> {
        let manager = ServiceManager::from_environment()?;
        let metrics = Metrics::new(self.config.cameras.iter().map(|camera| &camera.name));
        let health = Health::new();
        // Answers from before the models are loaded until everything has drained.
        let _server = self.monitor(&metrics, &health)?;
        manager.status("Opening journal and cameras");
        let journal = Self::open_journal(&self.config.journal)?;
        let evidence = self.config.evidence.clone();
        let evidence = evidence.map(EvidenceSink::open).transpose()?;
        let cameras = self.open_cameras(&metrics)?;
        let mut lines = Lines::open(&self.config)?;
        let readiness = readiness(&cameras);

        manager.status("Connecting to the broker");
        let report = first_status(&readiness, &cameras);
        let mut threads = Threads::new();
        let plan = DeliveryPlan {
            mqtt: self.config.mqtt.clone(),
            journal,
            evidence,
            report: report.clone(),
            metrics: metrics.clone(),
        };
        let delivery = pipeline::start_delivery(&mut threads, &cameras, plan, events)?;
        let outputs = std::mem::take(&mut lines.rejects);
        let (rejects, pulsers) = reject::start(
            &mut threads,
            &self.config.cameras,
            outputs,
            &metrics,
            events,
        )?;
        let sink = Rejecting::new(rejects, delivery.recorder);
        let shutdown = Shutdown::new();
        let edges = lines.edges(&cameras, &metrics, events, &shutdown);
        let line = pipeline::start_line(&mut threads, cameras, sink, events)?;
        for edges in edges {
            threads.spawn(format!("trg-{}", edges.camera), move || edges.run())?;
        }
        let stages = [delivery.stages, line.stages.clone(), pulsers].concat();
        let progress = Progress::new("watch");
        health.watch([stages.clone(), vec![progress.clone()]].concat());
        lines.beat(&mut threads, &health, &shutdown)?;
        let outcome = await_broker(&self.config.mqtt, &delivery.first_attempt).and_then(|()| {
            let mut watch = Supervisor {
                configuration: self.configuration,
                config: self.config.clone(),
                models: Models::start(self.runtime, events.clone(), metrics.clone())?,
                stages,
                progress,
                publisher: delivery.publisher,
                manager,
                clock: Clock::new(metrics.clone()),
                health,
                metrics,
                readiness,
                cameras: report.cameras,
                said: None,
                has_been_ready: false,
                complaints: Throttle::new(Duration::from_secs(60)),
                inboxes: line.inboxes.clone(),
                shadow: delivery.shadow,
                paused: PausedFile::new(&self.config.state),
            };
            Ok(watch.until_stopped(received)?)
        });
        shutdown.request();
        drain(line, threads, self.config.grace_period)?;
        outcome?;
        info!("Stopped");
        Ok(())
    }

    /// Starts the HTTP server for metrics and health, if it is configured.
    fn monitor(&self, metrics: &Metrics, health: &Health) -> Result<Option<Server>, ListenError> {
        let start = |address| Server::start(address, metrics.clone(), health.clone());
        self.config.monitor.listen.map(start).transpose()
    }

    /// Opens all cameras; `metrics` follow their counters from now on.
    fn open_cameras(&self, metrics: &Metrics) -> Result<PerCamera<OpenCamera>, DaemonError> {
        let open = |(index, _)| {
            let camera = self.open_camera(index)?;
            metrics.camera(index).follow(camera.counters.clone());
            Ok(camera)
        };
        numbered(&self.config.cameras).map(open).collect()
    }
}

/// Admits nothing more, and waits until every part has its verdict and every stage has ended.
///
/// # Errors
/// [`DaemonError::Overdue`] names the threads that are still running after the grace period.
fn drain(line: Line, threads: Threads, grace_period: Duration) -> Result<(), DaemonError> {
    let deadline = Instant::now() + grace_period;
    line.stop();
    drop(line);
    threads
        .join_until(deadline)
        .map_err(|laggards| DaemonError::Overdue {
            grace_period,
            laggards,
        })
}

/// Waits until the first attempt to connect has ended, so that a short replay does not finish
/// before the connection is up.
///
/// # Errors
/// [`DaemonError::Broker`] if it failed and the configuration requires the broker.
pub fn await_broker(
    mqtt: &MqttSettings,
    first: &mpsc::Receiver<FirstAttempt>,
) -> Result<(), DaemonError> {
    // The attempt has its own limit; this one covers reporting its result.
    let limit = mqtt.connect_timeout + Duration::from_secs(1);
    let cause = match first.recv_timeout(limit) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(cause)) => cause,
        Err(_) => ConnectionLost::NoAnswer,
    };
    if mqtt.required_at_start {
        return Err(DaemonError::Broker {
            host: mqtt.host.clone(),
            port: mqtt.port,
            cause,
        });
    }
    warn!("Inspecting without the broker; verdicts are counted as undelivered");
    Ok(())
}

/// Returns what is reported when the daemon connects, before anything has happened.
fn first_status(readiness: &Readiness, cameras: &PerCamera<OpenCamera>) -> DaemonStatus {
    let (phase, not_ready) = readiness.judge();
    DaemonStatus {
        phase,
        not_ready,
        clock_synchronised: None,
        cameras: cameras.iter().map(|_| CameraReport::default()).collect(),
    }
}

/// Creates the conditions that must be met before these cameras' parts are judged.
fn readiness(cameras: &PerCamera<OpenCamera>) -> Readiness {
    let settings = || cameras.iter().map(|camera| &camera.settings);
    let comes_by_itself = settings().all(|it| {
        let mode = it.trigger.mode;
        !matches!(mode, TriggerMode::Mqtt | TriggerMode::Gpio)
    });
    let expected = numbered(settings())
        .filter(|(_, it)| !it.may_be_idle())
        .filter(|(_, it)| !it.is_on_demand() || matches!(it.trigger.mode, TriggerMode::FreeRun))
        .map(|(camera, _)| camera);
    let names = settings().map(|it| it.name.clone()).collect();
    Readiness::new(names, expected.collect(), comes_by_itself)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_at_the_end_is_no_bug_and_a_stage_that_hangs_is_one() {
        let overdue = |laggards: &[&str]| {
            let laggards = laggards.iter().map(|it| (*it).to_owned()).collect();
            let grace_period = Duration::ZERO;
            let error = DaemonError::Overdue {
                grace_period,
                laggards,
            };
            error.kind()
        };
        assert_eq!(overdue(&["evidence"]), Kind::Unavailable);
        assert_eq!(overdue(&["evidence", "record"]), Kind::Unavailable);
        assert_eq!(overdue(&["infer"]), Kind::Bug);
        assert_eq!(overdue(&["evidence", "infer"]), Kind::Bug);
    }

    #[test]
    fn a_thread_that_cannot_be_had_is_no_bug() {
        let full = io::Error::from(rustix::io::Errno::AGAIN);
        assert_eq!(DaemonError::from(full).kind(), Kind::Unavailable);
    }
}
