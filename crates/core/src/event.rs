//! What goes over the wire: the payloads of the MQTT topics.
//!
//! A verdict travels as a CloudEvents 1.0 event, on MQTT 5 in binary mode (the attributes are
//! user properties, the payload is the data alone) and on MQTT 3.1.1 in structured mode (one JSON
//! object holds both). The state is plain JSON, the status one word. Changes are additive: a
//! subscriber ignores fields that it does not know. The JSON Schemas are in `docs/schema`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::digest::Digest;
use crate::verdict::Verdict;

/// The CloudEvents version that is spoken.
pub const SPEC_VERSION: &str = "1.0";
/// The CloudEvents type of a verdict.
pub const VERDICT_TYPE: &str = "flawd.verdict";
/// The identifier of `docs/schema/verdict.schema.json`.
pub const VERDICT_SCHEMA: &str = "urn:flawd:schema:verdict:1";
/// Content type of the payload in binary mode.
pub const BINARY_CONTENT_TYPE: &str = "application/json";
/// Content type of the payload in structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

/// The outcome of one inspection, as a subscriber sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictData {
    /// Name of the camera, as in the topic.
    pub camera: String,
    /// Counts the verdicts of this camera, without a gap.
    pub seq: u64,
    /// `verdict`, and `reason` where it is `no_decision`.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// More about a reason, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The part: the trigger's id, or the file name where the source is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_id: Option<String>,
    /// The moment after which nobody wants to know any more, where there is one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_microseconds"
    )]
    pub deadline: Option<Timestamp>,
    /// What was left until the deadline when the verdict was reached; negative if it was late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<f64>,
    /// When the picture was taken, where there is one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_microseconds"
    )]
    pub captured_at: Option<Timestamp>,
    /// Anomaly score, where the model gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// A score above this is a defect.
    pub threshold: f32,
    /// How unusual the score is among good parts, 0 to 1; small is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Where the time went.
    pub latency_ms: LatencyMs,
    /// What judged the part.
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
}

/// A verdict in its CloudEvents envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictEvent {
    /// Unique for its source; a repeated message has the id of the first.
    pub id: String,
    /// Who says so: a URI reference, the topic root and the camera.
    pub source: String,
    /// When it happened: the picture was taken, or was asked for where there is none.
    pub time: Timestamp,
    /// What happened.
    pub data: VerdictData,
}

/// An event for MQTT 5: what goes into which part of the PUBLISH packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryMessage {
    /// The packet's content type.
    pub content_type: &'static str,
    /// The packet's user properties, in this order.
    pub user_properties: Vec<(String, String)>,
    /// The packet's payload: the data as JSON.
    pub payload: Vec<u8>,
}

impl VerdictEvent {
    /// The event for MQTT 5.
    pub fn to_binary(&self) -> BinaryMessage {
        let mut user_properties = vec![
            ("specversion", SPEC_VERSION.to_owned()),
            ("id", self.id.clone()),
            ("source", self.source.clone()),
            ("type", VERDICT_TYPE.to_owned()),
            ("time", microseconds(self.time)),
            ("dataschema", VERDICT_SCHEMA.to_owned()),
        ];
        user_properties.extend(self.data.part_id.clone().map(|part| ("subject", part)));
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
        struct Envelope<'a> {
            specversion: &'a str,
            id: &'a str,
            source: &'a str,
            r#type: &'a str,
            #[serde(serialize_with = "serialize_microseconds")]
            time: &'a Timestamp,
            #[serde(skip_serializing_if = "Option::is_none")]
            subject: Option<&'a str>,
            datacontenttype: &'a str,
            dataschema: &'a str,
            data: &'a VerdictData,
        }
        to_json(&Envelope {
            specversion: SPEC_VERSION,
            id: &self.id,
            source: &self.source,
            r#type: VERDICT_TYPE,
            time: &self.time,
            subject: self.data.part_id.as_deref(),
            datacontenttype: BINARY_CONTENT_TYPE,
            dataschema: VERDICT_SCHEMA,
            data: &self.data,
        })
    }
}

/// The retained word on the topic `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Connected and running.
    Online,
    /// Ended on purpose.
    Stopped,
    /// Gone without a word: the last will.
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
    /// Why not, for people, where `ready` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the daemon is in its life.
    pub state: Phase,
    /// Version of flawd.
    pub version: String,
    /// The model in use, once it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelData>,
    /// True if the system clock is synchronised; absent where that cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// What happened to each camera's parts since the daemon started, by the camera's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cameras: BTreeMap<String, CameraState>,
    /// When this was said.
    #[serde(serialize_with = "serialize_microseconds")]
    pub time: Timestamp,
}

/// Counts of one camera since the daemon started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraState {
    /// Frames that the camera gave.
    pub captured: u64,
    /// Frames that a newer one replaced before they were looked at.
    pub overrun: u64,
    /// Verdicts `ok`.
    pub ok: u64,
    /// Verdicts `ng`.
    pub ng: u64,
    /// Verdicts `no_decision`.
    pub no_decision: u64,
    /// Verdicts that the broker is not known to have taken; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
}

/// Verdicts that the broker has not acknowledged, and that are not sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// How many, since the daemon started.
    pub count: u64,
    /// The latest row of them.
    pub latest: Gap,
}

/// A row of undelivered verdicts, for example those of one outage of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many.
    pub count: u64,
    /// The first one.
    pub first_seq: u64,
    /// The last one; some between may have been delivered.
    pub last_seq: u64,
}

/// The payload of the topic `heartbeat`: inspection goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last verdict of each camera that has had one, by the camera's name.
    pub cameras: BTreeMap<String, Beat>,
    /// When this was said.
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
    /// Configuration and model are loaded; the first frame has not come.
    Initialized,
    /// Waits for triggers.
    Ready,
    /// Works on one trigger.
    SingleExecution,
    /// Judges every part that comes.
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

/// RFC 3339 in UTC with microseconds: one length for all, so that logs line up and sort.
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

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have string keys and no failing parts")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::verdict::Reason;

    fn event(verdict: Verdict) -> VerdictEvent {
        let time = "2026-03-01T12:00:00.25Z".parse().expect("a time");
        let judged = verdict.reason().is_none();
        VerdictEvent {
            id: "0b5c-17".to_owned(),
            source: "flawd/line-1/top".to_owned(),
            time,
            data: VerdictData {
                camera: "top".to_owned(),
                seq: 17,
                verdict,
                detail: (!judged).then(|| "the picture is black".to_owned()),
                part_id: judged.then(|| "part-0042.png".to_owned()),
                deadline: judged.then_some(time),
                remaining_ms: judged.then_some(-2.5),
                captured_at: judged.then_some(time),
                score: judged.then_some(1.25),
                threshold: 0.8,
                p_value: judged.then_some(0.01),
                latency_ms: LatencyMs {
                    infer: judged.then_some(41.5),
                    total: 60.0,
                    ..LatencyMs::default()
                },
                model: model(),
            },
        }
    }

    fn model() -> ModelData {
        ModelData {
            name: "flange".to_owned(),
            version: "1.0.0".to_owned(),
            digest: Digest::new([0xab; 32]),
            provider: "cpu".to_owned(),
        }
    }

    fn verdicts() -> Vec<Verdict> {
        let undecided = Reason::ALL.map(Verdict::NoDecision);
        [Verdict::Ok, Verdict::Ng]
            .into_iter()
            .chain(undecided)
            .collect()
    }

    #[test]
    fn a_verdict_reads_back_from_its_payload() {
        for verdict in verdicts() {
            let event = event(verdict);
            let read: VerdictData =
                serde_json::from_slice(&event.to_binary().payload).expect("it reads back");
            assert_eq!(read, event.data);
        }
    }

    #[test]
    fn both_modes_carry_the_same_attributes_and_data() {
        for verdict in [Verdict::Ng, Verdict::NoDecision(Reason::ImageQuality)] {
            let event = event(verdict);
            let binary = event.to_binary();
            let mut structured: Value =
                serde_json::from_slice(&event.to_structured()).expect("JSON");
            let structured = structured.as_object_mut().expect("an object");

            let data: Value = serde_json::from_slice(&binary.payload).expect("JSON");
            assert_eq!(structured.remove("data"), Some(data));
            assert_eq!(
                structured.remove("datacontenttype"),
                Some(binary.content_type.into())
            );
            for (name, value) in &binary.user_properties {
                assert_eq!(
                    structured.remove(name),
                    Some(value.as_str().into()),
                    "{name}"
                );
            }
            assert!(structured.is_empty(), "{structured:?}");
        }
    }

    #[test]
    fn times_are_utc_with_microseconds() {
        let payload = event(Verdict::Ok).to_binary().payload;
        let data: Value = serde_json::from_slice(&payload).expect("JSON");
        assert_eq!(data["captured_at"], "2026-03-01T12:00:00.250000Z");
    }

    #[test]
    fn every_verdict_fits_the_published_schema() {
        let schema = Schema::open(include_str!("../../../docs/schema/verdict.schema.json"));
        assert_eq!(schema.id(), VERDICT_SCHEMA);
        for verdict in verdicts() {
            schema.accepts(&event(verdict).to_binary().payload);
        }
        let ok = event(Verdict::Ok).to_binary().payload;
        schema.refuses(&ok, "seq", Value::Null);
        schema.refuses(&ok, "verdict", "maybe".into());
        schema.refuses(&ok, "reason", "late".into());
        schema.refuses(&ok, "score", Value::Null);
        let undecided = event(Verdict::NoDecision(Reason::Late)).to_binary().payload;
        schema.refuses(&undecided, "reason", Value::Null);
        schema.refuses(&undecided, "reason", "tired".into());
    }

    #[test]
    fn every_state_fits_the_published_schema() {
        let schema = Schema::open(include_str!("../../../docs/schema/state.schema.json"));
        let camera = CameraState {
            captured: 12,
            undelivered: Some(Undelivered {
                count: 5,
                latest: Gap {
                    count: 3,
                    first_seq: 8,
                    last_seq: 11,
                },
            }),
            ..CameraState::default()
        };
        let ready = State {
            ready: true,
            reason: None,
            state: Phase::ContinuousExecution,
            version: "0.1.0".to_owned(),
            model: Some(model()),
            clock_synchronised: Some(true),
            cameras: BTreeMap::from([("top".to_owned(), camera)]),
            time: Timestamp::UNIX_EPOCH,
        };
        schema.accepts(&ready.to_json());
        let starting = State {
            ready: false,
            reason: Some("the model is loading".to_owned()),
            state: Phase::Preoperational,
            model: None,
            clock_synchronised: None,
            cameras: BTreeMap::new(),
            ..ready.clone()
        };
        schema.accepts(&starting.to_json());
        schema.refuses(&starting.to_json(), "reason", Value::Null);
        schema.refuses(&ready.to_json(), "state", "asleep".into());
    }

    #[test]
    fn every_heartbeat_fits_the_published_schema() {
        let schema = Schema::open(include_str!("../../../docs/schema/heartbeat.schema.json"));
        let beat = Beat {
            seq: 17,
            age_ms: 0.5,
        };
        let heartbeat = Heartbeat {
            cameras: BTreeMap::from([("top".to_owned(), beat)]),
            time: Timestamp::UNIX_EPOCH,
        };
        schema.accepts(&heartbeat.to_json());
        schema.refuses(&heartbeat.to_json(), "time", Value::Null);
    }

    /// A published schema and what it says about payloads.
    struct Schema(Value);

    impl Schema {
        fn open(text: &str) -> Self {
            Self(serde_json::from_str(text).expect("the schema is JSON"))
        }

        fn id(&self) -> &str {
            self.0["$id"].as_str().expect("it has an id")
        }

        fn accepts(&self, payload: &[u8]) {
            let payload = serde_json::from_slice(payload).expect("JSON");
            if let Err(complaint) = check(&self.0, &payload) {
                panic!("{complaint} in {payload}");
            }
        }

        /// Refuses the payload once `field` is `value`; null takes the field away.
        fn refuses(&self, payload: &[u8], field: &str, value: Value) {
            let mut payload: Value = serde_json::from_slice(payload).expect("JSON");
            let fields = payload.as_object_mut().expect("an object");
            if value.is_null() {
                assert!(fields.remove(field).is_some(), "{field} is not there");
            } else {
                fields.insert(field.to_owned(), value);
            }
            assert!(check(&self.0, &payload).is_err(), "{field}: {payload}");
        }
    }

    /// As much of JSON Schema 2020-12 as the published schemas use; another keyword is a panic,
    /// so that none goes unchecked. A whole validator would take longer to build than all of
    /// this crate.
    fn check(schema: &Value, value: &Value) -> Result<(), String> {
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => return Err("not allowed here".to_owned()),
            other => other
                .as_object()
                .expect("a schema is an object or a boolean"),
        };
        let members = |schema: &Value| schema.as_object().expect("an object").clone();
        for (keyword, argument) in keywords {
            let holds = match keyword.as_str() {
                "$schema" | "$id" | "title" | "description" | "format" | "then" | "else" => true,
                "type" => match argument.as_str().expect("one type") {
                    "object" => value.is_object(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    other => panic!("type {other}"),
                },
                "enum" => argument.as_array().expect("a list").contains(value),
                "const" => argument == value,
                "minLength" => {
                    value.as_str().map(str::len) >= argument.as_u64().map(|n| n as usize)
                }
                "pattern" => match argument.as_str().expect("a string") {
                    "Z$" => value.as_str().is_some_and(|text| text.ends_with('Z')),
                    "^sha256:[0-9a-f]{64}$" => value
                        .as_str()
                        .is_some_and(|text| text.parse::<Digest>().is_ok()),
                    other => panic!("pattern {other}"),
                },
                "minimum" => value.as_f64() >= argument.as_f64(),
                "maximum" => value.as_f64() <= argument.as_f64(),
                "exclusiveMinimum" => value.as_f64() > argument.as_f64(),
                "required" => {
                    let names = argument.as_array().expect("a list");
                    names
                        .iter()
                        .all(|name| value.get(name.as_str().expect("a name")).is_some())
                }
                "properties" => {
                    for (name, schema) in members(argument) {
                        if let Some(value) = value.get(&name) {
                            check(&schema, value).map_err(|why| format!("{name}: {why}"))?;
                        }
                    }
                    true
                }
                // Only beside no `properties`, so it is about every member.
                "additionalProperties" => {
                    for (name, value) in members(value) {
                        check(argument, &value).map_err(|why| format!("{name}: {why}"))?;
                    }
                    true
                }
                "if" => {
                    let branch = if check(argument, value).is_ok() {
                        "then"
                    } else {
                        "else"
                    };
                    check(&keywords[branch], value)?;
                    true
                }
                other => panic!("keyword {other}"),
            };
            if !holds {
                return Err(format!("{keyword} {argument} does not hold for {value}"));
            }
        }
        Ok(())
    }
}
