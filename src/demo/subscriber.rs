//! A subscriber, like a reject actuator or a dashboard: it knows only the daemon's topics.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flawd_core::event::VerdictData;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, ConnectionError, Event, MqttOptions, RecvTimeoutError};

/// How long connecting and subscribing may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why no verdict can be received.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// The connection could not be made, or broke.
    #[error("the subscriber lost the broker")]
    Connection(#[from] Box<ConnectionError>),
    /// The broker answers too slowly, or not at all.
    #[error("the broker has not confirmed the subscription after {CONNECT_LIMIT:?}")]
    NoAnswer,
    /// The client has ended.
    #[error("the subscriber's client has ended")]
    Ended,
    /// A payload that is not a verdict.
    #[error("the message on {topic} is not a verdict")]
    Payload {
        /// Its topic.
        topic: String,
        /// The parser's error.
        source: serde_json::Error,
    },
}

/// A connection with one subscription: every verdict of every camera under a root topic.
pub struct Subscriber {
    // Kept because the connection ends with its last client.
    _client: Client,
    connection: Connection,
}

impl Subscriber {
    /// Connects and subscribes to `<root>/+/verdict`; returns when the broker has confirmed, so
    /// that no later verdict is missed.
    ///
    /// # Errors
    /// [`SubscriberError`].
    pub fn connect(broker: SocketAddr, root: &str) -> Result<Self, SubscriberError> {
        let mut options = MqttOptions::new(
            "flawd-demo-subscriber",
            broker.ip().to_string(),
            broker.port(),
        );
        options.set_keep_alive(Duration::from_secs(30));
        let (client, connection) = Client::new(options, 16);
        client
            .subscribe(format!("{root}/+/verdict"), QoS::AtLeastOnce)
            .map_err(|_| SubscriberError::Ended)?;
        let mut subscriber = Self {
            _client: client,
            connection,
        };
        let start = Instant::now();
        loop {
            let left = CONNECT_LIMIT.saturating_sub(start.elapsed());
            match subscriber.next_packet(left)? {
                Some(Packet::SubAck(_)) => return Ok(subscriber),
                Some(_) => {}
                None => return Err(SubscriberError::NoAnswer),
            }
        }
    }

    /// Returns the next verdict; `None` if none arrives within `limit`.
    ///
    /// # Errors
    /// [`SubscriberError`].
    pub fn next_verdict(
        &mut self,
        limit: Duration,
    ) -> Result<Option<VerdictData>, SubscriberError> {
        let start = Instant::now();
        loop {
            match self.next_packet(limit.saturating_sub(start.elapsed()))? {
                Some(Packet::Publish(message)) => {
                    return serde_json::from_slice(&message.payload)
                        .map(Some)
                        .map_err(|source| {
                            let topic = String::from_utf8_lossy(&message.topic).into_owned();
                            SubscriberError::Payload { topic, source }
                        });
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next packet from the broker; `None` after `limit`.
    fn next_packet(&mut self, limit: Duration) -> Result<Option<Packet>, SubscriberError> {
        let start = Instant::now();
        loop {
            match self
                .connection
                .recv_timeout(limit.saturating_sub(start.elapsed()))
            {
                Ok(Ok(Event::Incoming(packet))) => return Ok(Some(packet)),
                Ok(Ok(Event::Outgoing(_))) => {}
                Ok(Err(error)) => return Err(Box::new(error).into()),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(SubscriberError::Ended),
            }
        }
    }
}
