//! From what happened to what is published: topics, payloads, quality of service.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flawd_core::{
    event::{Event, EventData, Heartbeat, State, Status},
    verdict::{Reason, Verdict},
};
use jiff::Timestamp;

use super::{
    connection::Message,
    ledger::{About, VerdictId},
};
use crate::{config::MqttVersion, pipeline::frame::Inspection};

/// Writes the messages of one daemon.
#[derive(Debug)]
pub(super) struct Writer {
    root: Arc<str>,
    version: MqttVersion,
    /// Tells the verdicts of this run from those of the one before.
    run: String,
}

/// A verdict in the words of the wire, until it is too old to be sent.
#[derive(Debug)]
pub(super) struct Telegram {
    pub(super) about: VerdictId,
    pub(super) messages: Vec<Message>,
    pub(super) expires: Instant,
}

impl Writer {
    /// A writer for topics under `root`.
    pub(super) fn new(root: &str, version: MqttVersion) -> Self {
        Self {
            root: root.into(),
            version,
            run: format!("{:x}", Timestamp::now().as_microsecond()),
        }
    }

    /// The topic of the last will.
    pub(super) fn status_topic(&self) -> String {
        format!("{}/status", self.root)
    }

    /// The retained word on whether the daemon is there.
    pub(super) fn status(&self, status: Status) -> Message {
        Message {
            topic: self.status_topic(),
            payload: status.as_str().into(),
            acknowledged: true,
            retained: true,
            content_type: Some("text/plain"),
            ..Message::default()
        }
    }

    /// The retained state.
    pub(super) fn state(&self, state: &State) -> Message {
        Message {
            topic: format!("{}/state", self.root),
            payload: state.to_json(),
            acknowledged: true,
            retained: true,
            content_type: Some("application/json"),
            ..Message::default()
        }
    }

    /// A sign that inspection goes on.
    pub(super) fn heartbeat(&self, heartbeat: &Heartbeat) -> Message {
        Message {
            topic: format!("{}/heartbeat", self.root),
            payload: heartbeat.to_json(),
            acknowledged: false,
            retained: false,
            content_type: Some("application/json"),
            ..Message::default()
        }
    }

    /// What subscribers are told of a verdict: everyone of each, the actuator of defects first.
    pub(super) fn verdict(&self, inspection: Inspection, expiry: Duration) -> Telegram {
        let about = VerdictId {
            camera: inspection.camera,
            seq: inspection.verdict.seq,
        };
        let verdict = inspection.verdict.verdict;
        let camera = inspection.verdict.camera.clone();
        // Somebody still wants to be told that a verdict came too late.
        let expires = match inspection.deadline {
            Some(deadline) if verdict != Verdict::NoDecision(Reason::Late) => deadline,
            _ => Instant::now() + expiry,
        };
        let event = Event {
            id: format!("{}-{}", self.run, about.seq),
            source: format!("{}/{camera}", self.root),
            time: inspection.captured.wall,
            data: inspection.verdict,
        };
        let everyone = self.event(format!("{}/{camera}/verdict", self.root), &event);
        let messages = if verdict == Verdict::Ng {
            let actuator = Message {
                topic: format!("{}/{camera}/defect", self.root),
                ..everyone.clone()
            };
            vec![actuator, everyone]
        } else {
            vec![everyone]
        };
        Telegram {
            about,
            messages,
            expires,
        }
    }

    fn event<D: EventData>(&self, topic: String, event: &Event<D>) -> Message {
        let (payload, content_type, user_properties) = match self.version {
            MqttVersion::V3 => (event.to_structured(), None, Vec::new()),
            MqttVersion::V5 => {
                let binary = event.to_binary();
                (
                    binary.payload,
                    Some(binary.content_type),
                    binary.user_properties,
                )
            }
        };
        Message {
            topic,
            payload,
            acknowledged: true,
            content_type,
            user_properties,
            ..Message::default()
        }
    }
}

impl Telegram {
    /// How the ledger calls it.
    pub(super) fn about(&self) -> About {
        Some(self.about)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Every property that a schema names, at any depth.
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
        let documentation = include_str!("../../../docs/mqtt.md");
        for schema in [
            include_str!("../../../docs/schema/verdict.schema.json"),
            include_str!("../../../docs/schema/state.schema.json"),
            include_str!("../../../docs/schema/heartbeat.schema.json"),
        ] {
            let mut names = Vec::new();
            properties(&serde_json::from_str(schema).unwrap(), &mut names);
            assert!(names.len() >= 3, "{names:?}");
            names.retain(|name| !documentation.contains(&format!("`{name}`")));
            assert!(names.is_empty(), "not in docs/mqtt.md: {names:?}");
        }
    }
}
