//! The order of the daemon's life: parse → validate → prepare → build → run → drain. Knows
//! signals, systemd and exit codes; knows nothing of pixels, tensors or topics.
//!
//! [`Daemon::prepare`] is all of the start that touches no hardware, so `flawd check` is exactly
//! that; `flawd run` goes on from there. What can be wrong is found in this order: configuration,
//! bundle, runtime library (78), model and golden test (78), cameras (69), broker where it is
//! required (69). Only then does the first thread of the pipeline start.
//!
//! A shutdown stops capture; everything behind it drains because its input closes, and the
//! publisher says goodbye last. What does not end within the grace period is named.

use std::{
    io,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use flawd_core::event::{ModelData, Phase};
use flawd_onnx::{Model, Runtime, RuntimeError};
use tracing::{info, warn};

use crate::{
    bundle::{Bundle, BundleError},
    config::{ConfigError, ValidConfig},
    failure::Kind,
    monitor::{Health, ListenError, Metrics, Server},
    pipeline::{
        self, Camera, Plan,
        capture::{self, OpenError},
        counters::Counters,
        crew::Crew,
        decide::Judge,
        event::{Event, EventSender},
        publish::{self, CameraInfo, FirstAttempt, Report},
        shutdown::Shutdown,
    },
    scorer::{Scorer, ScorerError},
    telemetry,
};

pub(crate) mod clock;
mod signals;
mod systemd;
mod watch;

pub use signals::listen as listen_to_signals;

use systemd::ServiceManager;
use watch::Watch;

/// Why the daemon did not start, or did not end well.
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
    /// A camera.
    #[error("camera `{camera}`")]
    Source {
        /// Its name.
        camera: String,
        /// Why it cannot be opened.
        source: OpenError,
    },
    /// The broker, where it is required.
    #[error(
        "the broker {host}:{port} cannot be reached ({cause}), and mqtt.required_at_start is set"
    )]
    Broker {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// What happened.
        cause: String,
    },
    /// The address for metrics and health.
    #[error(transparent)]
    Monitor(#[from] ListenError),
    /// The operating system.
    #[error("the system refuses a thread or an event queue")]
    System(#[from] io::Error),
    /// The grace period is over.
    #[error("not finished within the grace period of {grace_period:?}: {}", laggards.join(", "))]
    Overdue {
        /// How long they had.
        grace_period: Duration,
        /// The threads that still run.
        laggards: Vec<String>,
    },
}

impl DaemonError {
    /// The exit code that it deserves.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::Bundle(_) | Self::Runtime(_) | Self::Scorer(_) => Kind::Config,
            Self::Source { .. } | Self::Broker { .. } | Self::Monitor(_) => Kind::Unavailable,
            Self::System(_) | Self::Overdue { .. } => Kind::Bug,
        }
    }
}

/// A daemon of which everything but the hardware has been seen to.
#[derive(Debug)]
pub struct Daemon {
    config: ValidConfig,
    bundle: Bundle,
    runtime: Runtime,
}

impl Daemon {
    /// Reads the configuration, opens the bundle with every digest verified, and loads ONNX
    /// Runtime's library. Touches neither camera nor broker nor accelerator.
    ///
    /// # Errors
    /// [`DaemonError`] for whichever of these fails first.
    pub fn prepare(configuration: &Path) -> Result<Self, DaemonError> {
        let config = ValidConfig::load(configuration)?;
        telemetry::configure(&config.log);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            config = %configuration.display(),
            station = config.station,
            "Starting"
        );
        Self::open(config)
    }

    /// Opens what a configuration names that is no hardware.
    ///
    /// # Errors
    /// [`DaemonError`] for the bundle or the library.
    pub fn open(config: ValidConfig) -> Result<Self, DaemonError> {
        let bundle = Bundle::open(&config.inference.bundle)?;
        let runtime = Runtime::load(config.inference.onnxruntime.as_deref())?;
        Ok(Self {
            config,
            bundle,
            runtime,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ValidConfig {
        &self.config
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// ONNX Runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Loads the model and proves with the golden inputs that it scores here as it did where the
    /// bundle was made.
    ///
    /// # Errors
    /// [`DaemonError::Scorer`].
    pub fn load_model(&self) -> Result<Model, DaemonError> {
        let mut scorer = Scorer::open(&self.bundle, &self.runtime, &self.config.inference.session)?;
        let reproduced = scorer.self_test(&self.bundle)?;
        let manifest = self.bundle.manifest();
        info!(
            bundle = manifest.name,
            version = %manifest.version,
            model = %manifest.model.digest,
            provider = scorer.provider(),
            golden_inputs = reproduced.len(),
            "Model loaded"
        );
        Ok(scorer.into_model())
    }

    /// Opens a camera. Its geometry is its own where it has one, else the bundle's.
    ///
    /// # Errors
    /// [`DaemonError::Source`].
    pub fn open_camera(&self, index: usize) -> Result<Camera, DaemonError> {
        let settings = self.config.cameras[index].clone();
        let source = capture::open(&settings.source).map_err(|source| DaemonError::Source {
            camera: settings.name.clone(),
            source,
        })?;
        Ok(Camera {
            geometry: settings
                .geometry
                .unwrap_or(self.bundle.manifest().model.geometry),
            settings,
            source,
            counters: Counters::default(),
        })
    }

    /// What makes verdicts of this model's scores.
    pub fn judge(&self, model: &Model) -> Judge {
        let manifest = self.bundle.manifest();
        Judge {
            calibration: manifest.calibration.clone(),
            model: ModelData {
                name: manifest.name.clone(),
                version: manifest.version.to_string(),
                digest: manifest.model.digest,
                provider: model.provider().to_owned(),
            },
        }
    }

    /// Inspects until a signal comes or the last source is exhausted, and drains.
    ///
    /// `events` are what wakes the daemon: the pipeline sends to them, and so may signals.
    ///
    /// # Errors
    /// [`DaemonError`] for what is not there at start, or not finished at the end.
    pub fn run(
        self,
        events: &EventSender,
        received: &mpsc::Receiver<Event>,
    ) -> Result<(), DaemonError> {
        let manager = ServiceManager::from_environment();
        let metrics = Metrics::new(self.config.cameras.iter().map(|camera| &camera.name));
        let health = Health::new();
        // Answers from before the model is loaded until everything has drained.
        let _server = self
            .config
            .monitor
            .listen
            .map(|address| Server::start(address, metrics.clone(), health.clone()))
            .transpose()?;
        manager.status("Loading the model");
        let model = self.load_model()?;
        let judge = self.judge(&model);
        for camera in 0..self.config.cameras.len() {
            let threshold = judge.calibration.threshold();
            metrics.camera(camera).model(&judge.model, threshold);
        }
        let cameras = (0..self.config.cameras.len())
            .map(|index| self.open_camera(index))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = cameras
            .iter()
            .map(|camera| camera.settings.name.clone())
            .collect();

        manager.status("Connecting to the broker");
        let report = Report {
            phase: Phase::Initialized,
            not_ready: Some("waiting for the first frame".to_owned()),
        };
        let infos = cameras
            .iter()
            .map(|camera| CameraInfo {
                name: camera.settings.name.clone(),
                counters: camera.counters.clone(),
            })
            .collect();
        let mut crew = Crew::new();
        let mqtt = &self.config.mqtt;
        let (publisher, first_attempt) =
            publish::start(&mut crew, mqtt, judge.model.clone(), infos, report.clone())?;
        self.await_broker(&first_attempt)?;

        let shutdown = Shutdown::new();
        let plan = Plan {
            cameras,
            model,
            judge,
            sink: publisher.clone(),
        };
        let stages = pipeline::start(&mut crew, plan, &shutdown, events)?;
        Watch::new(names, stages, publisher, manager, report, health, metrics)
            .until_stopped(received);

        let deadline = Instant::now() + self.config.grace_period;
        shutdown.request();
        crew.join_until(deadline)
            .map_err(|laggards| DaemonError::Overdue {
                grace_period: self.config.grace_period,
                laggards,
            })?;
        info!("Stopped");
        Ok(())
    }

    /// Waits until the first attempt to connect has ended, so that a short replay is not over
    /// before the connection is there.
    ///
    /// # Errors
    /// [`DaemonError::Broker`] if it failed and the configuration requires the broker.
    pub fn await_broker(&self, first: &mpsc::Receiver<FirstAttempt>) -> Result<(), DaemonError> {
        let mqtt = &self.config.mqtt;
        // The attempt has a limit of its own; this one is for the way back from it.
        let limit = mqtt.connect_timeout + Duration::from_secs(1);
        let cause = match first.recv_timeout(limit) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(cause)) => cause,
            Err(_) => "no answer".to_owned(),
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
}
