//! Incoming packets, as far as flawd uses them: MQTT 5 and 3.1.1.
//!
//! Bytes are read only from where they must be, so nothing that a broker sends causes a read beyond
//! its packet or a list of properties beyond its end. A reason code is passed on unchanged: a
//! broker that sends codes outside the standard is still understood.

use crate::line::config::MqttVersion;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(&'static str);

impl Malformed {
    pub(crate) const TOO_LONG: Self = Self("a packet that is longer than any of its kind");
    pub(crate) const NO_TOPIC: Self = Self("a message without a topic, or a known alias of one");
}

/// Reads text, which must be UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))
}

/// The first bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Kind and flags.
    pub(crate) first: u8,
    /// Bytes of the header.
    pub(crate) head: usize,
    /// Bytes that follow it.
    pub(crate) length: usize,
}

impl Header {
    /// Reads it; returns `None` while some of it is still missing.
    pub(crate) fn read(input: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut length = 0;
        for (index, byte) in input.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(Self {
                    first: input[0],
                    head: index + 2,
                    length,
                }));
            }
        }
        if input.len() > 4 {
            return Err(Malformed("a packet's length has more than four bytes"));
        }
        Ok(None)
    }

    /// Returns the size of the whole packet.
    pub(crate) fn size(self) -> usize {
        self.head + self.length
    }

    /// Returns whether it is a message.
    pub(crate) fn is_message(self) -> bool {
        self.first >> 4 == 3
    }
}

/// A packet that flawd has to understand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The answer to CONNECT.
    Accepted {
        code: u8,
        said: BrokerProperties<'a>,
    },
    /// A message's acknowledgement.
    Acknowledged { number: u16, code: u8 },
    /// The answer to a subscription, per topic.
    Subscribed { number: u16, codes: &'a [u8] },
    /// The answer to a probe.
    Alive,
    /// The broker ends the connection.
    Ended {
        code: u8,
        said: BrokerProperties<'a>,
    },
}

/// A broker's properties, as far as they matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BrokerProperties<'a> {
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) maximum_packet: Option<u32>,
    pub(crate) maximum_qos: Option<u8>,
    pub(crate) retain_available: Option<u8>,
    /// In seconds.
    pub(crate) keep_alive: Option<u16>,
    pub(crate) wildcards_available: Option<u8>,
    pub(crate) topic_alias: Option<u16>,
    pub(crate) server_reference: Option<&'a [u8]>,
    pub(crate) reason: Option<&'a [u8]>,
    pub(crate) response_topic: Option<&'a [u8]>,
    pub(crate) correlation: Option<&'a [u8]>,
}

/// The beginning of a message: what is needed to confirm it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MessageHead<'a> {
    pub(crate) topic: &'a [u8],
    /// `None` on QoS 0.
    pub(crate) number: Option<u16>,
    pub(crate) retained: bool,
    pub(crate) duplicate: bool,
    /// What follows: properties, payload.
    rest: &'a [u8],
}

/// Returns the kind of server that begins with these bytes, if it cannot be a broker: the first
/// packet is an answer to CONNECT, or, from some brokers, the reason for the end.
pub(crate) fn other_server(input: &[u8]) -> Option<OtherServer> {
    match input {
        [] | [0x20 | 0xE0, ..] => None,
        [b'H', b'T', b'T', b'P', ..] => Some(OtherServer::Web),
        [b'S', b'S', b'H', ..] => Some(OtherServer::Ssh),
        _ => Some(OtherServer::Unknown),
    }
}

/// A server that is not a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherServer {
    /// HTTP, also that of a broker's port for WebSocket.
    Web,
    /// SSH.
    Ssh,
    /// Anything else.
    Unknown,
}

/// Reads any packet that is not a message.
pub(crate) fn packet(
    version: MqttVersion,
    header: Header,
    body: &[u8],
) -> Result<Packet<'_>, Malformed> {
    let mut body = PacketReader(body);
    Ok(match header.first {
        0x20 => {
            // Whether there is a session: there is none, since a clean one was requested.
            body.byte()?;
            Packet::Accepted {
                code: body.byte()?,
                said: body.said(version)?,
            }
        }
        0x40 => Packet::Acknowledged {
            number: body.number()?,
            // A packet that ends here means success.
            code: body.byte().unwrap_or(0),
        },
        0x90 => {
            let number = body.number()?;
            body.said(version)?;
            Packet::Subscribed {
                number,
                codes: body.0,
            }
        }
        0xD0 => Packet::Alive,
        0xE0 if version == MqttVersion::V5 => Packet::Ended {
            code: body.byte().unwrap_or(0),
            said: body.said(version)?,
        },
        _ => return Err(Malformed("a packet that no broker sends to this client")),
    })
}

/// Reads the beginning of a message. `body` may be cut off after it; returns `None` while more is
/// needed, out of `length` bytes.
pub(crate) fn message_head(
    header: Header,
    body: &[u8],
) -> Result<Option<MessageHead<'_>>, Malformed> {
    let qos = (header.first >> 1) & 0b11;
    if qos > 1 {
        return Err(Malformed("a message of a quality that was not asked for"));
    }
    let mut reader = PacketReader(body);
    let mut read = || {
        let topic = reader.field()?;
        let number = if qos > 0 {
            Some(reader.number()?)
        } else {
            None
        };
        Ok((topic, number))
    };
    match read() {
        Ok((_, Some(0))) => Err(Malformed("a message without its number")),
        Ok((topic, number)) => Ok(Some(MessageHead {
            topic,
            number,
            retained: header.first & 1 != 0,
            duplicate: header.first & 0b1000 != 0,
            rest: reader.0,
        })),
        Err(_) if body.len() < header.length => Ok(None),
        Err(problem) => Err(problem),
    }
}

impl<'a> MessageHead<'a> {
    /// Reads properties and payload.
    pub(crate) fn rest(
        &self,
        version: MqttVersion,
    ) -> Result<(BrokerProperties<'a>, &'a [u8]), Malformed> {
        let mut reader = PacketReader(self.rest);
        let said = reader.said(version)?;
        Ok((said, reader.0))
    }
}

/// The unread rest of a packet, or of a part of one.
struct PacketReader<'a>(&'a [u8]);

impl<'a> PacketReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            (self.0.split_at_checked(length)).ok_or(Malformed("a packet that ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    fn number(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let mut length = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(Malformed("a length of more than four bytes"))
    }

    fn field(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// Reads properties, which only version 5 has. A packet that may end before them has none.
    fn said(&mut self, version: MqttVersion) -> Result<BrokerProperties<'a>, Malformed> {
        let mut said = BrokerProperties::default();
        if version == MqttVersion::V3 || self.0.is_empty() {
            return Ok(said);
        }
        let length = self.length()?;
        let mut properties = Self(self.take(length)?);
        while !properties.0.is_empty() {
            properties.property(&mut said)?;
        }
        Ok(said)
    }

    /// Reads one property by its number (MQTT 5, 2.2.2.2).
    fn property(&mut self, said: &mut BrokerProperties<'a>) -> Result<(), Malformed> {
        match self.byte()? {
            0x13 => said.keep_alive = Some(self.number()?),
            0x21 => said.receive_maximum = Some(self.number()?),
            0x24 => said.maximum_qos = Some(self.byte()?),
            0x25 => said.retain_available = Some(self.byte()?),
            0x28 => said.wildcards_available = Some(self.byte()?),
            0x23 => said.topic_alias = Some(self.number()?),
            0x1C => said.server_reference = Some(self.field()?),
            0x27 => said.maximum_packet = Some(u32::from_be_bytes(self.array()?)),
            0x1F => said.reason = Some(self.field()?),
            0x08 => said.response_topic = Some(self.field()?),
            0x09 => said.correlation = Some(self.field()?),
            // Properties that are ignored, by their kind: bytes,
            0x01 | 0x17 | 0x19 | 0x29 | 0x2A => drop(self.byte()?),
            // numbers of two and of four bytes,
            0x22 => drop(self.number()?),
            0x02 | 0x11 | 0x18 => drop(self.take(4)?),
            // lengths,
            0x0B => drop(self.length()?),
            // text and other bytes,
            0x03 | 0x12 | 0x15 | 0x16 | 0x1A => drop(self.field()?),
            // and pairs of texts.
            0x26 => {
                self.field()?;
                self.field()?;
            }
            _ => return Err(Malformed("a property that MQTT 5 does not have")),
        }
        Ok(())
    }
}
