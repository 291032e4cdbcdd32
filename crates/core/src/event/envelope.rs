//! The CloudEvents envelope, in the two forms that MQTT carries.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::{microseconds, serialize_microseconds, to_json};
use super::verdict::{DisagreementData, RecordData, VerdictData};
use super::{LONGEST_PART_ID, is_unfit};

/// The CloudEvents version in use.
pub const SPEC_VERSION: &str = "1.0";
/// Content type of the payload in binary mode.
pub const BINARY_CONTENT_TYPE: &str = "application/json";
/// Content type of the payload in structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

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
