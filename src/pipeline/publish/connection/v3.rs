//! MQTT 3.1.1 in the words of [`super`]. It has no properties and, outside CONNACK, no reasons.

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    Packet, Publish, QoS, StateError, SubscribeFilter, SubscribeReasonCode, mqttbytes,
};

use super::{
    CAPACITY, Events, Happening, IN_FLIGHT, Incoming, Limits, Message, NotSent, PACKET_LIMIT, Step,
    failure::Failure, sent_or_disconnected, transport,
};
use crate::config::MqttSettings;

/// A client and its end of the connection, which is made when it is first polled.
pub(super) fn open(
    settings: &MqttSettings,
    will_topic: &str,
    will: &str,
) -> (AsyncClient, EventLoop) {
    let (client, mut events) = AsyncClient::new(options(settings, will_topic, will), CAPACITY);
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(settings.connect_timeout.as_secs());
    events.set_network_options(network);
    (client, events)
}

fn options(settings: &MqttSettings, will_topic: &str, will: &str) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_transport(transport(settings))
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(true)
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(PACKET_LIMIT as usize, PACKET_LIMIT as usize)
        .set_last_will(LastWill::new(will_topic, will, QoS::AtLeastOnce, true));
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password.reveal());
    }
    options
}

pub(super) fn publish(
    client: &AsyncClient,
    message: Message,
    limits: Limits,
) -> Result<(), NotSent> {
    let qos = if message.acknowledged {
        QoS::AtLeastOnce
    } else {
        QoS::AtMostOnce
    };
    let packet = Publish {
        // Any, so that it is counted.
        pkid: 1,
        ..Publish::new(&message.topic, qos, message.payload)
    };
    limits.check(packet.size())?;
    client
        .try_publish(message.topic, qos, message.retained, packet.payload)
        .map_err(|_| NotSent::Full)
}

pub(super) fn subscribe(client: &AsyncClient, topics: &[String]) -> Result<(), NotSent> {
    let filters = topics
        .iter()
        .map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
    client
        .try_subscribe_many(filters)
        .map_err(|_| NotSent::Full)
}

impl Events for EventLoop {
    async fn step(&mut self) -> Result<Option<Step>, Failure> {
        self.poll().await.map(step).map_err(failure)
    }

    fn untold(&mut self) -> Option<Step> {
        std::iter::from_fn(|| self.state.events.pop_front()).find_map(step)
    }
}

fn step(event: Event) -> Option<Step> {
    let happening = match event {
        Event::Incoming(Packet::ConnAck(_)) => Happening::Connected(Limits::default()),
        Event::Incoming(Packet::PubAck(ack)) => Happening::Acknowledged {
            packet: ack.pkid,
            refused: None,
        },
        Event::Incoming(Packet::Publish(publish)) => Happening::Received(Incoming {
            topic: publish.topic,
            payload: publish.payload.into(),
            retained: publish.retain,
            duplicate: publish.dup,
            reply: None,
        }),
        Event::Incoming(Packet::SubAck(ack)) => {
            let refusals = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(_) => None,
                SubscribeReasonCode::Failure => Some("refused, without a reason"),
            });
            return Some(Step::Answered {
                packet: ack.pkid,
                refusals: refusals.collect(),
            });
        }
        Event::Incoming(_) => return None,
        Event::Outgoing(outgoing) => return sent_or_disconnected(&outgoing),
    };
    Some(Step::Happened(happening))
}

fn failure(error: ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(code) => Failure::Refused(match code {
            ConnectReturnCode::RefusedProtocolVersion => {
                "the broker does not speak MQTT 3.1.1; see mqtt.version"
            }
            ConnectReturnCode::BadClientId => "the client id is not accepted; see mqtt.client_id",
            ConnectReturnCode::ServiceUnavailable => "the broker is unavailable",
            ConnectReturnCode::BadUserNamePassword => "bad user name or password",
            ConnectReturnCode::NotAuthorized => "not authorized; check user name and password",
            ConnectReturnCode::Success => "no reason",
        }),
        ConnectionError::NetworkTimeout => Failure::Other("no answer in time".to_owned()),
        ConnectionError::Tls(error) => Failure::tls(error),
        ConnectionError::Io(error) => Failure::Handshake(error),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Failure::Broken(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => Failure::Closed,
        ConnectionError::MqttState(StateError::Deserialization(problem)) => {
            Failure::Garbled(problem.to_string())
        }
        ConnectionError::NotConnAck(_) => Failure::Garbled("no CONNACK".to_owned()),
        other => Failure::Other(other.to_string()),
    }
}
