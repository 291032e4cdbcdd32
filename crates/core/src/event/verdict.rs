//! What is said about one part: its verdict, the record of it, and a disagreement of two models.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::optional_microseconds;
use crate::digest::Digest;
use crate::regions::Region;
use crate::verdict::Verdict;

/// The outcome of one inspection, as a subscriber sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictData {
    /// Name of the camera, as in the topic.
    pub camera: String,
    /// Counts the verdicts of this camera, without a gap.
    pub seq: u64,
    /// `verdict`, and `reason` if it is `no_decision`.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// More about a reason, human-readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The part: the trigger's id, or the file name if the source is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_id: Option<String>,
    /// The recipe that the trigger asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// When the trigger arrived, if any.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_microseconds"
    )]
    pub triggered_at: Option<Timestamp>,
    /// From the moment that the trigger asked for until the picture was taken; negative if the
    /// picture is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_offset_ms: Option<f64>,
    /// The moment after which the verdict is worthless, if any.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_microseconds"
    )]
    pub deadline: Option<Timestamp>,
    /// The time left until the deadline when the verdict was reached; negative if it was late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<f64>,
    /// When the picture was taken, if there is one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_microseconds"
    )]
    pub captured_at: Option<Timestamp>,
    /// Anomaly score, if the model gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// A score above this is a defect; absent while no model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// How unusual the score is among good parts, 0 to 1; small is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// The time spent in each stage.
    pub latency_ms: LatencyMs,
    /// What judged the part, or would have; absent while no model is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelData>,
    /// Where the part is unusual, the worst place first; only if the verdict is not `ok`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// The picture that was kept, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceData>,
}

impl VerdictData {
    /// Creates a verdict about which nothing else is known: no number yet, no trigger, no score, no
    /// model.
    pub fn new(camera: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            camera: camera.into(),
            seq: 0,
            verdict,
            detail: None,
            part_id: None,
            recipe: None,
            triggered_at: None,
            match_offset_ms: None,
            deadline: None,
            remaining_ms: None,
            captured_at: None,
            score: None,
            threshold: None,
            p_value: None,
            latency_ms: LatencyMs::default(),
            model: None,
            regions: Vec::new(),
            evidence: None,
        }
    }
}

/// Where the picture of a part is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceData {
    /// Its file, relative to the station's evidence folder.
    pub path: String,
    /// SHA-256 of its pixels, 8-bit RGB, row by row: it tells whether the file shows what was
    /// judged, however it is encoded.
    pub sha256: Digest,
}

/// A verdict as it is journalled and sent until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordData {
    /// What was sent in real time.
    #[serde(flatten)]
    pub verdict: VerdictData,
    /// True if this is sent long after the verdict, for example after an outage.
    pub historical: bool,
}

/// Two models that disagree about one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisagreementData {
    /// Name of the camera, as in the topic.
    pub camera: String,
    /// The number of the verdict that counts.
    pub seq: u64,
    /// The part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_id: Option<String>,
    /// The opinion of the model in use.
    pub live: Opinion,
    /// The opinion of the shadow model.
    pub shadow: Opinion,
    /// The picture that was kept, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceData>,
    /// True if this is sent long after the verdict.
    pub historical: bool,
}

/// What one model says about a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// `verdict`, and `reason` if it is `no_decision`.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Anomaly score.
    pub score: f32,
    /// A score above this is a defect.
    pub threshold: f32,
    /// Which model.
    pub model: ModelData,
}

/// Durations in milliseconds; a stage that the part did not reach is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// From the picture being taken until it was decoded and at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<f64>,
    /// Waiting for a stage to be free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
    /// Cutting out, turning and resizing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<f64>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infer: Option<f64>,
    /// From the picture being taken, or the request for it, until the verdict.
    pub total: f64,
}

/// Which model judges, and on what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelData {
    /// Name of the bundle.
    pub name: String,
    /// Version of the bundle.
    pub version: String,
    /// Digest of its `model.onnx`.
    pub digest: Digest,
    /// The execution provider in use, for example `cpu`.
    pub provider: String,
    /// Digest of the record of the engine that runs it, which has those of its files;
    /// absent without an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Digest>,
}
