//! Whether the daemon is judging parts, and if not, why: pure bookkeeping over reported events.

use std::collections::BTreeSet;

use flawd_core::event::Phase;

use crate::line::camera::{CameraIndex, PerCamera, numbered};
use crate::line::pipeline::event::RefusedTopics;

/// The known state of the cameras and the models.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    cameras: PerCamera<String>,
    /// Whether parts come on their own; otherwise each is requested.
    comes_by_itself: bool,
    /// Cameras that have not delivered a frame yet.
    pub(crate) expected: BTreeSet<CameraIndex>,
    pub(crate) lost: BTreeSet<CameraIndex>,
    /// GPIO lines that cannot be used.
    pub(crate) lost_lines: BTreeSet<String>,
    /// Cameras that may still deliver frames.
    pub(crate) running: BTreeSet<CameraIndex>,
    pub(crate) paused: BTreeSet<CameraIndex>,
    /// A stage that is stuck.
    pub(crate) hanging: Option<String>,
    /// What the models' thread is busy with.
    pub(crate) busy: Option<String>,
    pub(crate) has_models: bool,
    /// Whether the golden inputs failed their last self-test.
    pub(crate) failed_self_test: bool,
    /// The subscriptions that the broker refuses, as far as is known, so that parts cannot be
    /// requested.
    pub(crate) refused: RefusedTopics,
}

impl Readiness {
    /// Creates the state at start; `expected` are the cameras that deliver frames without being
    /// asked.
    pub(crate) fn new(
        cameras: PerCamera<String>,
        expected: BTreeSet<CameraIndex>,
        comes_by_itself: bool,
    ) -> Self {
        Self {
            running: numbered(cameras.iter()).map(|(camera, _)| camera).collect(),
            cameras,
            comes_by_itself,
            expected,
            lost: BTreeSet::new(),
            lost_lines: BTreeSet::new(),
            paused: BTreeSet::new(),
            hanging: None,
            busy: None,
            has_models: false,
            failed_self_test: false,
            refused: RefusedTopics::default(),
        }
    }

    /// Returns the phase of the daemon's life, and why it judges no parts: the worst reason first.
    pub(crate) fn judge(&self) -> (Phase, Option<String>) {
        if let Some(stage) = &self.hanging {
            (Phase::Error, Some(format!("the stage {stage} hangs")))
        } else if !self.has_models {
            let busy = self.busy.clone();
            let reason = busy.unwrap_or("waiting for the model".to_owned());
            (Phase::Preoperational, Some(reason))
        } else if self.failed_self_test {
            let reason = "the golden inputs do not score as they should";
            (Phase::Error, Some(reason.to_owned()))
        } else if !self.lost.is_empty() {
            let reason = format!("camera lost: {}", self.names(&self.lost));
            (Phase::Error, Some(reason))
        } else if !self.lost_lines.is_empty() {
            let lines: Vec<_> = self.lost_lines.iter().map(String::as_str).collect();
            let reason = format!("GPIO line lost: {}", lines.join(", "));
            (Phase::Error, Some(reason))
        } else if !self.expected.is_empty() {
            let reason = format!(
                "waiting for the first frame: {}",
                self.names(&self.expected)
            );
            (Phase::Initialized, Some(reason))
        } else if !self.refused.is_empty() {
            let reason = format!("the broker refuses subscriptions: {}", self.refused);
            (Phase::Initialized, Some(reason))
        } else if !self.paused.is_empty() {
            let reason = format!("paused: {}", self.names(&self.paused));
            (Phase::Initialized, Some(reason))
        } else if self.comes_by_itself {
            (Phase::ContinuousExecution, None)
        } else {
            (Phase::Ready, None)
        }
    }

    fn names(&self, set: &BTreeSet<CameraIndex>) -> String {
        let names: Vec<_> = set.iter().map(|&it| self.cameras[it].as_str()).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: CameraIndex = CameraIndex(0);
    const SIDE: CameraIndex = CameraIndex(1);

    fn station() -> Readiness {
        let cameras = ["top", "side"].map(str::to_owned).into_iter().collect();
        let mut readiness = Readiness::new(cameras, BTreeSet::new(), true);
        readiness.has_models = true;
        readiness
    }

    fn why(readiness: &Readiness) -> (Phase, String) {
        let (phase, reason) = readiness.judge();
        (phase, reason.unwrap_or_default())
    }

    #[test]
    fn ready_means_models_frames_and_nothing_wrong() {
        let mut station = station();
        assert_eq!(station.judge(), (Phase::ContinuousExecution, None));
        station.expected.insert(SIDE);
        let reason = "waiting for the first frame: side".to_owned();
        assert_eq!(why(&station), (Phase::Initialized, reason));
        station.lost.extend([TOP, SIDE]);
        assert_eq!(
            why(&station),
            (Phase::Error, "camera lost: top, side".to_owned())
        );
        station.lost.clear();
        station.lost_lines.insert("reject output of top".to_owned());
        let reason = "GPIO line lost: reject output of top".to_owned();
        assert_eq!(why(&station), (Phase::Error, reason));
        station.has_models = false;
        assert_eq!(why(&station).0, Phase::Preoperational);
    }

    #[test]
    fn a_stage_that_hangs_is_the_worst_reason() {
        let mut station = station();
        station.lost.insert(SIDE);
        station.hanging = Some("infer".to_owned());
        assert_eq!(
            why(&station),
            (Phase::Error, "the stage infer hangs".to_owned())
        );
    }

    #[test]
    fn a_station_that_waits_for_triggers_is_ready_and_not_busy() {
        let mut station = station();
        station.comes_by_itself = false;
        assert_eq!(station.judge(), (Phase::Ready, None));
        station.paused.insert(TOP);
        assert_eq!(
            why(&station),
            (Phase::Initialized, "paused: top".to_owned())
        );
        let topic = "flawd/line/top/trigger".to_owned();
        station.refused = RefusedTopics(vec![(topic, "not authorized")]);
        let (phase, reason) = why(&station);
        assert_eq!(phase, Phase::Initialized);
        assert!(reason.contains("refuses subscriptions: flawd/line/top/trigger"));
    }
}
