//! Loads, tests and exchanges models on its own thread, so that parts are judged meanwhile.
//!
//! One job after the other, in order, and at most [`WAITING`] of those that were asked for. What
//! comes of each is fetched by the watch, which an event wakes; it alone decides what to do with
//! it.

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
use crate::messages::with_causes;

/// Jobs that may wait. Each takes from some milliseconds to minutes.
const WAITING: usize = 8;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum ModelJob {
    /// Load what this configuration names; what has not changed is kept.
    Load(Box<ValidConfig>, Reload),
    /// Score the golden inputs with the models in use.
    SelfTest(Option<Reply>),
    /// Another threshold from the same calibration.
    Recalibrate {
        camera: Option<String>,
        false_reject_rate: f64,
        reply: Option<Reply>,
    },
}

impl ModelJob {
    /// Where an answer is wanted.
    pub(crate) fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Load(_, Reload { reply, .. })
            | Self::SelfTest(reply)
            | Self::Recalibrate { reply, .. } => reply,
        }
    }
}

/// What is to be said when the models of a reload are loaded.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    /// Who has asked.
    pub(crate) reply: Option<Reply>,
    /// The sections that stay as they are until a restart.
    pub(crate) kept: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum JobOutcome {
    /// What takes time at the moment, human-readable; none: nothing any more.
    Busy(Option<String>),
    /// The models of this configuration are in order.
    Loaded(Box<ValidConfig>, LoadedModels, Reload),
    /// They are not; those in use go on.
    NotLoaded(ModelsError, Reload),
    /// The golden inputs were scored.
    Tested(SelfTestReport, Option<Reply>),
    /// The same models with another threshold, or why not.
    Recalibrated(Result<LoadedModels, String>, Option<Reply>),
}

/// The way to the thread; it ends when this is dropped and its job is done.
#[derive(Debug)]
pub(crate) struct Models {
    jobs: mpsc::Sender<ModelJob>,
    outcomes: mpsc::Receiver<JobOutcome>,
    /// How many jobs were given and not begun.
    waiting: Arc<AtomicUsize>,
}

impl Models {
    /// Starts the thread. Its end is not waited for: loading a model cannot be interrupted, and is
    /// worth nothing any more when the daemon stops.
    ///
    /// # Errors
    /// When the system has no thread to give.
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

    /// Gives it something to do.
    pub(crate) fn order(&self, job: ModelJob) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread listens as long as this lives.
        self.jobs.send(job).ok();
    }

    /// The same for who asks from outside.
    ///
    /// # Errors
    /// The job, where too many wait already.
    pub(crate) fn request(&self, job: ModelJob) -> Result<(), ModelJob> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return Err(job);
        }
        self.order(job);
        Ok(())
    }

    /// What has come of it so far, oldest first.
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
                    let recalibrated = models
                        .recalibrated(camera.as_deref(), false_reject_rate)
                        .map_err(|error| with_causes(&error));
                    if let Ok(models) = &recalibrated {
                        self.models = Some(models.clone());
                    }
                    JobOutcome::Recalibrated(recalibrated, reply)
                }
            };
            self.say(JobOutcome::Busy(None));
            self.say(outcome);
        }
    }

    fn load(&mut self, config: Box<ValidConfig>, reload: Reload) -> JobOutcome {
        let (results, events) = (&self.results, &self.events);
        let mut progress = |step: LoadStep<'_>| {
            if let Some(busy) = note(step, &self.metrics) {
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

    fn say(&self, outcome: JobOutcome) {
        // A daemon that stops no longer listens.
        self.results.send(outcome).ok();
        self.events.send(DaemonEvent::Models);
    }
}

/// Tells what was done; says what takes time from now on, human-readable, where the step begins.
fn note(step: LoadStep<'_>, metrics: &Metrics) -> Option<String> {
    match step {
        LoadStep::Loading(bundle) => Some(format!("loading the model of {}", bundle.display())),
        LoadStep::BuildingEngine(bundle) => Some(format!(
            "building the TensorRT engine for {}",
            bundle.display()
        )),
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
        note(LoadStep::BuildingEngine(Path::new("bundle")), &metrics);
        note(
            LoadStep::EngineBuilt(Path::new("bundle"), Duration::from_secs(90)),
            &metrics,
        );
        let text = metrics.encode(Format::Prometheus);
        assert!(text.contains("\nflawd_engine_build_seconds 90"), "{text}");
    }
}
