//! MQTT 5 in the words of [`super`]. Reasons are called as the standard calls them (2.4).

use std::time::Duration;

use rumqttc::v5::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError,
    mqttbytes::{
        Error as MqttError, QoS,
        v5::{
            ConnAckProperties, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, Packet,
            PubAckReason, Publish, PublishProperties, RetainForwardRule, SubscribeReasonCode,
        },
    },
};
use tracing::warn;

use super::{
    super::reply::Reply, CAPACITY, Events, Happening, IN_FLIGHT, Incoming, Limits, Message,
    NotSent, PACKET_LIMIT, Refusal, Step, failure::Failure, sent_or_disconnected, transport,
};
use crate::{config::MqttSettings, pipeline::throttle::Throttle};

/// How many letters of somebody else's topic are worth a place in the log.
const SHOWN: usize = 120;

/// The client library's end of a connection, and what it takes to judge what comes in.
pub(super) struct Loop {
    events: EventLoop,
    keep_alive: Duration,
    root: String,
    complaints: Throttle,
}

/// A client and its end of the connection, which is made when it is first polled.
pub(super) fn open(settings: &MqttSettings, will_topic: &str, will: &str) -> (AsyncClient, Loop) {
    let (client, events) = AsyncClient::new(options(settings, will_topic, will), CAPACITY);
    let events = Loop {
        events,
        keep_alive: settings.keep_alive,
        root: settings.root.clone(),
        complaints: Throttle::new(Duration::from_secs(60)),
    };
    (client, events)
}

fn options(settings: &MqttSettings, will_topic: &str, will: &str) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_connection_timeout(settings.connect_timeout.as_secs())
        .set_transport(transport(settings))
        .set_keep_alive(settings.keep_alive)
        .set_clean_start(true)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_max_packet_size(Some(PACKET_LIMIT))
        .set_last_will(LastWill::new(
            will_topic,
            will,
            QoS::AtLeastOnce,
            true,
            None,
        ));
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
    let properties = PublishProperties {
        // 1: the payload is UTF-8.
        payload_format_indicator: Some(1),
        // A whole number of seconds, of which 0 would mean "already expired".
        message_expiry_interval: message
            .expiry
            .map(|expiry| u32::try_from(expiry.as_secs().max(1)).unwrap_or(u32::MAX)),
        correlation_data: message.correlation.map(Into::into),
        content_type: message.content_type.map(str::to_owned),
        user_properties: message.user_properties,
        ..Default::default()
    };
    let packet = Publish {
        // Any, so that it is counted.
        pkid: 1,
        ..Publish::new(&message.topic, qos, message.payload, Some(properties))
    };
    limits.check(packet.size())?;
    let properties = packet.properties.unwrap_or_default();
    client
        .try_publish_with_properties(
            message.topic,
            qos,
            message.retained,
            packet.payload,
            properties,
        )
        .map_err(|_| NotSent::Full)
}

pub(super) fn subscribe(client: &AsyncClient, topics: &[String]) -> Result<(), NotSent> {
    let filters = topics.iter().map(|topic| Filter {
        path: topic.clone(),
        qos: QoS::AtLeastOnce,
        // What this daemon publishes is never meant for itself.
        nolocal: true,
        // A message that was published to be retained says so, even when it comes at once.
        preserve_retain: true,
        // What lay with the broker since yesterday is no request of today.
        retain_forward_rule: RetainForwardRule::Never,
    });
    client
        .try_subscribe_many(filters)
        .map_err(|_| NotSent::Full)
}

impl Events for Loop {
    async fn step(&mut self) -> Result<Option<Step>, Failure> {
        match self.events.poll().await {
            Ok(event) => Ok(self.digest(event)),
            Err(error) => Err(failure(error)),
        }
    }

    fn untold(&mut self) -> Option<Step> {
        while let Some(event) = self.events.state.events.pop_front() {
            let step = self.digest(event);
            if step.is_some() {
                return step;
            }
        }
        None
    }
}

impl Loop {
    fn digest(&mut self, event: Event) -> Option<Step> {
        let happening = match event {
            Event::Incoming(Packet::ConnAck(ack)) => {
                self.keep_alive_at_our_pace();
                Happening::Connected(limits(ack.properties.as_ref()))
            }
            Event::Incoming(Packet::PubAck(ack)) => Happening::Acknowledged {
                packet: ack.pkid,
                refused: publish_refusal(ack.reason),
            },
            Event::Incoming(Packet::Publish(publish)) => {
                Happening::Received(self.incoming(publish)?)
            }
            Event::Incoming(Packet::SubAck(ack)) => {
                let refusals = ack.return_codes.iter().copied().map(subscribe_refusal);
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

    /// A broker may ask for another keep-alive. A shorter one is kept; with a longer one, or none
    /// at all (which the client library takes for "without a pause"), silence would last longer
    /// than we are willing to wait, and probing more often than asked is allowed.
    fn keep_alive_at_our_pace(&mut self) {
        let asked = self.events.options.keep_alive();
        if asked.is_zero() || asked > self.keep_alive {
            self.events.options.set_keep_alive(self.keep_alive);
        }
    }

    fn incoming(&mut self, publish: Publish) -> Option<Incoming> {
        let Ok(topic) = String::from_utf8(publish.topic.into()) else {
            if let Some(suppressed) = self.complaints.permit() {
                warn!(
                    suppressed,
                    "A message on a topic that is no UTF-8 is ignored"
                );
            }
            return None;
        };
        let properties = publish.properties.unwrap_or_default();
        let correlation = properties.correlation_data.map(Into::into);
        let reply = properties.response_topic.and_then(|response| {
            Reply::new(&response, correlation, &self.root)
                .inspect_err(|error| {
                    if let Some(suppressed) = self.complaints.permit() {
                        let response: String = response.chars().take(SHOWN).collect();
                        warn!(
                            topic,
                            ?response,
                            %error,
                            suppressed,
                            "No answer will be sent: the response topic cannot be used"
                        );
                    }
                })
                .ok()
        });
        Some(Incoming {
            topic,
            payload: publish.payload.into(),
            retained: publish.retain,
            duplicate: publish.dup,
            reply,
        })
    }
}

/// What the broker says that it takes.
fn limits(said: Option<&ConnAckProperties>) -> Limits {
    let ours = Limits::default();
    let packet = said.and_then(|it| it.max_packet_size).unwrap_or(u32::MAX);
    let receive_maximum = said.and_then(|it| it.receive_max);
    Limits {
        packet: packet.min(ours.packet),
        receive_maximum: receive_maximum.unwrap_or(ours.receive_maximum),
    }
}

/// Why a message was not published; `None` if it was.
fn publish_refusal(reason: PubAckReason) -> Option<Refusal> {
    let (reason, about_payload) = match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        // These two say nothing about the cause, so it may be the message.
        PubAckReason::UnspecifiedError => ("unspecified error", true),
        PubAckReason::ImplementationSpecificError => ("implementation specific error", true),
        PubAckReason::QuotaExceeded => ("quota exceeded", true),
        PubAckReason::PayloadFormatInvalid => ("payload format invalid", true),
        // These stay true of every message on the same topic.
        PubAckReason::NotAuthorized => ("not authorized", false),
        PubAckReason::TopicNameInvalid => ("topic name invalid", false),
        PubAckReason::PacketIdentifierInUse => ("packet identifier in use", false),
    };
    Some(Refusal {
        reason,
        about_payload,
    })
}

/// Why a filter was not subscribed to; `None` if it was.
fn subscribe_refusal(reason: SubscribeReasonCode) -> Option<&'static str> {
    match reason {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => {
            Some("unspecified error")
        }
        SubscribeReasonCode::ImplementationSpecific => Some("implementation specific error"),
        SubscribeReasonCode::NotAuthorized => Some("not authorized"),
        SubscribeReasonCode::TopicFilterInvalid => Some("topic filter invalid"),
        SubscribeReasonCode::PkidInUse => Some("packet identifier in use"),
        SubscribeReasonCode::QuotaExceeded => Some("quota exceeded"),
        SubscribeReasonCode::SharedSubscriptionsNotSupported => {
            Some("shared subscriptions not supported")
        }
        SubscribeReasonCode::SubscriptionIdNotSupported => {
            Some("subscription identifiers not supported")
        }
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => {
            Some("wildcard subscriptions not supported")
        }
    }
}

fn failure(error: ConnectionError) -> Failure {
    match error {
        ConnectionError::ConnectionRefused(code) => Failure::Refused(connect_refusal(code)),
        ConnectionError::Timeout(_) => Failure::Other("no answer in time".to_owned()),
        ConnectionError::Tls(error) => Failure::tls(error),
        ConnectionError::Io(error) => Failure::Handshake(error),
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)),
        ) => Failure::Broken(error),
        ConnectionError::MqttState(StateError::ConnectionAborted) => Failure::Closed,
        ConnectionError::MqttState(StateError::Deserialization(problem)) => {
            Failure::Garbled(problem.to_string())
        }
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) => {
            let reason = disconnect_reason(reason_code);
            Failure::Other(match reason_string {
                Some(detail) => format!("the broker ended it: {reason} ({detail:?})"),
                None => format!("the broker ended it: {reason}"),
            })
        }
        ConnectionError::NotConnAck(_) => Failure::Garbled("no CONNACK".to_owned()),
        other => Failure::Other(other.to_string()),
    }
}

fn connect_refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "no reason",
        ConnectReturnCode::RefusedProtocolVersion
        | ConnectReturnCode::UnsupportedProtocolVersion => {
            "the broker does not speak MQTT 5; see mqtt.version"
        }
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            "the client id is not accepted; see mqtt.client_id"
        }
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::ServerUnavailable => {
            "server unavailable"
        }
        ConnectReturnCode::UnspecifiedError => "unspecified error",
        ConnectReturnCode::MalformedPacket => "malformed packet",
        ConnectReturnCode::ProtocolError => "protocol error",
        ConnectReturnCode::ImplementationSpecificError => "implementation specific error",
        ConnectReturnCode::BadUserNamePassword => "bad user name or password",
        ConnectReturnCode::NotAuthorized => "not authorized; check user name and password",
        ConnectReturnCode::ServerBusy => "server busy",
        ConnectReturnCode::Banned => "banned",
        ConnectReturnCode::BadAuthenticationMethod => "bad authentication method",
        ConnectReturnCode::TopicNameInvalid => "topic name of the will invalid; see mqtt.root",
        ConnectReturnCode::PacketTooLarge => "packet too large",
        ConnectReturnCode::QuotaExceeded => "quota exceeded",
        ConnectReturnCode::PayloadFormatInvalid => "payload format invalid",
        ConnectReturnCode::RetainNotSupported => "the broker does not support retained messages",
        ConnectReturnCode::QoSNotSupported => "the broker does not support QoS 1",
        ConnectReturnCode::UseAnotherServer => "use another server",
        ConnectReturnCode::ServerMoved => "server moved",
        ConnectReturnCode::ConnectionRateExceeded => "connection rate exceeded",
    }
}

fn disconnect_reason(code: DisconnectReasonCode) -> &'static str {
    match code {
        DisconnectReasonCode::NormalDisconnection
        | DisconnectReasonCode::DisconnectWithWillMessage => "normal disconnection",
        DisconnectReasonCode::UnspecifiedError => "unspecified error",
        DisconnectReasonCode::MalformedPacket => "malformed packet",
        DisconnectReasonCode::ProtocolError => "protocol error",
        DisconnectReasonCode::ImplementationSpecificError => "implementation specific error",
        DisconnectReasonCode::NotAuthorized => "not authorized",
        DisconnectReasonCode::ServerBusy => "server busy",
        DisconnectReasonCode::ServerShuttingDown => "server shutting down",
        DisconnectReasonCode::KeepAliveTimeout => "keep alive timeout",
        DisconnectReasonCode::SessionTakenOver => {
            "session taken over: another client has the same mqtt.client_id"
        }
        DisconnectReasonCode::TopicFilterInvalid => "topic filter invalid",
        DisconnectReasonCode::TopicNameInvalid => "topic name invalid",
        DisconnectReasonCode::ReceiveMaximumExceeded => "receive maximum exceeded",
        DisconnectReasonCode::TopicAliasInvalid => "topic alias invalid",
        DisconnectReasonCode::PacketTooLarge => "packet too large",
        DisconnectReasonCode::MessageRateTooHigh => "message rate too high",
        DisconnectReasonCode::QuotaExceeded => "quota exceeded",
        DisconnectReasonCode::AdministrativeAction => "administrative action",
        DisconnectReasonCode::PayloadFormatInvalid => "payload format invalid",
        DisconnectReasonCode::RetainNotSupported => "retain not supported",
        DisconnectReasonCode::QoSNotSupported => "QoS not supported",
        DisconnectReasonCode::UseAnotherServer => "use another server",
        DisconnectReasonCode::ServerMoved => "server moved",
        DisconnectReasonCode::SharedSubscriptionNotSupported => {
            "shared subscriptions not supported"
        }
        DisconnectReasonCode::ConnectionRateExceeded => "connection rate exceeded",
        DisconnectReasonCode::MaximumConnectTime => "maximum connect time",
        DisconnectReasonCode::SubscriptionIdentifiersNotSupported => {
            "subscription identifiers not supported"
        }
        DisconnectReasonCode::WildcardSubscriptionsNotSupported => {
            "wildcard subscriptions not supported"
        }
    }
}
