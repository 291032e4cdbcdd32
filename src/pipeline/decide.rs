//! The last step of the data path: from a score to a verdict. Pure arithmetic.

use std::time::{Duration, Instant};

use flawd_core::{
    calibration::Calibration,
    event::{LatencyMs, ModelData, VerdictData},
    verdict::{Reason, Verdict},
};
use flawd_onnx::Prediction;

use super::frame::{Flaw, Inspection, Ticket};

/// By what every part is judged.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The threshold and what it promises.
    pub calibration: Calibration,
    /// What judges.
    pub model: ModelData,
}

/// What differs from camera to camera.
#[derive(Clone, Debug)]
pub(super) struct CameraRules {
    /// The camera's name.
    pub(super) name: String,
    /// How old a frame may be when its verdict is reached.
    pub(super) deadline: Option<Duration>,
}

/// What inference made of a frame.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The model's answer, or why there is none.
    pub(super) prediction: Result<Prediction, Flaw>,
    /// When inference began.
    pub(super) begun: Instant,
    /// When inference ended; this is when the verdict is reached.
    pub(super) finished: Instant,
}

impl Judge {
    /// The one verdict on a frame. A result after its deadline keeps its score, but decides
    /// nothing: the actuator has let the part pass or fail by its own rule already.
    pub(super) fn decide(
        &self,
        rules: &CameraRules,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Inspection {
        let captured = ticket.captured;
        let deadline = rules.deadline.map(|age| captured.monotonic + age);
        let remaining_ms = deadline.map(|deadline| {
            milliseconds(outcome.finished, deadline) - milliseconds(deadline, outcome.finished)
        });
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
            Err(flaw) => (Verdict::NoDecision(flaw.reason), Some(flaw.detail), None),
        };
        let score = prediction.as_ref().map(|prediction| prediction.score);
        Inspection {
            camera: ticket.camera,
            captured,
            deadline,
            anomaly_map: prediction.map(|prediction| prediction.anomaly_map),
            verdict: VerdictData {
                camera: rules.name.clone(),
                seq: ticket.seq,
                verdict,
                detail,
                part_id: ticket.part.as_deref().map(str::to_owned),
                deadline: rules.deadline.map(|age| captured.wall + age),
                remaining_ms,
                captured_at: Some(captured.wall),
                score,
                threshold: Some(self.calibration.threshold()),
                p_value: score.map(|score| self.calibration.p_value(score)),
                latency_ms,
                model: Some(self.model.clone()),
                recipe: None,
                triggered_at: None,
                match_offset_ms: None,
                evidence: None,
            },
        }
    }
}

/// Where the time went.
fn latency(ticket: &Ticket, outcome: &Outcome) -> LatencyMs {
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

/// From one moment to a later one; 0 if it is an earlier one.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use flawd_core::{anomaly::AnomalyMap, digest::Digest, image::Size};

    use super::*;
    use crate::pipeline::frame::Moment;

    fn judge() -> Judge {
        Judge {
            calibration: Calibration::from_scores(vec![1.0, 2.0, 3.0], 0.25).unwrap(),
            model: ModelData {
                name: "flange".to_owned(),
                version: "1.0.0".to_owned(),
                digest: Digest::new([0; 32]),
                provider: "cpu".to_owned(),
            },
        }
    }

    /// A frame that took 10 ms for each of: capture, waiting, preprocessing, waiting, inference.
    fn decide(deadline: Option<Duration>, prediction: Result<f32, Flaw>) -> Inspection {
        let captured = Moment::now();
        let after = |ms| captured.monotonic + Duration::from_millis(ms);
        let rules = CameraRules {
            name: "top".to_owned(),
            deadline,
        };
        let ticket = Ticket {
            camera: 0,
            seq: 7,
            part: None,
            captured,
            at_hand: after(10),
            begun: after(20),
            finished: after(30),
        };
        let outcome = Outcome {
            prediction: prediction.map(|score| Prediction {
                score,
                anomaly_map: AnomalyMap::new(Size::new(1, 1), vec![score]).unwrap(),
            }),
            begun: after(40),
            finished: after(50),
        };
        judge().decide(&rules, ticket, outcome)
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
        let flaw = Flaw {
            reason: Reason::ImageQuality,
            detail: "cut short".to_owned(),
        };
        let verdict = decide(None, Err(flaw)).verdict;
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
