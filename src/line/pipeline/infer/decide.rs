//! The last step of the data path: from a score to a verdict. Pure arithmetic.

use std::sync::Arc;
use std::time::Instant;

use flawd_core::anomaly::AnomalyMap;
use flawd_core::event::{LatencyMs, VerdictData};
use flawd_core::preprocess::Geometry;
use flawd_core::regions::{Region, regions};
use flawd_core::verdict::{Reason, Verdict};
use flawd_onnx::Prediction;

use crate::line::camera::CameraIndex;
use crate::line::pipeline::part::frame::{Inspection, NoDecision, Ticket};
use crate::line::pipeline::part::model::{Judge, LoadedModel};
use crate::line::pipeline::part::trigger::{Deadline, Trigger, milliseconds};

/// The result of inference on a frame.
#[derive(Debug)]
pub(crate) struct Inferred {
    /// The model's answer, or why there is none.
    pub(crate) prediction: Result<Prediction, NoDecision>,
    /// When inference began.
    pub(crate) begun: Instant,
    /// When inference ended, which is when the verdict is reached.
    pub(crate) finished: Instant,
}

impl Judge {
    /// Creates the only verdict on a part. A result after its deadline keeps its score, but decides
    /// nothing: the actuator has already handled the part by its own rule.
    pub(crate) fn decide(&self, camera: &str, ticket: Ticket, outcome: Inferred) -> Inspection {
        let remaining_ms = (ticket.deadline).map(|it| it.remaining_ms(outcome.finished));
        let is_late = remaining_ms.is_some_and(|remaining| remaining < 0.0);
        let latency_ms = latency(&ticket, &outcome);
        let (verdict, detail, prediction) = match outcome.prediction {
            Ok(prediction) if is_late => {
                (Verdict::NoDecision(Reason::Late), None, Some(prediction))
            }
            Ok(prediction) => {
                let verdict = Verdict::from_score(prediction.score, &self.calibration);
                (verdict, None, Some(prediction))
            }
            Err(undecided) => (
                Verdict::NoDecision(undecided.reason),
                Some(undecided.detail),
                None,
            ),
        };
        let score = prediction.as_ref().map(|prediction| prediction.score);
        let regions = match (verdict, &prediction) {
            (Verdict::Ok, _) | (_, None) => Vec::new(),
            (_, Some(prediction)) => self.regions(&ticket, &prediction.anomaly_map),
        };
        let (trigger, captured) = (ticket.trigger, ticket.captured);
        let (part_id, recipe, reply, triggered_at) = match trigger {
            Some(it) => (it.part_id, it.recipe, it.reply, Some(it.received.wall)),
            None => (None, None, None, None),
        };
        Inspection {
            camera: ticket.camera,
            time: captured,
            deadline: ticket.deadline.map(|deadline| deadline.monotonic),
            reply,
            picture: ticket.picture,
            geometry: ticket.geometry,
            is_snapshot: ticket.is_snapshot,
            is_standard: ticket.is_standard,
            measured: ticket.measured,
            anomaly_map: prediction.map(|prediction| prediction.anomaly_map),
            model: None,
            verdict: VerdictData {
                detail,
                part_id: part_id.or_else(|| ticket.part.as_deref().map(str::to_owned)),
                recipe,
                triggered_at,
                match_offset_ms: ticket.match_offset_ms,
                deadline: ticket.deadline.map(|deadline| deadline.wall),
                remaining_ms,
                captured_at: Some(captured.wall),
                score,
                threshold: Some(self.calibration.threshold()),
                p_value: score.map(|score| self.calibration.p_value(score)),
                latency_ms,
                model: Some(self.model.clone()),
                regions,
                ..VerdictData::new(camera, verdict)
            },
        }
    }

    /// Returns where the part is unusual, in pixels of the camera's picture.
    fn regions(&self, ticket: &Ticket, map: &AnomalyMap) -> Vec<Region> {
        let (Some(threshold), Some(picture)) = (self.pixel_threshold, &ticket.picture) else {
            return Vec::new();
        };
        // The geometry fits the picture, or there would be no map.
        regions(map, threshold, &ticket.geometry, picture.size()).unwrap_or_default()
    }
}

/// A trigger that ends without a frame.
#[derive(Debug)]
pub(crate) struct Undecided {
    pub(crate) camera: CameraIndex,
    pub(crate) trigger: Trigger,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    /// The model that would have judged it, if one is loaded.
    pub(crate) model: Option<Arc<LoadedModel>>,
    /// When this was determined.
    pub(crate) now: Instant,
}

impl Undecided {
    /// Creates the only verdict on it.
    pub(crate) fn into_inspection(self, camera: &str) -> Inspection {
        let trigger = self.trigger;
        let judge = self.model.as_ref().map(|model| &model.judge);
        Inspection {
            camera: self.camera,
            time: trigger.received,
            deadline: self.deadline.map(|deadline| deadline.monotonic),
            reply: trigger.reply,
            picture: None,
            geometry: Geometry::default(),
            is_snapshot: false,
            is_standard: false,
            measured: None,
            anomaly_map: None,
            verdict: VerdictData {
                detail: Some(self.detail),
                part_id: trigger.part_id,
                recipe: trigger.recipe,
                triggered_at: Some(trigger.received.wall),
                deadline: self.deadline.map(|deadline| deadline.wall),
                remaining_ms: self.deadline.map(|it| it.remaining_ms(self.now)),
                threshold: judge.map(|judge| judge.calibration.threshold()),
                latency_ms: LatencyMs {
                    total: milliseconds(trigger.received.monotonic, self.now),
                    ..LatencyMs::default()
                },
                model: judge.map(|judge| judge.model.clone()),
                ..VerdictData::new(camera, Verdict::NoDecision(self.reason))
            },
            model: self.model,
        }
    }
}

/// Computes the latency of each step.
fn latency(ticket: &Ticket, outcome: &Inferred) -> LatencyMs {
    let captured = ticket.captured.monotonic;
    let waited_before = milliseconds(ticket.at_hand, ticket.begun);
    let waited_after = milliseconds(ticket.finished, outcome.begun);
    LatencyMs {
        capture: Some(milliseconds(captured, ticket.at_hand)),
        queue: Some(waited_before + waited_after),
        preprocess: Some(milliseconds(ticket.begun, ticket.finished)),
        infer: outcome
            .prediction
            .is_ok()
            .then(|| milliseconds(outcome.begun, outcome.finished)),
        total: milliseconds(captured, outcome.finished),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flawd_core::calibration::Calibration;
    use flawd_core::digest::Digest;
    use flawd_core::event::ModelData;
    use flawd_core::image::Size;

    use super::*;
    use crate::line::pipeline::part::moment::Moment;

    fn judge() -> Judge {
        Judge {
            calibration: Calibration::from_scores(vec![1.0, 2.0, 3.0], 0.25).unwrap(),
            pixel_threshold: None,
            quality: None,
            pictures: None,
            model: ModelData {
                name: "flange".to_owned(),
                version: "1.0.0".to_owned(),
                digest: Digest::new([0; 32]),
                provider: "cpu".to_owned(),
                engine: None,
            },
        }
    }

    /// Decides on a frame that took 10 ms for each of: capture, waiting, preprocessing, waiting,
    /// inference.
    fn decide(deadline: Option<Duration>, prediction: Result<f32, NoDecision>) -> Inspection {
        let captured = Moment::now();
        let after = |ms| captured.monotonic + Duration::from_millis(ms);
        let ticket = Ticket {
            camera: CameraIndex(0),
            trigger: None,
            part: None,
            match_offset_ms: None,
            deadline: deadline.map(|budget| Deadline::after(captured, budget)),
            answer_by: None,
            picture: None,
            geometry: Geometry::default(),
            is_snapshot: false,
            is_standard: false,
            measured: None,
            captured,
            at_hand: after(10),
            begun: after(20),
            finished: after(30),
        };
        let outcome = Inferred {
            prediction: prediction.map(|score| Prediction {
                score,
                anomaly_map: AnomalyMap::new(Size::new(1, 1), vec![score]).unwrap(),
            }),
            begun: after(40),
            finished: after(50),
        };
        judge().decide("top", ticket, outcome)
    }

    #[test]
    fn a_score_is_judged_by_the_calibrated_threshold() {
        assert_eq!(decide(None, Ok(3.0)).verdict.verdict, Verdict::Ok);
        assert_eq!(decide(None, Ok(3.1)).verdict.verdict, Verdict::Ng);
    }

    #[test]
    fn a_result_after_its_deadline_keeps_its_score_and_decides_nothing() {
        let late = decide(Some(Duration::from_millis(49)), Ok(9.0)).verdict;
        assert_eq!(late.verdict, Verdict::NoDecision(Reason::Late));
        assert_eq!((late.score, late.remaining_ms), (Some(9.0), Some(-1.0)));
        let in_time = decide(Some(Duration::from_millis(60)), Ok(9.0)).verdict;
        assert_eq!(in_time.verdict, Verdict::Ng);
        assert_eq!(in_time.remaining_ms, Some(10.0));
    }

    #[test]
    fn a_frame_without_a_result_says_why() {
        let undecided = NoDecision {
            reason: Reason::ImageQuality,
            detail: "cut short".to_owned(),
        };
        let verdict = decide(None, Err(undecided)).verdict;
        assert_eq!(verdict.verdict, Verdict::NoDecision(Reason::ImageQuality));
        assert_eq!(verdict.detail.as_deref(), Some("cut short"));
        assert_eq!((verdict.score, verdict.latency_ms.infer), (None, None));
    }

    #[test]
    fn the_latencies_of_the_steps_add_up_to_the_total() {
        let latency = decide(None, Ok(1.0)).verdict.latency_ms;
        let steps = [
            latency.capture,
            latency.queue,
            latency.preprocess,
            latency.infer,
        ];
        assert_eq!(steps, [Some(10.0), Some(20.0), Some(10.0), Some(10.0)]);
        assert_eq!(latency.total, 50.0);
    }
}
