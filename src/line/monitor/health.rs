//! The daemon's health. Judged from the stages' own notes at the moment of the query, never from a
//! timer that would keep ticking in a stage that hangs.
//!
//! Two questions, as orchestrators ask them. *Healthy*: no stage hangs; otherwise a restart is the
//! remedy, and systemd's watchdog is no longer fed. *Ready*: parts are judged; what is missing may
//! come back on its own, such as a camera that is plugged in again.

use std::sync::Arc;
use std::time::Duration;

use flawd_core::event::Phase;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use super::progress::Progress;

/// A stage that works on one item for longer than this hangs: inference takes milliseconds, or
/// seconds for a large model on a small board.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon's health; clones share it. The supervisor writes it, and clients read it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<HealthState>>);

#[derive(Debug)]
struct HealthState {
    stages: Vec<Progress>,
    phase: Phase,
    not_ready: Option<String>,
    patience: Duration,
}

/// The answer to a health query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// True if parts are being judged.
    pub ready: bool,
    /// Why not, human-readable.
    pub reason: Option<String>,
    /// The phase of the daemon's life.
    pub phase: Phase,
    /// False if a stage hangs.
    #[serde(skip)]
    pub healthy: bool,
}

impl Health {
    /// Creates the health of a daemon that has only just started.
    pub fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    /// As [`Self::new`], for stages that hang after another time.
    pub(crate) fn with_patience(patience: Duration) -> Self {
        Self(Arc::new(Mutex::new(HealthState {
            stages: Vec::new(),
            phase: Phase::Preoperational,
            not_ready: Some("starting".to_owned()),
            patience,
        })))
    }

    /// Judges these stages from now on.
    pub fn watch(&self, stages: Vec<Progress>) {
        self.lock().stages = stages;
    }

    /// Sets the phase of the daemon's life, and why it judges no parts; `None` if it does.
    pub fn report(&self, phase: Phase, not_ready: Option<&str>) {
        let mut state = self.lock();
        state.phase = phase;
        state.not_ready = not_ready.map(str::to_owned);
    }

    /// Returns the current health.
    pub fn condition(&self) -> Condition {
        let state = self.lock();
        if let Some(stage) = laggard(&state.stages, state.patience) {
            return Condition {
                ready: false,
                reason: Some(format!("the stage {} hangs", stage.stage())),
                phase: Phase::Error,
                healthy: false,
            };
        }
        Condition {
            ready: state.not_ready.is_none(),
            reason: state.not_ready.clone(),
            phase: state.phase,
            healthy: true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the stage that has worked on a single item for longer than `patience`, if any.
pub(crate) fn laggard(stages: &[Progress], patience: Duration) -> Option<&Progress> {
    stages
        .iter()
        .find(|stage| stage.busy_for().is_some_and(|time| time > patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works on an item until a measurable time has passed.
    fn hang(stage: &Progress) -> crate::line::monitor::progress::Working {
        let working = stage.begin();
        while stage.busy_for() == Some(Duration::ZERO) {
            std::hint::spin_loop();
        }
        working
    }

    #[test]
    fn a_stage_that_hangs_is_found_and_one_that_waits_is_not() {
        let stages = [Progress::new("preprocess"), Progress::new("infer")];
        assert!(laggard(&stages, Duration::ZERO).is_none());
        let _working = hang(&stages[1]);
        assert_eq!(laggard(&stages, Duration::ZERO).unwrap().stage(), "infer");
        assert!(laggard(&stages, PATIENCE).is_none());
    }

    #[test]
    fn a_daemon_is_not_ready_until_it_is_said_and_healthy_all_the_while() {
        let health = Health::new();
        let first = health.condition();
        assert!(first.healthy && !first.ready);
        assert_eq!(first.phase, Phase::Preoperational);
        health.report(Phase::ContinuousExecution, None);
        let json = serde_json::to_string(&health.condition()).unwrap();
        let expected = r#"{"ready":true,"reason":null,"phase":"continuous_execution"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_stage_that_hangs_shows_even_if_it_was_not_reported() {
        let health = Health::with_patience(Duration::ZERO);
        let stage = Progress::new("infer");
        health.watch(vec![stage.clone()]);
        health.report(Phase::ContinuousExecution, None);
        let working = hang(&stage);
        let condition = health.condition();
        assert!(!condition.healthy && !condition.ready);
        assert_eq!(condition.reason.as_deref(), Some("the stage infer hangs"));
        drop(working);
        assert!(health.condition().ready);
    }
}
