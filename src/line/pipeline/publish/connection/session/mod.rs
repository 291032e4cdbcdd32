//! The state of MQTT on one connection, without I/O: CONNECT with its last will, packet ids,
//! acknowledgements, pings, limits of the broker.
//!
//! ```text
//! publish, subscribe ─► queue ─► out ─► (socket)
//!                         as much as the broker takes at a time
//! (socket) ─► input ─► events
//! ```
//!
//! One bad message must not cost the verdicts: a message that cannot be read is confirmed, reported
//! and ignored, and one that is too long is skipped by its length. Anything else that cannot be
//! read ends the connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tracing::warn;

use super::decode::{self, BrokerProperties, Header, Malformed, MessageHead, Packet};
use super::encode::{self, Outgoing};
use super::failure::Failure;
use super::{
    BrokerLimits, CAPACITY, ConnectionEvent, IN_FLIGHT, Incoming, Message, NotSent, PACKET_LIMIT,
    reason,
};
use crate::line::config::{MqttSettings, MqttVersion};
use crate::line::pipeline::channels::log_limit::Throttle;
use crate::line::pipeline::event::RefusedTopics;
use crate::line::pipeline::part::reply::Reply;

/// Bytes on their way to the socket before no more messages are added. Further ones wait as
/// messages.
const BATCH: usize = 1 << 14;

/// Bytes that may wait for the socket before nothing more is read: a broker that sends and does not
/// read would fill the memory with confirmations.
const OUT_LIMIT: usize = 1 << 16;

/// Maximum topics in one SUBSCRIBE: AWS IoT Core ends the connection over more.
const MOST_TOPICS: usize = 8;

/// Maximum topic aliases that are remembered. None is allowed by this side, and there are brokers
/// that use some anyway.
const MOST_ALIASES: usize = 64;

/// Maximum characters of foreign text in the log.
const SHOWN: usize = 120;

/// One connection's state.
#[derive(Debug)]
pub(crate) struct Session {
    version: MqttVersion,
    root: String,
    limits: BrokerLimits,
    is_accepted: bool,
    /// In seconds, if the broker states how often it expects a sign of life.
    keep_alive: Option<u16>,
    queue: VecDeque<Queued>,
    out: Vec<u8>,
    /// Events to report when all of `out` is on the wire.
    when_sent: VecDeque<ConnectionEvent>,
    /// Whether the socket has taken bytes and may not have passed them on.
    is_unflushed: bool,
    /// Whether the clean disconnect is in `out` or has left it.
    is_leaving: bool,
    input: Vec<u8>,
    /// Bytes of an unwanted packet that are still to come.
    skip: usize,
    last_number: u16,
    in_flight: BTreeSet<u16>,
    /// Subscriptions that are not answered yet.
    asked: BTreeMap<u16, Vec<String>>,
    /// The topics that were refused in the answers so far.
    refused: RefusedTopics,
    /// Topics by their alias.
    aliases: BTreeMap<u16, String>,
    events: VecDeque<ConnectionEvent>,
    complaints: Throttle,
}

#[derive(Debug)]
enum Queued {
    Message(Outgoing),
    /// Packets with their topics.
    Subscription(Vec<(Outgoing, Vec<String>)>),
    Disconnect,
}

impl Session {
    /// Creates a session on which nothing has been sent yet.
    pub(crate) fn new(settings: &MqttSettings) -> Self {
        Self {
            version: settings.version,
            root: settings.root.clone(),
            limits: BrokerLimits::default(),
            is_accepted: false,
            keep_alive: None,
            queue: VecDeque::new(),
            out: Vec::new(),
            when_sent: VecDeque::new(),
            is_unflushed: false,
            is_leaving: false,
            input: Vec::new(),
            skip: 0,
            last_number: 0,
            in_flight: BTreeSet::new(),
            asked: BTreeMap::new(),
            refused: RefusedTopics::default(),
            aliases: BTreeMap::new(),
            events: VecDeque::new(),
            complaints: Throttle::new(Duration::from_secs(60)),
        }
    }

    /// Sends bytes that need no answer from here: the first packet, a probe.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    /// See [`Connection::publish`](super::Connection::publish).
    pub(crate) fn publish(&mut self, message: &Message) -> Result<(), NotSent> {
        let packet = encode::publish(self.version, message)?;
        let (size, limit) = (packet.size(), self.limits.packet);
        if size > limit as usize {
            return Err(NotSent::TooLarge { size, limit });
        }
        self.enqueue(Queued::Message(packet))
    }

    /// See [`Connection::subscribe`](super::Connection::subscribe).
    pub(crate) fn subscribe(&mut self, topics: &[String]) -> Result<(), NotSent> {
        let packets = (topics.chunks(MOST_TOPICS))
            .map(|topics| Ok((encode::subscribe(self.version, topics)?, topics.to_vec())))
            .collect::<Result<_, _>>()?;
        self.enqueue(Queued::Subscription(packets))
    }

    /// Disconnects cleanly, behind everything that was handed over so far.
    pub(crate) fn disconnect(&mut self) -> Result<(), NotSent> {
        self.enqueue(Queued::Disconnect)
    }

    fn enqueue(&mut self, it: Queued) -> Result<(), NotSent> {
        if self.queue.len() >= CAPACITY || self.is_leaving {
            return Err(NotSent::Full);
        }
        self.queue.push_back(it);
        Ok(())
    }

    /// Adds an event from outside the protocol.
    pub(crate) fn report(&mut self, event: ConnectionEvent) {
        self.events.push_back(event);
    }

    /// Returns the oldest unreported event.
    pub(crate) fn event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// Returns whether the broker has accepted the connection.
    pub(crate) fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Returns how often the broker expects a sign of life, if it states that and not "never".
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        let seconds = self.keep_alive.filter(|&seconds| seconds > 0)?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Returns whether the clean disconnect is on the wire, and nothing behind it.
    pub(crate) fn has_left(&self) -> bool {
        self.is_leaving && self.out.is_empty() && !self.is_unflushed
    }

    /// Returns whether there is room for possible answers.
    pub(crate) fn may_receive(&self) -> bool {
        self.out.len() < OUT_LIMIT
    }

    /// Returns the bytes that go to the socket next.
    pub(crate) fn outgoing(&mut self) -> &[u8] {
        while self.is_accepted && !self.is_leaving && self.out.len() < BATCH {
            let room = usize::from(self.limits.receive_maximum.min(IN_FLIGHT));
            let waits = matches!(self.queue.front(), Some(Queued::Message(it)) if it.is_numbered());
            if waits && self.in_flight.len() >= room {
                break;
            }
            match self.queue.pop_front() {
                Some(it) => self.pack(it),
                None => break,
            }
        }
        &self.out
    }

    fn pack(&mut self, it: Queued) {
        match it {
            Queued::Message(packet) => {
                let number = if packet.is_numbered() {
                    let number = self.free_number();
                    self.in_flight.insert(number);
                    number
                } else {
                    0
                };
                self.out.extend(packet.with_number(number));
                self.when_sent.push_back(ConnectionEvent::Sent(number));
            }
            Queued::Subscription(packets) => {
                for (packet, topics) in packets {
                    let number = self.free_number();
                    self.asked.insert(number, topics);
                    self.out.extend(packet.with_number(number));
                }
            }
            Queued::Disconnect => {
                self.is_leaving = true;
                self.out.extend(encode::DISCONNECT);
            }
        }
    }

    fn free_number(&mut self) -> u16 {
        loop {
            self.last_number = self.last_number.checked_add(1).unwrap_or(1);
            let number = self.last_number;
            if !self.in_flight.contains(&number) && !self.asked.contains_key(&number) {
                return number;
            }
        }
    }

    /// Notes that the socket has taken this many bytes of [`Self::outgoing`].
    pub(crate) fn taken(&mut self, count: usize) {
        self.out.drain(..count);
        self.is_unflushed = true;
    }

    /// Returns whether the socket has taken bytes since it was [`Self::flushed`].
    pub(crate) fn is_unflushed(&self) -> bool {
        self.is_unflushed
    }

    /// Notes that the socket has passed on everything that it took.
    pub(crate) fn flushed(&mut self) {
        self.is_unflushed = false;
        self.events.append(&mut self.when_sent);
    }

    /// Processes what the socket has received.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        self.input.extend(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        if !self.is_accepted
            && let Some(other) = decode::other_server(rest)
        {
            return Err(Failure::NotABroker(other));
        }
        while let Some(header) = Header::read(rest)? {
            if header.size() > PACKET_LIMIT as usize {
                if !self.skip_message(header, &rest[header.head..])? {
                    break;
                }
                let here = header.size().min(rest.len());
                self.skip = header.size() - here;
                rest = &rest[here..];
            } else {
                let Some((packet, others)) = rest.split_at_checked(header.size()) else {
                    break;
                };
                self.take_packet(header, &packet[header.head..])?;
                rest = others;
            }
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn take_packet(&mut self, header: Header, body: &[u8]) -> Result<(), Failure> {
        if header.is_message() && self.is_accepted {
            if let Some(message) = decode::message_head(header, body)? {
                self.confirm(&message);
                self.take_message(&message);
            }
            return Ok(());
        }
        match (
            decode::packet(self.version, header, body)?,
            self.is_accepted,
        ) {
            (Packet::Accepted { code, said }, false) => self.enter(code, &said)?,
            (Packet::Ended { code, said }, _) => {
                let reason = reason::disconnect(code);
                let ended = format!("the broker ended it: {}", with_detail(reason, &said));
                return Err(Failure::Other(ended));
            }
            (_, false) => return Err(Failure::Garbled("no CONNACK".to_owned())),
            (Packet::Accepted { .. }, true) => {
                return Err(Failure::Garbled("a second CONNACK".to_owned()));
            }
            (Packet::Acknowledged { number, code }, true) => {
                // An acknowledgement that nothing waits for is ignored.
                if self.in_flight.remove(&number) {
                    self.events.push_back(ConnectionEvent::Acknowledged {
                        packet: number,
                        refused: reason::publish_refusal(code),
                    });
                }
            }
            (Packet::Subscribed { number, codes }, true) => self.note_subscribed(number, codes),
            (Packet::Alive, true) => {}
        }
        Ok(())
    }

    /// Handles CONNACK.
    fn enter(&mut self, code: u8, said: &BrokerProperties<'_>) -> Result<(), Failure> {
        if let Some(reason) = reason::connect_refusal(self.version, code) {
            return Err(Failure::Refused(with_detail(reason, said)));
        }
        let forbidden = match said {
            BrokerProperties {
                receive_maximum: Some(0),
                ..
            } => Some("takes no message at all (Receive Maximum 0), which MQTT 5 forbids"),
            BrokerProperties {
                maximum_packet: Some(0),
                ..
            } => Some("takes no packet at all (Maximum Packet Size 0), which MQTT 5 forbids"),
            BrokerProperties {
                maximum_qos: Some(0),
                ..
            } => Some("does not support QoS 1 (Maximum QoS 0)"),
            BrokerProperties {
                retain_available: Some(0),
                ..
            } => Some("does not support retained messages (Retain Available 0)"),
            _ => None,
        };
        if let Some(problem) = forbidden {
            return Err(Failure::Other(format!("the broker {problem}")));
        }
        let ours = BrokerLimits::default();
        self.limits = BrokerLimits {
            packet: (said.maximum_packet).map_or(ours.packet, |theirs| theirs.min(ours.packet)),
            receive_maximum: said.receive_maximum.unwrap_or(ours.receive_maximum),
            wildcards: said.wildcards_available != Some(0),
        };
        self.keep_alive = said.keep_alive;
        self.is_accepted = true;
        self.events
            .push_back(ConnectionEvent::Connected(self.limits));
        Ok(())
    }

    fn note_subscribed(&mut self, number: u16, codes: &[u8]) {
        let Some(topics) = self.asked.remove(&number) else {
            return;
        };
        // Codes come in the order of the topics.
        let reasons = (codes.iter())
            .map(|&code| reason::subscribe_refusal(self.version, code))
            .chain(std::iter::repeat(Some("not answered")));
        let refused = (topics.iter().zip(reasons))
            .filter_map(|(topic, reason)| Some((topic.clone(), reason?)));
        self.refused.0.extend(refused);
        if self.asked.is_empty() {
            self.events.push_back(ConnectionEvent::Subscribed {
                refused: std::mem::take(&mut self.refused),
            });
        }
    }

    fn confirm(&mut self, message: &MessageHead<'_>) {
        if let Some(number) = message.number {
            self.send(&encode::acknowledgement(number));
        }
    }

    fn take_message(&mut self, message: &MessageHead<'_>) {
        let (topic, said, payload) = match self.read_message(message) {
            Ok(read) => read,
            Err(problem) => {
                return self.complain(&shown(message.topic), &problem.to_string());
            }
        };
        let reply = said.response_topic.and_then(|response| {
            let correlation = said.correlation.map(<[u8]>::to_vec);
            let response = String::from_utf8_lossy(response);
            Reply::new(&response, correlation, &self.root)
                .inspect_err(|error| {
                    if let Some(suppressed) = self.complaints.permit() {
                        warn!(
                            topic,
                            response = shown(response.as_bytes()),
                            %error,
                            suppressed,
                            "No answer will be sent: the response topic cannot be used"
                        );
                    }
                })
                .ok()
        });
        self.events.push_back(ConnectionEvent::Received(Incoming {
            topic,
            payload: payload.to_vec(),
            too_long: None,
            retained: message.retained,
            duplicate: message.duplicate,
            reply,
        }));
    }

    fn read_message<'a>(
        &mut self,
        message: &MessageHead<'a>,
    ) -> Result<(String, BrokerProperties<'a>, &'a [u8]), Malformed> {
        let (said, payload) = message.rest(self.version)?;
        let topic = self.topic(decode::text(message.topic)?, said.topic_alias)?;
        Ok((topic, said, payload))
    }

    /// Returns a message's topic: its own, which an alias then stands for, or that of its alias.
    fn topic(&mut self, topic: &str, alias: Option<u16>) -> Result<String, Malformed> {
        if topic.is_empty() {
            let known = alias.and_then(|alias| self.aliases.get(&alias));
            return known.cloned().ok_or(Malformed::NO_TOPIC);
        }
        if let Some(alias) = alias
            && (self.aliases.len() < MOST_ALIASES || self.aliases.contains_key(&alias))
        {
            self.aliases.insert(alias, topic.to_owned());
        }
        Ok(topic.to_owned())
    }

    /// Confirms a message that is too long to be read, and reports it; returns `false` while its
    /// beginning is incomplete.
    fn skip_message(&mut self, header: Header, body: &[u8]) -> Result<bool, Failure> {
        if !header.is_message() || !self.is_accepted {
            return Err(Malformed::TOO_LONG.into());
        }
        let Some(message) = decode::message_head(header, body)? else {
            return Ok(false);
        };
        self.confirm(&message);
        match decode::text(message.topic) {
            Ok(topic) => self.events.push_back(ConnectionEvent::Received(Incoming {
                topic: topic.to_owned(),
                payload: Vec::new(),
                too_long: Some(header.size()),
                retained: message.retained,
                duplicate: message.duplicate,
                reply: None,
            })),
            Err(problem) => self.complain(&shown(message.topic), &problem.to_string()),
        }
        Ok(true)
    }

    fn complain(&mut self, topic: &str, problem: &str) {
        if let Some(suppressed) = self.complaints.permit() {
            warn!(
                topic,
                problem, suppressed, "A message that cannot be read is ignored"
            );
        }
    }
}

/// Returns the beginning of arbitrary text.
fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(SHOWN).collect();
    text.escape_debug().to_string()
}

/// Returns a reason, with the broker's own explanation, and the server that it names instead of
/// itself.
fn with_detail(reason: &str, said: &BrokerProperties<'_>) -> String {
    let mut text = reason.to_owned();
    if let Some(detail) = said.reason {
        text += &format!(" ({})", shown(detail));
    }
    if let Some(server) = said.server_reference {
        text += &format!("; the broker names `{}`, see mqtt.host", shown(server));
    }
    text
}

#[cfg(test)]
mod tests;
