//! The outcome of inspecting one part.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::calibration::Calibration;

/// The verdict on a part. Every inspected frame gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The anomaly score is not above the threshold.
    Ok,
    /// The anomaly score is above the threshold.
    Ng,
    /// Nothing can be said about the part, for this reason.
    NoDecision(Reason),
}

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The result came after its deadline.
    Late,
    /// The camera gives no frames.
    CameraLost,
    /// The newest frame is too old to show the part.
    FrameStale,
    /// A newer frame took this one's place before it was looked at.
    Overrun,
    /// The inference engine is still being built for this device.
    EngineBuilding,
    /// The model failed, or its score is not a number.
    ModelError,
    /// The picture cannot be judged: unreadable, too dark, too bright, blurred.
    ImageQuality,
    /// No frame fits the trigger.
    TriggerUnmatched,
    /// The daemon is stopping.
    Shutdown,
    /// Inspection is paused by command.
    Paused,
}

impl Reason {
    /// All reasons, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Late,
        Self::CameraLost,
        Self::FrameStale,
        Self::Overrun,
        Self::EngineBuilding,
        Self::ModelError,
        Self::ImageQuality,
        Self::TriggerUnmatched,
        Self::Shutdown,
        Self::Paused,
    ];

    /// Returns the name used in messages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::CameraLost => "camera_lost",
            Self::FrameStale => "frame_stale",
            Self::Overrun => "overrun",
            Self::EngineBuilding => "engine_building",
            Self::ModelError => "model_error",
            Self::ImageQuality => "image_quality",
            Self::TriggerUnmatched => "trigger_unmatched",
            Self::Shutdown => "shutdown",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Verdict {
    /// Returns the verdict on a part with this anomaly score.
    pub fn from_score(score: f32, calibration: &Calibration) -> Self {
        if calibration.is_anomalous(score) {
            Self::Ng
        } else {
            Self::Ok
        }
    }

    /// Returns `ok`, `ng` or `no_decision`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Ng => "ng",
            Self::NoDecision(_) => "no_decision",
        }
    }

    /// Returns why there is no decision, if there is none.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::NoDecision(reason) => Some(reason),
            Self::Ok | Self::Ng => None,
        }
    }
}

/// Writes `ok`, `ng` or `no_decision: <reason>`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok | Self::Ng => f.pad(self.as_str()),
            Self::NoDecision(reason) => f.pad(&format!("no_decision: {reason}")),
        }
    }
}

/// The verdict as two fields of a message: `verdict`, and `reason` if there is no decision.
#[derive(Serialize, Deserialize)]
struct Fields {
    verdict: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ok,
    Ng,
    NoDecision,
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (verdict, reason) = match self {
            Self::Ok => (Outcome::Ok, None),
            Self::Ng => (Outcome::Ng, None),
            Self::NoDecision(reason) => (Outcome::NoDecision, Some(*reason)),
        };
        Fields { verdict, reason }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { verdict, reason } = Fields::deserialize(deserializer)?;
        match (verdict, reason) {
            (Outcome::Ok, None) => Ok(Self::Ok),
            (Outcome::Ng, None) => Ok(Self::Ng),
            (Outcome::NoDecision, Some(reason)) => Ok(Self::NoDecision(reason)),
            (Outcome::NoDecision, None) => Err(serde::de::Error::missing_field("reason")),
            (Outcome::Ok | Outcome::Ng, Some(_)) => {
                Err(serde::de::Error::custom("only `no_decision` has a reason"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_two_fields_in_json_and_reads_back() {
        let cases = [
            (Verdict::Ok, r#"{"verdict":"ok"}"#.to_owned()),
            (Verdict::Ng, r#"{"verdict":"ng"}"#.to_owned()),
        ];
        let undecided = Reason::ALL.map(|reason| {
            let json = format!(r#"{{"verdict":"no_decision","reason":"{reason}"}}"#);
            (Verdict::NoDecision(reason), json)
        });
        for (verdict, json) in cases.into_iter().chain(undecided) {
            assert_eq!(
                serde_json::to_string(&verdict).expect("it serialises"),
                json
            );
            let read: Verdict = serde_json::from_str(&json).expect("it reads back");
            assert_eq!(read, verdict);
        }
    }

    #[test]
    fn a_reason_belongs_to_no_decision_and_to_nothing_else() {
        for wrong in [
            r#"{"verdict":"no_decision"}"#,
            r#"{"verdict":"ok","reason":"late"}"#,
        ] {
            assert!(serde_json::from_str::<Verdict>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_score_above_the_threshold_is_a_defect() {
        let calibration =
            Calibration::from_scores(vec![1.0, 2.0, 3.0], 0.25).expect("three are enough");
        assert_eq!(Verdict::from_score(3.0, &calibration), Verdict::Ok);
        assert_eq!(Verdict::from_score(3.1, &calibration), Verdict::Ng);
    }
}
