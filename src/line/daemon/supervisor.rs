//! What the main thread does while parts are judged: waits for events, executes requests, and
//! reports to the broker and the service manager whether the daemon is ready and why not.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use flawd_core::event::Phase;
use flawd_core::request::{CameraSelector, Command};
use serde::Serialize;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::command::{CommandError, CommandResult};
use super::model_thread::{JobOutcome, ModelJob, Models, Reload};
use super::paused::PausedFile;
use super::readiness::Readiness;
use super::systemd::ServiceManager;
use crate::line::camera::{CameraIndex, PerCamera, numbered};
use crate::line::config::ValidConfig;
use crate::line::models::{LoadedModels, ModelsError};
use crate::line::monitor::progress::Progress;
use crate::line::monitor::{Health, Metrics, health};
use crate::line::pipeline::admit::inbox::{Control, Inbox};
use crate::line::pipeline::channels::log_limit::Throttle;
use crate::line::pipeline::event::DaemonEvent;
use crate::line::pipeline::part::reply::Reply;
use crate::line::pipeline::publish::{CameraReport, CommandAnswer, DaemonStatus, Publisher};
use crate::line::pipeline::shadow::Shadow;
use crate::logging;
use crate::messages::with_causes;

/// How often health is checked, unless a watchdog requires it more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Supervises a running pipeline.
pub(crate) struct Supervisor {
    /// The configuration's path, for reloads.
    pub(crate) configuration: PathBuf,
    /// The configuration in use.
    pub(crate) config: ValidConfig,
    pub(crate) inboxes: PerCamera<Inbox>,
    pub(crate) shadow: Shadow,
    pub(crate) paused: PausedFile,
    pub(crate) stages: Vec<Progress>,
    /// Its own progress, for health queries.
    pub(crate) progress: Progress,
    pub(crate) publisher: Publisher,
    pub(crate) models: Models,
    pub(crate) manager: ServiceManager,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) readiness: Readiness,
    pub(crate) cameras: PerCamera<CameraReport>,
    pub(crate) said: Option<DaemonStatus>,
    pub(crate) has_been_ready: bool,
    pub(crate) complaints: Throttle,
}

impl Supervisor {
    /// Supervises until a signal arrives or the last source is exhausted; then reports that it is
    /// stopping.
    ///
    /// # Errors
    /// If there are no models to start with.
    pub(crate) fn until_stopped(
        &mut self,
        events: &Receiver<DaemonEvent>,
    ) -> Result<(), ModelsError> {
        let watchdog = self.manager.watchdog().map(|watchdog| watchdog / 4);
        let interval = watchdog.map_or(LOOK_INTERVAL, |it| it.min(LOOK_INTERVAL));
        let mut outcome = Ok(());
        // Before there is a model that could judge anything.
        self.stay_paused();
        let config = Box::new(self.config.clone());
        self.models.order(ModelJob::Load(config, Reload::default()));
        self.poll();
        let progress = self.progress.clone();
        while outcome.is_ok() && !self.readiness.running.is_empty() {
            let event = events.recv_timeout(interval);
            let working = progress.begin();
            match event {
                Ok(DaemonEvent::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => outcome = self.handle(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.poll();
            drop(working);
        }
        self.manager.stopping();
        self.publish_status(Phase::Halted, Some("stopping".to_owned()));
        outcome
    }

    fn handle(&mut self, event: DaemonEvent) -> Result<(), ModelsError> {
        let readiness = &mut self.readiness;
        match event {
            DaemonEvent::FirstFrame(camera) => {
                readiness.expected.remove(&camera);
            }
            DaemonEvent::CameraLost(camera) => {
                readiness.lost.insert(camera);
            }
            DaemonEvent::CameraFound(camera) => {
                readiness.lost.remove(&camera);
            }
            DaemonEvent::Exhausted(camera) => {
                readiness.running.remove(&camera);
            }
            DaemonEvent::Subscriptions(refused) => readiness.refused = refused,
            DaemonEvent::Command {
                command: Ok(command),
                reply,
            } => self.execute(command, reply),
            DaemonEvent::Command {
                command: Err(refusal),
                reply,
            } => self.finish(Err(refusal.into()), reply),
            DaemonEvent::Models => return self.fetch_models(),
            DaemonEvent::LineLost(line) => {
                readiness.lost_lines.insert(line);
            }
            DaemonEvent::LineFound(line) => {
                readiness.lost_lines.remove(&line);
            }
            DaemonEvent::Reload => self.reload(None),
            DaemonEvent::Stop => {}
        }
        Ok(())
    }

    fn execute(&mut self, command: Command, reply: Option<Reply>) {
        match command {
            Command::Pause(which) => {
                let done = self.each(&which, Self::pause);
                self.finish(done.and_then(|()| self.keep_paused()), reply);
            }
            Command::Resume(which) => {
                let done = self.each(&which, |watch, camera| {
                    watch.readiness.paused.remove(&camera);
                    watch.cameras[camera].paused = false;
                    watch.inboxes[camera].order(Control::Resume);
                });
                self.finish(done.and_then(|()| self.keep_paused()), reply);
            }
            Command::Snapshot(which) => {
                let done = self.each(&which, |watch, camera| {
                    watch.inboxes[camera].order(Control::Snapshot);
                });
                self.finish(done, reply);
            }
            Command::Reload => self.reload(reply),
            Command::SelfTest => self.request(ModelJob::SelfTest(reply)),
            Command::Threshold {
                which,
                false_reject_rate,
            } => self.request(ModelJob::Recalibrate {
                camera: which.camera,
                false_reject_rate,
                reply,
            }),
        }
    }

    fn pause(&mut self, camera: CameraIndex) {
        self.readiness.paused.insert(camera);
        self.cameras[camera].paused = true;
        self.inboxes[camera].order(Control::Pause);
    }

    /// Pauses the cameras that were paused when the daemon last stopped.
    fn stay_paused(&mut self) {
        let paused = self.paused.read().unwrap_or_else(|error| {
            let file = self.paused.path().display();
            error!(%file, %error, "It cannot be known which cameras were paused; none is");
            Default::default()
        });
        let cameras: Vec<_> = numbered(&self.config.cameras)
            .filter(|(_, camera)| paused.contains(&camera.name))
            .map(|(index, camera)| (index, camera.name.clone()))
            .collect();
        for (index, camera) in cameras {
            warn!(
                camera,
                "Still paused, as before the restart; cmd/resume ends it"
            );
            self.pause(index);
        }
    }

    /// Saves which cameras are paused for the next start.
    fn keep_paused(&self) -> Result<(), CommandError> {
        let paused = self.readiness.paused.iter();
        let names = paused.map(|&camera| self.config.cameras[camera.0].name.as_str());
        (self.paused.write(names)).map_err(|source| CommandError::NotSaved {
            file: self.paused.path().to_owned(),
            source,
        })
    }

    fn request(&mut self, job: ModelJob) {
        if let Err(job) = self.models.request(job) {
            self.finish(Err(CommandError::TooMany), job.into_reply());
        }
    }

    /// Does something for one camera, or for all.
    fn each(
        &mut self,
        which: &CameraSelector,
        act: impl Fn(&mut Self, CameraIndex),
    ) -> Result<(), CommandError> {
        let fits = |name: &str| which.camera.as_deref().is_none_or(|wanted| wanted == name);
        let chosen: Vec<_> = numbered(&self.config.cameras)
            .filter(|(_, camera)| fits(&camera.name))
            .map(|(index, _)| index)
            .collect();
        if chosen.is_empty() {
            let wanted = which.camera.as_deref().unwrap_or_default();
            return Err(CommandError::NoSuchCamera(wanted.to_owned()));
        }
        for camera in chosen {
            act(self, camera);
        }
        Ok(())
    }

    /// Reports the result of a command: to the log if it failed, and to the requester.
    fn finish(&mut self, done: Result<(), CommandError>, reply: Option<Reply>) {
        if let Err(error) = &done
            && let Some(suppressed) = self.complaints.permit()
        {
            let problem = with_causes(error);
            warn!(problem, suppressed, "Command not followed");
        }
        self.answer(done, reply);
    }

    /// Answers the requester, if there is one.
    fn answer(&self, done: Result<(), CommandError>, reply: Option<Reply>) {
        self.publisher.answer(CommandAnswer {
            topic: None,
            payload: json(&CommandResult::from(done)),
            reply,
        });
    }

    /// Reloads the configuration. What can be exchanged while parts are judged is exchanged once
    /// the models are proven; the sections that need a restart are named. An error leaves
    /// everything unchanged. The requester is answered once the outcome is known.
    fn reload(&mut self, reply: Option<Reply>) {
        match ValidConfig::load(&self.configuration) {
            Ok(new) => {
                for path in self.config.changed_files(&new) {
                    info!(
                        path = %path.display(),
                        "A file that [mqtt] names has changed; the next connection uses it"
                    );
                }
                let (config, kept) = self.config.exchange(&new);
                info!("Configuration read again");
                self.request(ModelJob::Load(Box::new(config), Reload { reply, kept }));
            }
            Err(error) => self.refuse_reload(error.into(), reply),
        }
    }

    /// Reports the result of a reload whose models are in use.
    fn finish_reload(&self, Reload { reply, kept }: Reload) {
        if kept.is_empty() {
            return self.answer(Ok(()), reply);
        }
        let sections = kept.join(", ");
        error!(
            sections,
            "Part of the configuration takes a restart; the rest is taken over"
        );
        self.answer(Err(CommandError::TakesRestart(kept)), reply);
    }

    fn refuse_reload(&self, error: CommandError, reply: Option<Reply>) {
        let problem = with_causes(&error);
        error!(
            problem,
            "Configuration not taken over; the one in use goes on"
        );
        self.answer(Err(error), reply);
    }

    /// Handles the results of the models' thread.
    fn fetch_models(&mut self) -> Result<(), ModelsError> {
        let outcomes: Vec<_> = self.models.fetch().collect();
        for outcome in outcomes {
            match outcome {
                JobOutcome::Busy(what) => self.readiness.busy = what,
                JobOutcome::Loaded(config, models, reload) => {
                    logging::configure(&config.log);
                    self.config = *config;
                    self.use_models(&models);
                    self.finish_reload(reload);
                }
                JobOutcome::NotLoaded(error, Reload { reply, .. }) if self.readiness.has_models => {
                    self.refuse_reload(error.into(), reply);
                }
                JobOutcome::NotLoaded(error, _) => return Err(error),
                JobOutcome::Tested(report, reply) => {
                    self.readiness.failed_self_test = !report.passed;
                    if report.passed {
                        info!(models = report.models.len(), "Self-test passed");
                    } else {
                        error!(report = ?report, "Self-test failed");
                    }
                    self.publisher.answer(CommandAnswer {
                        topic: Some("selftest"),
                        payload: json(&report),
                        reply,
                    });
                }
                JobOutcome::Recalibrated(Ok(models), reply) => {
                    self.use_models(&models);
                    self.answer(Ok(()), reply);
                }
                JobOutcome::Recalibrated(Err(error), reply) => {
                    self.finish(Err(error.into()), reply);
                }
            }
        }
        Ok(())
    }

    /// Judges by these models from the next part on.
    fn use_models(&mut self, models: &LoadedModels) {
        self.readiness.has_models = true;
        if self.readiness.failed_self_test {
            // A kept model may be the one that failed: only its golden inputs can tell.
            self.models.order(ModelJob::SelfTest(None));
        }
        self.shadow.exchange(models.shadows());
        for (camera, models) in numbered(models.model_sets()) {
            let judge = &models.standard.judge;
            let threshold = judge.calibration.threshold();
            info!(
                camera = self.config.cameras[camera.0].name,
                bundle = judge.model.name,
                version = judge.model.version,
                model = %judge.model.digest,
                provider = judge.model.provider,
                threshold,
                "Model in use"
            );
            self.metrics.camera(camera).model(&judge.model, threshold);
            self.cameras[camera].model = Some(judge.model.clone());
            self.inboxes[camera].order(Control::Use(models));
        }
    }

    /// Checks whether the pipeline makes progress, and reports changes.
    fn poll(&mut self) {
        self.look_at_health();
        self.clock.look();
        let (phase, not_ready) = self.readiness.judge();
        self.publish_status(phase, not_ready);
    }

    /// Feeds the watchdog and sends a heartbeat to subscribers, only while no stage hangs.
    fn look_at_health(&mut self) {
        self.publisher.ask_for_a_sign();
        let hanging = health::laggard(&self.stages, health::PATIENCE).map(Progress::stage);
        match hanging {
            None => {
                self.manager.alive();
                if !self.has_been_ready {
                    // Building an engine takes longer than any start-up limit.
                    self.manager.extend_start();
                }
                if self.readiness.has_models && self.readiness.lost.is_empty() {
                    self.publisher.beat();
                }
            }
            Some(stage) if self.readiness.hanging.is_none() => {
                error!(stage, patience = ?health::PATIENCE, "Stage hangs");
            }
            Some(_) => {}
        }
        self.readiness.hanging = hanging.map(str::to_owned);
    }

    /// Sends the status to the publisher and to the service manager if it has changed.
    fn publish_status(&mut self, phase: Phase, not_ready: Option<String>) {
        let report = DaemonStatus {
            phase,
            not_ready,
            clock_synchronised: self.clock.synchronised(),
            cameras: self.cameras.clone(),
        };
        if self.said.as_ref() == Some(&report) {
            return;
        }
        let reason = report.not_ready.as_deref();
        self.health.report(report.phase, reason);
        self.metrics.ready(reason.is_none());
        let is_other = |said: &DaemonStatus| said.not_ready != report.not_ready;
        if self.said.as_ref().is_none_or(is_other) {
            match &report.not_ready {
                Some(reason) => {
                    info!(reason, "Not ready");
                    self.manager.status(&format!("Not ready: {reason}"));
                }
                None => {
                    info!(cameras = self.cameras.len(), "Ready");
                    self.manager.status("Ready");
                    if !std::mem::replace(&mut self.has_been_ready, true) {
                        self.manager.ready();
                    }
                }
            }
        }
        self.publisher.report(report.clone());
        self.said = Some(report);
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has string keys and no failing parts")
}
