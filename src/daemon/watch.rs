//! What the main thread does while parts are judged: waits for events, knows whether the daemon
//! is ready and why not, and tells the broker and the service manager.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use flawd_core::event::Phase;
use tracing::{error, info};

use super::{clock::Clock, systemd::ServiceManager};
use crate::{
    monitor::{Health, Metrics, health},
    pipeline::{
        event::Event,
        progress::Progress,
        publish::{Publisher, Report},
    },
};

/// How often health is looked at where no watchdog asks for more.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The watch over a running pipeline.
pub(super) struct Watch {
    cameras: Vec<String>,
    stages: Vec<Progress>,
    publisher: Publisher,
    manager: ServiceManager,
    health: Health,
    metrics: Metrics,
    clock: Clock,
    /// Cameras that have not given a frame yet.
    expected: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    running: BTreeSet<usize>,
    hanging: Option<String>,
    said: Report,
    has_been_ready: bool,
}

impl Watch {
    /// A watch over these cameras, in the order of the configuration; `said` is what the
    /// publisher was told last.
    pub(super) fn new(
        cameras: Vec<String>,
        stages: Vec<Progress>,
        publisher: Publisher,
        manager: ServiceManager,
        said: Report,
        health: Health,
        metrics: Metrics,
    ) -> Self {
        let all: BTreeSet<_> = (0..cameras.len()).collect();
        health.watch(stages.clone());
        health.report(said.phase, said.not_ready.as_deref());
        Self {
            cameras,
            stages,
            publisher,
            manager,
            health,
            clock: Clock::new(metrics.clone()),
            metrics,
            expected: all.clone(),
            lost: BTreeSet::new(),
            running: all,
            hanging: None,
            said,
            has_been_ready: false,
        }
    }

    /// Watches until a signal comes or the last source is exhausted; then says that it stops.
    pub(super) fn until_stopped(&mut self, events: &Receiver<Event>) {
        let interval = self
            .manager
            .watchdog()
            .map_or(LOOK_INTERVAL, |watchdog| watchdog / 4);
        while !self.running.is_empty() {
            match events.recv_timeout(interval) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look_at_health();
            self.clock.look();
            self.say(report(
                &self.cameras,
                &self.expected,
                &self.lost,
                self.hanging.as_deref(),
            ));
        }
        self.manager.stopping();
        self.say(Report {
            phase: Phase::Halted,
            not_ready: Some("stopping".to_owned()),
        });
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::FirstFrame(camera) => {
                self.expected.remove(&camera);
            }
            Event::CameraLost(camera) => {
                self.lost.insert(camera);
            }
            Event::CameraFound(camera) => {
                self.lost.remove(&camera);
            }
            Event::Exhausted(camera) => {
                self.running.remove(&camera);
            }
            Event::Stop => {}
        }
    }

    /// Feeds the watchdog only while no stage hangs.
    fn look_at_health(&mut self) {
        let hanging = health::laggard(&self.stages, health::PATIENCE).map(Progress::stage);
        match hanging {
            None => self.manager.alive(),
            Some(stage) if self.hanging.is_none() => {
                error!(stage, patience = ?health::PATIENCE, "Stage hangs");
            }
            Some(_) => {}
        }
        self.hanging = hanging.map(str::to_owned);
    }

    /// Says what is new.
    fn say(&mut self, report: Report) {
        if report == self.said {
            return;
        }
        self.health
            .report(report.phase, report.not_ready.as_deref());
        self.metrics.ready(report.not_ready.is_none());
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
        self.publisher.report(report.clone());
        self.said = report;
    }
}

/// Whether parts are judged, and why not: the worst reason first.
fn report(
    cameras: &[String],
    expected: &BTreeSet<usize>,
    lost: &BTreeSet<usize>,
    hanging: Option<&str>,
) -> Report {
    let names = |set: &BTreeSet<usize>| {
        let names: Vec<_> = set.iter().map(|&camera| cameras[camera].as_str()).collect();
        names.join(", ")
    };
    let (phase, not_ready) = if let Some(stage) = hanging {
        (Phase::Error, Some(format!("the stage {stage} hangs")))
    } else if !lost.is_empty() {
        (Phase::Error, Some(format!("camera lost: {}", names(lost))))
    } else if !expected.is_empty() {
        let reason = format!("waiting for the first frame: {}", names(expected));
        (Phase::Initialized, Some(reason))
    } else {
        (Phase::ContinuousExecution, None)
    };
    Report { phase, not_ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &[usize], lost: &[usize], hanging: Option<&str>) -> (Phase, Option<String>) {
        let cameras = ["top".to_owned(), "side".to_owned()];
        let report = report(
            &cameras,
            &expected.iter().copied().collect(),
            &lost.iter().copied().collect(),
            hanging,
        );
        (report.phase, report.not_ready)
    }

    #[test]
    fn ready_means_that_every_camera_has_given_a_frame_and_none_is_lost() {
        assert_eq!(check(&[], &[], None), (Phase::ContinuousExecution, None));
        let (phase, reason) = check(&[1], &[], None);
        assert_eq!(phase, Phase::Initialized);
        assert_eq!(reason.as_deref(), Some("waiting for the first frame: side"));
        let (phase, reason) = check(&[], &[0, 1], None);
        assert_eq!(phase, Phase::Error);
        assert_eq!(reason.as_deref(), Some("camera lost: top, side"));
    }

    #[test]
    fn a_stage_that_hangs_is_the_worst_reason() {
        let (phase, reason) = check(&[0], &[1], Some("infer"));
        assert_eq!(phase, Phase::Error);
        assert_eq!(reason.as_deref(), Some("the stage infer hangs"));
    }
}
