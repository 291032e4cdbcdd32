//! Outgoing packets: what flawd sends in MQTT 5 and 3.1.1, and nothing else.
//!
//! They differ in that 5 has properties before the payload.

use super::{Message, NotSent, PACKET_LIMIT};
use crate::line::config::{MqttSettings, MqttVersion, Secret};

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;

/// A probe.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];

/// The clean disconnect: the broker forgets the will.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Messages that the broker may send before the first of them is confirmed. They are confirmed as
/// they are read, and acknowledgements queue behind unconfirmed ones, so few may be in flight, but
/// more than a round trip needs.
const RECEIVE_MAXIMUM: u16 = 64;

/// The longest text or byte string with a length prefix.
const LONGEST_FIELD: usize = 0xFFFF;

/// What a subscription requests besides QoS 1. The daemon's own messages are not delivered to it;
/// messages published as retained keep that flag, even when they are delivered at once; and
/// retained messages are not delivered, because yesterday's request is not one of today.
const NO_LOCAL_AS_PUBLISHED_NOTHING_RETAINED: u8 = 0b10_1100;

/// A packet that has its number, or gets it when it is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// The position of its number; `None` if it has none.
    number_at: Option<usize>,
}

impl Outgoing {
    /// Returns its total size.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether it gets a number, which the broker's answer repeats.
    pub(crate) fn is_numbered(&self) -> bool {
        self.number_at.is_some()
    }

    /// Returns the bytes, with this number if one belongs in them.
    pub(crate) fn with_number(mut self, number: u16) -> Vec<u8> {
        if let Some(at) = self.number_at {
            self.bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
        }
        self.bytes
    }
}

/// Encodes the first packet, with the last will `will` on `will_topic`.
pub(crate) fn connect(
    settings: &MqttSettings,
    login: Option<(&str, &Secret)>,
    will_topic: &str,
    will: &str,
) -> Result<Vec<u8>, NotSent> {
    // The will is retained and has QoS 1; the session is a clean one.
    let flags = 0b0010_1110 | if login.is_some() { 0b1100_0000 } else { 0 };
    let keep_alive = u16::try_from(settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
    let mut body = Body::default();
    body.field(b"MQTT")?;
    match settings.version {
        MqttVersion::V3 => body.0.extend([4, flags]),
        MqttVersion::V5 => body.0.extend([5, flags]),
    }
    body.0.extend(keep_alive.to_be_bytes());
    if settings.version == MqttVersion::V5 {
        // Maximum packet size, receive maximum, and nothing else.
        body.0.extend([8, 0x27]);
        body.0.extend(PACKET_LIMIT.to_be_bytes());
        body.0.push(0x21);
        body.0.extend(RECEIVE_MAXIMUM.to_be_bytes());
    }
    body.field(settings.client_id.as_bytes())?;
    if settings.version == MqttVersion::V5 {
        // The will has no properties.
        body.0.push(0);
    }
    body.field(will_topic.as_bytes())?;
    body.field(will.as_bytes())?;
    if let Some((name, password)) = login {
        body.field(name.as_bytes())?;
        body.field(password.reveal().as_bytes())?;
    }
    Ok(body.packet(CONNECT, None).bytes)
}

/// Encodes a message.
pub(crate) fn publish(version: MqttVersion, message: &Message) -> Result<Outgoing, NotSent> {
    let first = PUBLISH | u8::from(message.retained) | (u8::from(message.acknowledged) << 1);
    let mut body = Body(Vec::with_capacity(
        message.topic.len() + message.payload.len() + 256,
    ));
    body.field(message.topic.as_bytes())?;
    let number_at = message.acknowledged.then_some(body.0.len());
    if message.acknowledged {
        body.0.extend([0, 0]);
    }
    if version == MqttVersion::V5 {
        let properties = properties(message)?;
        body.length(properties.0.len());
        body.0.extend(properties.0);
    }
    body.0.extend(&message.payload);
    Ok(body.packet(first, number_at))
}

fn properties(message: &Message) -> Result<Body, NotSent> {
    let mut body = Body::default();
    // The payload is UTF-8.
    body.0.extend([0x01, 1]);
    if let Some(expiry) = message.expiry {
        // A whole number of seconds, of which 0 would mean "already expired".
        let seconds = u32::try_from(expiry.as_secs().max(1)).unwrap_or(u32::MAX);
        body.0.push(0x02);
        body.0.extend(seconds.to_be_bytes());
    }
    if let Some(content_type) = message.content_type {
        body.0.push(0x03);
        body.field(content_type.as_bytes())?;
    }
    if let Some(correlation) = &message.correlation {
        body.0.push(0x09);
        body.field(correlation)?;
    }
    for (name, value) in &message.user_properties {
        body.0.push(0x26);
        body.field(name.as_bytes())?;
        body.field(value.as_bytes())?;
    }
    Ok(body)
}

/// Requests every message on these topics.
pub(crate) fn subscribe(version: MqttVersion, topics: &[String]) -> Result<Outgoing, NotSent> {
    let mut body = Body(vec![0, 0]);
    let options = match version {
        MqttVersion::V3 => 1,
        MqttVersion::V5 => {
            body.0.push(0);
            1 | NO_LOCAL_AS_PUBLISHED_NOTHING_RETAINED
        }
    };
    for topic in topics {
        body.field(topic.as_bytes())?;
        body.0.push(options);
    }
    Ok(body.packet(SUBSCRIBE, Some(0)))
}

/// Confirms a message.
pub(crate) fn acknowledgement(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [PUBACK, 2, high, low]
}

/// What follows a packet's length.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    /// Appends text, or other bytes, with a length prefix.
    fn field(&mut self, bytes: &[u8]) -> Result<(), NotSent> {
        let length = u16::try_from(bytes.len()).map_err(|_| NotSent::TooLarge {
            size: bytes.len(),
            limit: LONGEST_FIELD as u32,
        })?;
        self.0.extend(length.to_be_bytes());
        self.0.extend(bytes);
        Ok(())
    }

    /// Appends a length of one to four bytes, seven bits each.
    fn length(&mut self, mut length: usize) {
        loop {
            let bits = (length & 0x7F) as u8;
            length >>= 7;
            self.0.push(if length > 0 { bits | 0x80 } else { bits });
            if length == 0 {
                return;
            }
        }
    }

    fn packet(self, first: u8, number_at: Option<usize>) -> Outgoing {
        let mut head = Self(vec![first]);
        head.length(self.0.len());
        let number_at = number_at.map(|at| at + head.0.len());
        head.0.extend(self.0);
        Outgoing {
            bytes: head.0,
            number_at,
        }
    }
}
