//! Loads, tests and exchanges models on a separate thread, while parts are being judged.
//!
//! Jobs run one after the other, in order; at most [`WAITING`] requested ones wait. The supervisor,
//! woken by an event, fetches each result; it alone decides what to do with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use flawd_onnx::Runtime;
use tracing::info;

use crate::line::config::ValidConfig;
use crate::line::models::{LoadStep, LoadedModels, ModelsError, SelfTestReport};
use crate::line::monitor::Metrics;
use crate::line::pipeline::event::{DaemonEvent, EventSender};
use crate::line::pipeline::part::reply::Reply;

/// Maximum jobs that may wait. Each takes from some milliseconds to minutes.
const WAITING: usize = 8;

/// A job for the models' thread.
#[derive(Debug)]
pub(crate) enum ModelJob {
    /// Load what this configuration names; unchanged models are kept.
    Load(Box<ValidConfig>, Reload),
    /// Score the golden inputs with the models in use.
    SelfTest(Option<Reply>),
    /// Set another threshold from the same calibration.
    Recalibrate {
        camera: Option<String>,
        false_reject_rate: f64,
        reply: Option<Reply>,
    },
}

impl ModelJob {
    /// Returns where to send the answer, if one is wanted.
    pub(crate) fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Load(_, Reload { reply, .. })
            | Self::SelfTest(reply)
            | Self::Recalibrate { reply, .. } => reply,
        }
    }
}

/// What to report when the models of a reload are loaded.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    /// The requester.
    pub(crate) reply: Option<Reply>,
    /// The sections that stay unchanged until a restart.
    pub(crate) kept: Vec<String>,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) enum JobOutcome {
    /// The time-consuming step in progress, human-readable; `None` if it has ended.
    Busy(Option<String>),
    /// The models of this configuration are loaded.
    Loaded(Box<ValidConfig>, LoadedModels, Reload),
    /// They are not; those in use stay.
    NotLoaded(ModelsError, Reload),
    /// The golden inputs were scored.
    Tested(SelfTestReport, Option<Reply>),
    /// The same models with another threshold, or why that failed.
    Recalibrated(Result<LoadedModels, ModelsError>, Option<Reply>),
}

/// The handle to the thread, which ends when this is dropped and its job is done.
#[derive(Debug)]
pub(crate) struct Models {
    jobs: mpsc::Sender<ModelJob>,
    outcomes: mpsc::Receiver<JobOutcome>,
    /// How many jobs were submitted and not started.
    waiting: Arc<AtomicUsize>,
}

impl Models {
    /// Starts the thread. Its end is not waited for: loading a model cannot be interrupted, and its
    /// result is useless when the daemon stops.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub(crate) fn start(
        runtime: Runtime,
        events: EventSender,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let (jobs, work) = mpsc::channel();
        let (results, outcomes) = mpsc::channel();
        let waiting = Arc::<AtomicUsize>::default();
        let worker = Worker {
            waiting: Arc::clone(&waiting),
            runtime,
            models: None,
            results,
            events,
            metrics,
        };
        thread::Builder::new()
            .name("models".to_owned())
            .spawn(move || worker.run(&work))?;
        Ok(Self {
            jobs,
            outcomes,
            waiting,
        })
    }

    /// Submits a job.
    pub(crate) fn order(&self, job: ModelJob) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread listens as long as this lives.
        self.jobs.send(job).ok();
    }

    /// Submits a job for an external requester.
    ///
    /// # Errors
    /// The job, if too many are already waiting.
    pub(crate) fn request(&self, job: ModelJob) -> Result<(), ModelJob> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return Err(job);
        }
        self.order(job);
        Ok(())
    }

    /// Returns the results so far, oldest first.
    pub(crate) fn fetch(&self) -> impl Iterator<Item = JobOutcome> + '_ {
        self.outcomes.try_iter()
    }
}

struct Worker {
    waiting: Arc<AtomicUsize>,
    runtime: Runtime,
    models: Option<LoadedModels>,
    results: mpsc::Sender<JobOutcome>,
    events: EventSender,
    metrics: Metrics,
}

impl Worker {
    fn run(mut self, jobs: &mpsc::Receiver<ModelJob>) {
        for job in jobs {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let outcome = match job {
                ModelJob::Load(config, reload) => self.load(config, reload),
                ModelJob::SelfTest(reply) => match &self.models {
                    Some(models) => JobOutcome::Tested(models.self_test(), reply),
                    None => continue,
                },
                ModelJob::Recalibrate {
                    camera,
                    false_reject_rate,
                    reply,
                } => {
                    let Some(models) = &self.models else { continue };
                    let recalibrated = models.recalibrated(camera.as_deref(), false_reject_rate);
                    if let Ok(models) = &recalibrated {
                        self.models = Some(models.clone());
                    }
                    JobOutcome::Recalibrated(recalibrated, reply)
                }
            };
            self.report(JobOutcome::Busy(None));
            self.report(outcome);
        }
    }

    fn load(&mut self, config: Box<ValidConfig>, reload: Reload) -> JobOutcome {
        let (results, events) = (&self.results, &self.events);
        let mut progress = |step: LoadStep<'_>| {
            if let Some(busy) = log_step(step, &self.metrics) {
                results.send(JobOutcome::Busy(Some(busy))).ok();
                events.send(DaemonEvent::Models);
            }
        };
        let loaded = match &self.models {
            Some(models) => models.reload(&config, &self.runtime, &mut progress),
            None => LoadedModels::load(&config, &self.runtime, &mut progress),
        };
        match loaded {
            Ok(models) => {
                self.models = Some(models.clone());
                JobOutcome::Loaded(config, models, reload)
            }
            Err(error) => JobOutcome::NotLoaded(error, reload),
        }
    }

    fn report(&self, outcome: JobOutcome) {
        // A daemon that is stopping no longer listens.
        self.results.send(outcome).ok();
        self.events.send(DaemonEvent::Models);
    }
}

/// Logs what was done; returns a human-readable description if the step is the start of something
/// that takes time.
fn log_step(step: LoadStep<'_>, metrics: &Metrics) -> Option<String> {
    match step {
        LoadStep::Loading(bundle) => Some(format!("loading the model of {}", bundle.display())),
        LoadStep::BuildingEngine(bundle) => {
            Some(format!("building the engine for {}", bundle.display()))
        }
        LoadStep::EngineBuilt(bundle, took) => {
            metrics.engine_built(took);
            Some(format!("proving the model of {}", bundle.display()))
        }
        LoadStep::Ready(bundle) => {
            info!(bundle = %bundle.display(), "Model loaded and proven");
            None
        }
        LoadStep::Kept(bundle) => {
            info!(bundle = %bundle.display(), "Model kept");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::line::monitor::metrics::Format;

    #[test]
    fn who_asks_for_more_than_may_wait_is_refused() {
        let (jobs, given) = mpsc::channel();
        let models = Models {
            jobs,
            outcomes: mpsc::channel().1,
            waiting: Arc::default(),
        };
        for _ in 0..WAITING {
            assert!(models.request(ModelJob::SelfTest(None)).is_ok());
        }
        assert!(models.request(ModelJob::SelfTest(None)).is_err());
        models.order(ModelJob::SelfTest(None));
        assert_eq!(given.try_iter().count(), WAITING + 1);
    }

    #[test]
    fn how_long_an_engine_took_to_build_is_shown() {
        let metrics = Metrics::new(["top"]);
        log_step(LoadStep::BuildingEngine(Path::new("bundle")), &metrics);
        log_step(
            LoadStep::EngineBuilt(Path::new("bundle"), Duration::from_secs(90)),
            &metrics,
        );
        let text = metrics.encode(Format::Prometheus);
        assert!(text.contains("\nflawd_engine_build_seconds 90"), "{text}");
    }
}
