//! One connection to the broker, from the attempt to its end; never reconnects.
//!
//! The client library keeps queues of its own and, when left to reconnect, sends what is in them
//! after the reconnect: a verdict on a part that is long gone. So a client lives for exactly one
//! connection, and everything it still holds goes with it. What was handed to it and never
//! acknowledged is known from outside, by [`Ledger`](super::ledger::Ledger).
//!
//! The library has one set of types for each protocol version; only this file sees either.

use std::time::Duration;

use rumqttc::{Outgoing, v5};
use tokio::{sync::mpsc, task::JoinHandle, time};

use crate::config::{MqttSettings, MqttVersion};

/// Messages that the client may hold; more than are ever handed over unacknowledged.
const CAPACITY: usize = 64;

/// Unacknowledged messages on the wire; brokers commonly allow 20.
const IN_FLIGHT: u16 = 20;

/// Longest packet either way. Verdicts are a few hundred bytes; this only has to be no limit.
const PACKET_LIMIT: u32 = 1 << 20;

/// What is published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// QoS 1, else 0.
    pub(super) acknowledged: bool,
    pub(super) retained: bool,
    /// MQTT 5 only.
    pub(super) content_type: Option<&'static str>,
    /// MQTT 5 only; the broker drops the message when it is older.
    pub(super) expiry: Option<Duration>,
    /// MQTT 5 only.
    pub(super) user_properties: Vec<(String, String)>,
}

/// What happens on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The broker has accepted it.
    Connected,
    /// The next message, in the order handed over, is on the wire; its packet id, 0 without
    /// acknowledgement.
    Sent(u16),
    /// The broker has taken responsibility for a message, or refused it.
    Acknowledged {
        /// Which one.
        packet: u16,
        /// Why it was refused; the broker has dropped it.
        refused: Option<String>,
    },
    /// The farewell is on the wire: the broker will not publish the will.
    Disconnected,
    /// It has ended, or never came about. Nothing else follows.
    Lost(String),
}

/// A connection, or the attempt at one. Dropping it cuts it without a farewell.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    happenings: mpsc::Receiver<Happening>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Client {
    V3(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// The client could not take the message: it holds [`CAPACITY`] others, or is gone.
#[derive(Debug)]
pub(super) struct NotTaken;

impl Connection {
    /// Begins to connect, with a last will on `will_topic`.
    pub(super) fn open(settings: &MqttSettings, will_topic: &str, will: &str) -> Self {
        let (sender, happenings) = mpsc::channel(CAPACITY);
        // A probe leaves after each `keep_alive` of silence; where nothing at all happens for
        // longer than two of them, the peer is gone without a word.
        let silence = settings.keep_alive * 2;
        let (client, task) = match settings.version {
            MqttVersion::V3 => {
                let options = options_v3(settings, will_topic, will);
                let (client, mut events) = rumqttc::AsyncClient::new(options, CAPACITY);
                let mut network = events.network_options();
                network.set_tcp_nodelay(true);
                network.set_connection_timeout(settings.connect_timeout.as_secs());
                events.set_network_options(network);
                let task = tokio::spawn(forward(events, sender, silence));
                (Client::V3(client), task)
            }
            MqttVersion::V5 => {
                let options = options_v5(settings, will_topic, will);
                let (client, events) = v5::AsyncClient::new(options, CAPACITY);
                let task = tokio::spawn(forward(events, sender, silence));
                (Client::V5(client), task)
            }
        };
        Self {
            client,
            happenings,
            task,
        }
    }

    /// The next thing that happens; safe to drop before it has.
    pub(super) async fn next(&mut self) -> Happening {
        self.happenings
            .recv()
            .await
            .unwrap_or_else(|| Happening::Lost("the client has ended".to_owned()))
    }

    /// Hands a message over, to be sent in order.
    pub(super) fn publish(&self, message: Message) -> Result<(), NotTaken> {
        let Message {
            topic,
            payload,
            acknowledged,
            retained,
            ..
        } = message;
        match &self.client {
            Client::V3(client) => {
                let qos = if acknowledged {
                    rumqttc::QoS::AtLeastOnce
                } else {
                    rumqttc::QoS::AtMostOnce
                };
                client
                    .try_publish(topic, qos, retained, payload)
                    .map_err(|_| NotTaken)
            }
            Client::V5(client) => {
                let qos = if acknowledged {
                    v5::mqttbytes::QoS::AtLeastOnce
                } else {
                    v5::mqttbytes::QoS::AtMostOnce
                };
                let properties = v5::mqttbytes::v5::PublishProperties {
                    // 1: the payload is UTF-8.
                    payload_format_indicator: Some(1),
                    // A whole number of seconds, of which 0 would mean "already expired".
                    message_expiry_interval: message
                        .expiry
                        .map(|expiry| u32::try_from(expiry.as_secs().max(1)).unwrap_or(u32::MAX)),
                    content_type: message.content_type.map(str::to_owned),
                    user_properties: message.user_properties,
                    ..Default::default()
                };
                client
                    .try_publish_with_properties(topic, qos, retained, payload, properties)
                    .map_err(|_| NotTaken)
            }
        }
    }

    /// Says farewell behind everything handed over so far.
    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        match &self.client {
            Client::V3(client) => client.try_disconnect().map_err(|_| NotTaken),
            Client::V5(client) => client.try_disconnect().map_err(|_| NotTaken),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the event loops of both versions have in common.
trait Events: Send + 'static {
    /// Does the next piece of work on the connection.
    fn poll_next(&mut self) -> impl Future<Output = Result<Option<Happening>, String>> + Send;
}

impl Events for rumqttc::EventLoop {
    async fn poll_next(&mut self) -> Result<Option<Happening>, String> {
        self.poll().await.map(happening_v3).map_err(explain_v3)
    }
}

impl Events for v5::EventLoop {
    async fn poll_next(&mut self) -> Result<Option<Happening>, String> {
        self.poll().await.map(happening_v5).map_err(explain_v5)
    }
}

/// Passes on what happens until the connection is lost or nobody listens any more.
async fn forward(mut events: impl Events, sender: mpsc::Sender<Happening>, silence: Duration) {
    loop {
        let happening = match time::timeout(silence, events.poll_next()).await {
            Ok(Ok(Some(happening))) => happening,
            Ok(Ok(None)) => continue,
            Ok(Err(problem)) => Happening::Lost(problem),
            Err(_) => Happening::Lost(format!("the broker has been silent for {silence:?}")),
        };
        let is_over = matches!(happening, Happening::Lost(_) | Happening::Disconnected);
        if sender.send(happening).await.is_err() || is_over {
            return;
        }
    }
}

fn options_v3(settings: &MqttSettings, will_topic: &str, will: &str) -> rumqttc::MqttOptions {
    let mut options = rumqttc::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(true)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(PACKET_LIMIT as usize, PACKET_LIMIT as usize)
        .set_last_will(rumqttc::LastWill::new(
            will_topic,
            will,
            rumqttc::QoS::AtLeastOnce,
            true,
        ));
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password.reveal());
    }
    options
}

fn options_v5(settings: &MqttSettings, will_topic: &str, will: &str) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_connection_timeout(settings.connect_timeout.as_secs())
        .set_keep_alive(settings.keep_alive)
        .set_clean_start(true)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_max_packet_size(Some(PACKET_LIMIT))
        .set_last_will(v5::mqttbytes::v5::LastWill::new(
            will_topic,
            will,
            v5::mqttbytes::QoS::AtLeastOnce,
            true,
            None,
        ));
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password.reveal());
    }
    options
}

fn happening_v3(event: rumqttc::Event) -> Option<Happening> {
    use rumqttc::{Event, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Some(Happening::Connected),
        Event::Incoming(Packet::PubAck(ack)) => Some(Happening::Acknowledged {
            packet: ack.pkid,
            refused: None,
        }),
        Event::Incoming(_) => None,
        Event::Outgoing(outgoing) => happening_out(&outgoing),
    }
}

fn happening_v5(event: v5::Event) -> Option<Happening> {
    use v5::mqttbytes::v5::{Packet, PubAckReason};
    match event {
        v5::Event::Incoming(Packet::ConnAck(_)) => Some(Happening::Connected),
        v5::Event::Incoming(Packet::PubAck(ack)) => Some(Happening::Acknowledged {
            packet: ack.pkid,
            refused: match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                reason => Some(format!("{reason:?}")),
            },
        }),
        v5::Event::Incoming(_) => None,
        v5::Event::Outgoing(outgoing) => happening_out(&outgoing),
    }
}

fn happening_out(outgoing: &Outgoing) -> Option<Happening> {
    match outgoing {
        Outgoing::Publish(packet) => Some(Happening::Sent(*packet)),
        Outgoing::Disconnect => Some(Happening::Disconnected),
        _ => None,
    }
}

fn explain_v3(error: rumqttc::ConnectionError) -> String {
    match error {
        rumqttc::ConnectionError::ConnectionRefused(code) => format!("refused: {code:?}"),
        other => other.to_string(),
    }
}

fn explain_v5(error: v5::ConnectionError) -> String {
    match error {
        v5::ConnectionError::ConnectionRefused(code) => format!("refused: {code:?}"),
        other => other.to_string(),
    }
}
