//! What a station says about itself: whether it is there, its state, and its heartbeat.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::{is_false, is_zero, serialize_microseconds, to_json};
use super::verdict::ModelData;
use crate::condition::{Cause, Quantity};
use crate::drift::Finding;

/// The retained payload of the topic `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Connected and running.
    Online,
    /// Ended on purpose.
    Stopped,
    /// Gone without a DISCONNECT: the last will.
    Offline,
}

impl Status {
    /// The payload.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Stopped => "stopped",
            Self::Offline => "offline",
        }
    }
}

/// The retained payload of the topic `state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// True if parts are being judged.
    pub ready: bool,
    /// Why not, human-readable, if `ready` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The phase of the daemon's life.
    pub state: Phase,
    /// Version of flawd.
    pub version: String,
    /// The model in use, once it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelData>,
    /// True if the system clock is synchronised; absent if that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// What happened to each camera's parts since the daemon started, by the camera's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cameras: BTreeMap<String, CameraState>,
    /// Commands that were refused since the daemon started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commands_refused: u64,
    /// The journal of verdicts, once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsState>,
    /// The pictures that were kept, if any are to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceState>,
    /// When this was published.
    #[serde(serialize_with = "serialize_microseconds")]
    pub time: Timestamp,
}

/// Counts of one camera since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraState {
    /// Frames that the camera gave.
    pub captured: u64,
    /// Frames that a newer one replaced before they were looked at.
    pub overrun: u64,
    /// Frames that the camera took and its driver did not deliver.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// Frames that nothing asked for: no trigger, no model yet, or inspection paused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unused: u64,
    /// Verdicts `ok`.
    pub ok: u64,
    /// Verdicts `ng`.
    pub ng: u64,
    /// Verdicts `no_decision`.
    pub no_decision: u64,
    /// The model that judges this camera's parts, once it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelData>,
    /// Triggers that were accepted: each gets exactly one verdict.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub triggers_accepted: u64,
    /// Triggers that were refused and get no verdict, whatever the reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub triggers_refused: u64,
    /// True if inspection is paused by command.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// Whether today's parts still are like those of the calibration; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftData>,
    /// The results of the shadow model, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowState>,
    /// Verdicts that the broker is not known to have received; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
}

/// Evidence against "the good parts are still those of the calibration".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftData {
    /// True once the evidence was strong enough, of the scores or of the pictures; stays true until
    /// another model or calibration.
    pub alarm: bool,
    /// Decimal logarithm of the martingale: 2 means that it takes a coincidence of 1 in 100.
    pub martingale_log10: f64,
    /// Parts that were looked at in this epoch.
    pub parts: u64,
    /// How the pictures have changed, the strongest evidence first; absent as long as they have
    /// not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<DriftCause>,
}

/// A change of the pictures, with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftCause {
    /// What has happened.
    pub cause: Cause,
    /// The quantity that shows it.
    pub quantity: Quantity,
    /// Its median over the last parts, in its unit.
    pub now: f32,
    /// Its median over the pictures of the calibration.
    pub usual: f32,
    /// 5 % of those pictures are below this.
    pub low: f32,
    /// 5 % of those pictures are above this.
    pub high: f32,
    /// All of this, human-readable.
    pub detail: String,
}

impl From<Finding> for DriftCause {
    fn from(finding: Finding) -> Self {
        Self {
            cause: finding.cause(),
            quantity: finding.quantity,
            now: finding.now,
            usual: finding.usual,
            low: finding.low,
            high: finding.high,
            detail: finding.to_string(),
        }
    }
}

/// How often the shadow model agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowState {
    /// Parts on which both agree.
    pub agreed: u64,
    /// Parts on which they do not.
    pub disagreed: u64,
    /// Parts that the shadow model had no time for.
    pub skipped: u64,
}

/// The journal of verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsState {
    /// Records that the broker has not acknowledged yet.
    pub pending: u64,
    /// Space that the journal takes on the disk, in bytes.
    pub bytes: u64,
    /// Records that were deleted unsent since the daemon started, because the journal was full.
    pub dropped: u64,
    /// Verdicts that could not be written since the daemon started.
    pub unwritten: u64,
    /// Records that were given up since the daemon started, because the broker accepts others but
    /// not these.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_aside: u64,
    /// Why the broker refuses records, while it does so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why the journal cannot be written, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// The pictures that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceState {
    /// Number of files.
    pub files: u64,
    /// Space that they take, in bytes.
    pub bytes: u64,
    /// Pictures that should have been kept and were not, since the daemon started.
    pub dropped: u64,
    /// Why none are kept, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
}

/// Verdicts that the broker has not acknowledged, and that are not sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// Their number, since the daemon started.
    pub count: u64,
    /// The latest run of them.
    pub latest: Gap,
}

/// A run of undelivered verdicts, for example those of one outage of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Their number.
    pub count: u64,
    /// The first one.
    pub first_seq: u64,
    /// The last one; some between may have been delivered.
    pub last_seq: u64,
}

/// The payload of the topic `heartbeat`: inspection continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last verdict of each camera that has had one, by the camera's name.
    pub cameras: BTreeMap<String, Beat>,
    /// When this was published.
    #[serde(serialize_with = "serialize_microseconds")]
    pub time: Timestamp,
}

/// A camera's last verdict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Its number.
    pub seq: u64,
    /// Its age in milliseconds.
    pub age_ms: f64,
}

impl Heartbeat {
    /// The payload.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// The states of a vision system, by the names of OPC 40100-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Started, nothing loaded.
    Preoperational,
    /// Configuration and model are loaded; no frame has come yet.
    Initialized,
    /// Waits for triggers.
    Ready,
    /// Works on one trigger.
    SingleExecution,
    /// Judges every part.
    ContinuousExecution,
    /// Cannot work until something is repaired.
    Error,
    /// Stopping or stopped.
    Halted,
}

impl State {
    /// The payload.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}
