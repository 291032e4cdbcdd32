//! From events to published messages: topics, payloads, quality of service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flawd_core::event::{Event, EventData, Heartbeat, State, Status};
use flawd_core::verdict::{Reason, Verdict};

use super::connection::Message;
use super::{CommandAnswer, Recorded};
use crate::line::config::MqttVersion;
use crate::line::pipeline::part::reply::Reply;
use crate::line::pipeline::part::stored::Stored;

/// Writes the messages of one daemon.
#[derive(Debug)]
pub(crate) struct Writer {
    root: Arc<str>,
    version: MqttVersion,
    /// How long a verdict without a deadline is useful.
    expiry: Duration,
}

/// The messages about one verdict.
#[derive(Debug)]
pub(crate) struct VerdictMessages {
    pub(crate) actuator: Option<Message>,
    pub(crate) everyone: Message,
    pub(crate) asker: Option<Message>,
}

impl Writer {
    /// Creates a writer for topics under `root`.
    pub(crate) fn new(root: &str, version: MqttVersion, expiry: Duration) -> Self {
        Self {
            root: root.into(),
            version,
            expiry,
        }
    }

    /// Returns the topic of the last will.
    pub(crate) fn status_topic(&self) -> String {
        format!("{}/status", self.root)
    }

    /// Creates the retained message on whether the daemon is online.
    pub(crate) fn status(&self, status: Status) -> Message {
        Message {
            retained: true,
            content_type: Some("text/plain"),
            ..self.plain("status", status.as_str().into())
        }
    }

    /// Creates the retained state.
    pub(crate) fn state(&self, state: &State) -> Message {
        Message {
            retained: true,
            ..self.plain("state", state.to_json())
        }
    }

    /// Creates the sign that inspection continues.
    pub(crate) fn heartbeat(&self, heartbeat: &Heartbeat) -> Message {
        Message {
            acknowledged: false,
            ..self.plain("heartbeat", heartbeat.to_json())
        }
    }

    /// Creates the answers to a command: the public one, and the requester's.
    pub(crate) fn answer(&self, answer: CommandAnswer) -> (Option<Message>, Option<Message>) {
        let message = self.plain(answer.topic.unwrap_or_default(), answer.payload);
        let asker = answer.reply.map(|reply| to_asker(&message, reply));
        (answer.topic.map(|_| message), asker)
    }

    /// Returns the moment from which a verdict is not worth publishing.
    pub(crate) fn expires(&self, recorded: &Recorded, received: Instant) -> Instant {
        match (recorded.deadline, recorded.event.data.verdict) {
            // Subscribers that count verdicts must still be told that a part has none.
            (None, Verdict::NoDecision(_)) | (_, Verdict::NoDecision(Reason::Late)) => {
                received + self.expiry
            }
            (None, _) => recorded.time + self.expiry,
            (Some(deadline), _) => deadline,
        }
    }

    /// Creates the messages about a verdict that is useful for `left`, in the order of sending: to
    /// the actuator for defects, to all subscribers, and last to the requester, on a topic that the
    /// broker may reject.
    pub(crate) fn verdict(&self, recorded: Recorded, left: Duration) -> VerdictMessages {
        let data = &recorded.event.data;
        let everyone = Message {
            expiry: Some(left),
            ..self.event(
                format!("{}/{}/verdict", self.root, data.camera),
                &recorded.event,
            )
        };
        VerdictMessages {
            actuator: (data.verdict == Verdict::Ng).then(|| Message {
                topic: format!("{}/{}/defect", self.root, data.camera),
                ..everyone.clone()
            }),
            asker: recorded.reply.map(|reply| to_asker(&everyone, reply)),
            everyone,
        }
    }

    /// Creates the message for a journal entry; `is_old` if it was written long ago.
    pub(crate) fn stored(&self, stored: Stored, is_old: bool) -> Message {
        match stored {
            Stored::Verdict(event) => {
                let topic = format!("{}/{}/record", self.root, event.data.camera);
                self.event(topic, &Stored::record(*event, is_old))
            }
            Stored::Disagreement(mut event) => {
                event.data.historical = is_old;
                let topic = format!("{}/{}/disagreement", self.root, event.data.camera);
                self.event(topic, &event)
            }
        }
    }

    /// Creates a JSON message at QoS 1 that is not retained.
    fn plain(&self, topic: &str, payload: Vec<u8>) -> Message {
        Message {
            topic: format!("{}/{topic}", self.root),
            payload,
            acknowledged: true,
            retained: false,
            content_type: Some("application/json"),
            expiry: None,
            correlation: None,
            user_properties: Vec::new(),
        }
    }

    fn event<D: EventData>(&self, topic: String, event: &Event<D>) -> Message {
        let (payload, content_type, user_properties) = match self.version {
            MqttVersion::V3 => (event.to_structured(), None, Vec::new()),
            MqttVersion::V5 => {
                let binary = event.to_binary();
                let content_type = Some(binary.content_type);
                (binary.payload, content_type, binary.user_properties)
            }
        };
        Message {
            topic,
            content_type,
            user_properties,
            ..self.plain("", payload)
        }
    }
}

/// Creates the same message for the requester.
fn to_asker(message: &Message, reply: Reply) -> Message {
    Message {
        topic: reply.topic,
        correlation: reply.correlation,
        ..message.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Collects every property that a schema names, at any depth.
    fn properties(schema: &Value, names: &mut Vec<String>) {
        match schema {
            Value::Object(members) => {
                for (key, value) in members {
                    if key == "properties" {
                        names.extend(value.as_object().unwrap().keys().cloned());
                    }
                    properties(value, names);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
            _ => {}
        }
    }

    #[test]
    fn every_field_of_every_payload_is_documented() {
        let documentation = include_str!("../../../../docs/mqtt.md");
        for schema in [
            include_str!("../../../../docs/schema/verdict.schema.json"),
            include_str!("../../../../docs/schema/state.schema.json"),
            include_str!("../../../../docs/schema/heartbeat.schema.json"),
        ] {
            let mut names = Vec::new();
            properties(&serde_json::from_str(schema).unwrap(), &mut names);
            assert!(names.len() >= 3, "{names:?}");
            names.retain(|name| !documentation.contains(&format!("`{name}`")));
            assert!(names.is_empty(), "not in docs/mqtt.md: {names:?}");
        }
    }
}
