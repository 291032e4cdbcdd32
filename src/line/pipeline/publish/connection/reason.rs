//! Reason codes with their names in the standard (MQTT 5, 2.4), and what they mean for the sender.

use super::PublishRefusal;
use crate::line::config::MqttVersion;

/// Codes from here on mean that something failed.
const FAILURE: u8 = 0x80;

/// Returns the name of a code, which is the same in every packet.
pub(crate) fn name(code: u8) -> &'static str {
    match code {
        0x00 => "normal disconnection",
        0x04 => "disconnect with will message",
        0x10 => "no matching subscribers",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x8F => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9A => "retain not supported",
        0x9B => "QoS not supported",
        0x9C => "use another server",
        0x9D => "server moved",
        0x9E => "shared subscriptions not supported",
        0x9F => "connection rate exceeded",
        0xA0 => "maximum connect time",
        0xA1 => "subscription identifiers not supported",
        0xA2 => "wildcard subscriptions not supported",
        _ => "a reason that MQTT 5 does not have",
    }
}

/// Returns why a message was refused; `None` if it was accepted.
pub(crate) fn publish_refusal(code: u8) -> Option<PublishRefusal> {
    (code >= FAILURE).then(|| PublishRefusal {
        reason: name(code),
        // Not authorized, topic name invalid, packet identifier in use, retain or QoS not
        // supported: true of every message on the same topic, or of none. Any other may be about
        // this one: its size, its form, or something that the broker does not disclose.
        about_payload: !matches!(code, 0x87 | 0x90 | 0x91 | 0x9A | 0x9B),
    })
}

/// Returns why a subscription was refused; `None` if it was accepted.
pub(crate) fn subscribe_refusal(version: MqttVersion, code: u8) -> Option<&'static str> {
    (code >= FAILURE).then(|| match version {
        MqttVersion::V3 => "refused, without a reason",
        MqttVersion::V5 => name(code),
    })
}

/// Returns why the broker refuses the connection, with what to check; `None` if it accepts it.
pub(crate) fn connect_refusal(version: MqttVersion, code: u8) -> Option<&'static str> {
    Some(match (version, code) {
        (_, 0) => return None,
        // 3.1.1 has its own five codes, and there are brokers that answer version 5 with them.
        (MqttVersion::V3, 1) => "the broker does not speak MQTT 3.1.1; see mqtt.version",
        (_, 1 | 0x84) => "the broker does not speak MQTT 5; see mqtt.version",
        (_, 2 | 0x85) => "the client id is not accepted; see mqtt.client_id",
        (_, 3) => "the broker is unavailable",
        (_, 4 | 0x86) => "bad user name or password",
        (_, 5 | 0x87) => "not authorized; check user name and password",
        (_, 0x90) => "topic name of the will invalid; see mqtt.root",
        (_, 0x9A) => "the broker does not support retained messages",
        (_, 0x9B) => "the broker does not support QoS 1",
        (_, code) => name(code),
    })
}

/// Returns why the broker ends a connection.
pub(crate) fn disconnect(code: u8) -> &'static str {
    match code {
        0x8E => "session taken over: another client has the same mqtt.client_id",
        code => name(code),
    }
}
