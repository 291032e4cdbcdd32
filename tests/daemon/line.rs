//! A line controller: one MQTT 5 client that asks for verdicts and receives everything that flawd
//! publishes.
//!
//! `mosquitto_pub` starts a process per message, which is too slow for thousands of triggers.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use flawd_testing::process::LIMIT;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde_json::Value;

/// The controller; its messages are those since it was connected.
pub(crate) struct Controller {
    client: Client,
    heard: Receiver<Heard>,
}

/// A message that was heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) topic: String,
    /// JSON, or text if it is not JSON.
    pub(crate) payload: Value,
    pub(crate) correlation: Option<Vec<u8>>,
}

impl Heard {
    /// The last level of the topic.
    pub(crate) fn kind(&self) -> &str {
        self.topic.rsplit('/').next().unwrap_or_default()
    }
}

impl Controller {
    /// Connects to the broker on this port and subscribes to everything.
    pub(crate) fn connect(port: u16) -> Self {
        let mut options = MqttOptions::new(format!("plc-{port}"), "127.0.0.1", port);
        options
            .set_keep_alive(Duration::from_secs(30))
            .set_max_packet_size(Some(1 << 20));
        let (client, mut connection) = Client::new(options, 20_000);
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        let (sender, heard) = mpsc::channel();
        let (ready, subscribed) = mpsc::channel();
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => ready.send(()).unwrap(),
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let text = String::from_utf8_lossy(&message.payload).into_owned();
                        let correlation = message
                            .properties
                            .and_then(|it| it.correlation_data)
                            .map(|it| it.to_vec());
                        let heard = Heard {
                            topic: String::from_utf8_lossy(&message.topic).into_owned(),
                            payload: serde_json::from_str(&text).unwrap_or(Value::String(text)),
                            correlation,
                        };
                        if sender.send(heard).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        subscribed.recv_timeout(LIMIT).expect("the broker answers");
        Self { client, heard }
    }

    /// Publishes a message at QoS 1.
    pub(crate) fn publish(&self, topic: &str, payload: impl ToString, retain: bool) {
        let payload = payload.to_string();
        (self.client)
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .unwrap();
    }

    /// The same with a place for the answer.
    pub(crate) fn ask(&self, topic: &str, payload: impl ToString, reply: &str, id: &[u8]) {
        let properties = PublishProperties {
            response_topic: Some(reply.to_owned()),
            correlation_data: Some(id.to_vec().into()),
            ..Default::default()
        };
        (self.client)
            .publish_with_properties(
                topic,
                QoS::AtLeastOnce,
                false,
                payload.to_string(),
                properties,
            )
            .unwrap();
    }

    /// Messages up to and with the first that `is_last` accepts.
    pub(crate) fn until(&self, what: &str, mut is_last: impl FnMut(&Heard) -> bool) -> Vec<Heard> {
        let deadline = Instant::now() + LIMIT;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.heard.recv_timeout(left) else {
                panic!(
                    "waiting for {what} after {} messages: {:?}",
                    heard.len(),
                    heard.last()
                );
            };
            let is_over = is_last(&message);
            heard.push(message);
            if is_over {
                return heard;
            }
        }
    }

    /// The next message that fits.
    pub(crate) fn next(&self, what: &str, fits: impl FnMut(&Heard) -> bool) -> Heard {
        self.until(what, fits).pop().expect("it ends with the one")
    }

    /// Lets messages pass up to and with the first that fits, as long as any come.
    pub(crate) fn skip_until(&self, what: &str, mut fits: impl FnMut(&Heard) -> bool) {
        loop {
            match self.heard.recv_timeout(LIMIT) {
                Ok(message) if fits(&message) => return,
                Ok(_) => {}
                Err(error) => panic!("waiting for {what}: {error}"),
            }
        }
    }

    /// Waits until the daemon says that it is ready.
    pub(crate) fn until_ready(&self) -> Vec<Heard> {
        self.until("ready", |message| {
            message.kind() == "state" && message.payload["ready"] == true
        })
    }

    /// Waits for a moment, hearing what comes meanwhile.
    pub(crate) fn hear_until(&self, moment: Instant, heard: &mut Vec<Heard>) {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok(message) => heard.push(message),
                Err(_) => return,
            }
        }
    }
}
