//! What goes over the wire: the payloads of the MQTT topics.
//!
//! A verdict travels as a CloudEvents 1.0 event, on MQTT 5 in binary mode (the attributes are
//! user properties, the payload is the data alone) and on MQTT 3.1.1 in structured mode (one JSON
//! object holds both). The state is plain JSON, the status one word. Changes are additive: a
//! subscriber ignores fields that it does not know. The JSON Schemas are in `docs/schema`.

use std::collections::BTreeMap;

#[cfg(test)]
pub(crate) mod schema;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::digest::Digest;
use crate::regions::Region;
use crate::verdict::Verdict;

/// The CloudEvents version in use.
pub const SPEC_VERSION: &str = "1.0";
/// Content type of the payload in binary mode.
pub const BINARY_CONTENT_TYPE: &str = "application/json";
/// Content type of the payload in structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

/// Most characters of a part's id, and of the attribute `subject`.
pub const LONGEST_PART_ID: usize = 1024;

/// Most characters of the recipe that a trigger asks for: no configured name is longer.
pub const LONGEST_RECIPE: usize = 256;

/// Most characters of a name in topics, which also names a folder of evidence: file systems allow
/// 255 bytes.
pub const LONGEST_NAME: usize = 128;

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
    /// Digest of the record of the TensorRT engine that runs it, which has those of its files;
    /// absent without an engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Digest>,
}

/// What a CloudEvents envelope may hold.
pub trait EventData: Serialize {
    /// The CloudEvents type.
    const TYPE: &'static str;
    /// The identifier of the data's published schema.
    const SCHEMA: &'static str;
    /// Returns the part that it is about.
    fn subject(&self) -> Option<&str>;
}

impl EventData for VerdictData {
    const TYPE: &'static str = "flawd.verdict";
    const SCHEMA: &'static str = "urn:flawd:schema:verdict:1";
    fn subject(&self) -> Option<&str> {
        self.part_id.as_deref()
    }
}

impl EventData for RecordData {
    const TYPE: &'static str = "flawd.record";
    const SCHEMA: &'static str = "urn:flawd:schema:record:1";
    fn subject(&self) -> Option<&str> {
        self.verdict.subject()
    }
}

impl EventData for DisagreementData {
    const TYPE: &'static str = "flawd.disagreement";
    const SCHEMA: &'static str = "urn:flawd:schema:disagreement:1";
    fn subject(&self) -> Option<&str> {
        self.part_id.as_deref()
    }
}

/// Something that happened, in its CloudEvents envelope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<D> {
    /// Unique for its source; a repeated message has the id of the first.
    pub id: String,
    /// The origin of the event: a URI reference, the topic root and the camera.
    pub source: String,
    /// When it happened: when the picture was taken, or, without a picture, asked for.
    #[serde(serialize_with = "serialize_microseconds")]
    pub time: Timestamp,
    /// What happened.
    pub data: D,
}

/// An event for MQTT 5: the parts of its PUBLISH packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryMessage {
    /// The packet's content type.
    pub content_type: &'static str,
    /// The packet's user properties, in this order.
    pub user_properties: Vec<(String, String)>,
    /// The packet's payload: the data as JSON.
    pub payload: Vec<u8>,
}

impl<D: EventData> Event<D> {
    /// Returns the event for MQTT 5.
    pub fn to_binary(&self) -> BinaryMessage {
        let mut user_properties = vec![
            ("specversion", SPEC_VERSION.to_owned()),
            ("id", self.id.clone()),
            ("source", self.source.clone()),
            ("type", D::TYPE.to_owned()),
            ("time", microseconds(self.time)),
            ("dataschema", D::SCHEMA.to_owned()),
        ];
        let subject = self.data.subject().map(attribute);
        user_properties.extend(subject.map(|part| ("subject", part)));
        BinaryMessage {
            content_type: BINARY_CONTENT_TYPE,
            user_properties: user_properties
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            payload: to_json(&self.data),
        }
    }

    /// The event for MQTT 3.1.1: one JSON object, envelope and data.
    pub fn to_structured(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a, D> {
            specversion: &'a str,
            id: &'a str,
            source: &'a str,
            r#type: &'a str,
            #[serde(serialize_with = "serialize_microseconds")]
            time: &'a Timestamp,
            #[serde(skip_serializing_if = "Option::is_none")]
            subject: Option<String>,
            datacontenttype: &'a str,
            dataschema: &'a str,
            data: &'a D,
        }
        to_json(&Envelope {
            specversion: SPEC_VERSION,
            id: &self.id,
            source: &self.source,
            r#type: D::TYPE,
            time: &self.time,
            subject: self.data.subject().map(attribute),
            datacontenttype: BINARY_CONTENT_TYPE,
            dataschema: D::SCHEMA,
            data: &self.data,
        })
    }
}

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
    /// Whether today's good parts still score like those of the calibration; absent before the
    /// first.
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftData {
    /// True once the evidence was strong enough; stays true until another model or calibration.
    pub alarm: bool,
    /// Decimal logarithm of the martingale: 2 means that it takes a coincidence of 1 in 100.
    pub martingale_log10: f64,
    /// Parts that were looked at in this epoch.
    pub parts: u64,
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

/// Returns a name from outside in a form that an attribute can hold: with U+FFFD in place of what
/// is [`is_unfit`]. The data keeps the original.
fn attribute(text: &str) -> String {
    let letters = text.chars().take(LONGEST_PART_ID);
    letters
        .map(|letter| {
            if is_unfit(letter) {
                char::REPLACEMENT_CHARACTER
            } else {
                letter
            }
        })
        .collect()
}

/// Returns whether this is a control character or a noncharacter: CloudEvents forbids them, and a
/// broker ends the connection over one in a topic or a property, every time the message is sent
/// again.
pub fn is_unfit(letter: char) -> bool {
    let number = u32::from(letter);
    letter.is_control() || matches!(number, 0xfdd0..=0xfdef) || number & 0xfffe == 0xfffe
}

/// Formats as RFC 3339 in UTC with microseconds: all of one length, so that logs line up and sort.
fn microseconds(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn serialize_microseconds<S: Serializer>(
    time: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&microseconds(*time))
}

fn optional_microseconds<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize_microseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn is_false(flag: &bool) -> bool {
    !*flag
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have string keys and no failing parts")
}
