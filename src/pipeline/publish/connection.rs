//! One connection to the broker, from the attempt to its end; never reconnects.
//!
//! The client library keeps queues of its own and, when left to reconnect, sends what is in them
//! after the reconnect: a verdict on a part that is long gone. So a client lives for exactly one
//! connection, and everything it still holds goes with it. What was handed to it and never
//! acknowledged is known from outside, by [`Ledger`](super::ledger::Ledger).
//!
//! The library has one set of types for each protocol version; only this module and its two parts
//! see either.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use failure::Failure;
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use tokio::{sync::mpsc, task::JoinHandle, time};

use super::reply::Reply;
use crate::config::{MqttSettings, MqttVersion};

mod failure;
mod v3;
mod v5;

/// Messages that the client may hold; more than are ever handed over unacknowledged.
const CAPACITY: usize = 64;

/// Unacknowledged messages on the wire; brokers commonly allow 20.
const IN_FLIGHT: u16 = 20;

/// Longest packet either way, in bytes; a broker may set a lower limit for what it takes. Verdicts
/// are a few hundred bytes; this only bounds memory.
const PACKET_LIMIT: u32 = 1 << 20;

/// What is published.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// MQTT 5 only; on an answer, what the request came with.
    pub(super) correlation: Option<Vec<u8>>,
    /// MQTT 5 only.
    pub(super) user_properties: Vec<(String, String)>,
}

/// What comes in on a subscription. The broker counts it as delivered already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// It was published to be kept: it may be of any age. On 3.1.1 only what has been kept is
    /// marked, on 5 also what was published this way a moment ago.
    pub(super) retained: bool,
    /// It may have come before.
    pub(super) duplicate: bool,
    /// Where an answer is wanted. MQTT 5 only.
    pub(super) reply: Option<Reply>,
}

/// What the broker takes on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Longest packet in bytes, all of it counted: the broker's limit or our own, whichever is
    /// lower. MQTT 3.1.1 has no word for the broker's.
    pub(super) packet: u32,
    /// Messages with acknowledgement that may be on the wire at a time, at least 1.
    pub(super) receive_maximum: u16,
}

impl Default for Limits {
    /// Those of a broker that says nothing of its own.
    fn default() -> Self {
        Self {
            packet: PACKET_LIMIT,
            receive_maximum: u16::MAX,
        }
    }
}

/// Why the broker did not take a message; it has dropped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// As the standard calls it (MQTT 5, 2.4).
    pub(super) reason: &'static str,
    /// It may be this message alone that the broker does not want: the next one may be taken. It
    /// need not be; a broker that is out of its quota says the same of every message.
    pub(super) about_payload: bool,
}

/// What happens on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The broker has accepted it.
    Connected(Limits),
    /// The next message, in the order handed over, is on the wire; its packet id, 0 without
    /// acknowledgement.
    Sent(u16),
    /// The broker has taken responsibility for a message, or refused it.
    Acknowledged {
        /// Which one.
        packet: u16,
        /// Why it was refused; `None` if it was taken.
        refused: Option<Refusal>,
    },
    /// The broker has answered a subscription.
    Subscribed {
        /// The topics it will send nothing from, each with the reason.
        refused: Vec<String>,
    },
    /// A message on a subscribed topic.
    Received(Incoming),
    /// The farewell is on the wire: the broker will not publish the will.
    Disconnected,
    /// It has ended, or never came about. Nothing else follows.
    Lost(String),
}

/// A connection, or the attempt at one. Dropping it ends it without a farewell; the kernel then
/// still sends what it has taken. See [`Connection::cut`].
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    limits: Limits,
    steps: mpsc::Receiver<Step>,
    asked: Mutex<Asked>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Client {
    V3(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// What the event loops report: what happens, and what it takes to understand the answers to
/// subscriptions, which come without the topics.
#[derive(Debug)]
enum Step {
    Happened(Happening),
    /// The next subscription, in the order handed over, is on the wire.
    Asked(u16),
    /// The answer to one, topic by topic: why it was refused, or `None`.
    Answered {
        packet: u16,
        refusals: Vec<Option<&'static str>>,
    },
}

/// Subscriptions that are not answered yet.
#[derive(Debug, Default)]
struct Asked {
    handed_over: VecDeque<Vec<String>>,
    on_the_wire: BTreeMap<u16, Vec<String>>,
}

/// Why a message was not handed to the client. Nothing of it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// The client holds [`CAPACITY`] others, or is gone.
    Full,
    /// The packet would have `size` bytes and the broker takes `limit`: it would end the
    /// connection.
    TooLarge { size: usize, limit: u32 },
}

impl Connection {
    /// Begins to connect, with a last will on `will_topic`.
    pub(super) fn open(settings: &MqttSettings, will_topic: &str, will: &str) -> Self {
        let (sender, steps) = mpsc::channel(CAPACITY);
        // A probe leaves after each `keep_alive`, whatever else comes and goes. Where nothing at
        // all happens for longer than two of them, the peer is gone without a word. The attempt
        // has a limit of its own, which ends it with a better reason.
        let silence = (settings.keep_alive * 2).max(settings.connect_timeout * 2);
        let all = settings.clone();
        let (client, task) = match settings.version {
            MqttVersion::V3 => {
                let (client, events) = v3::open(settings, will_topic, will);
                let task = tokio::spawn(forward(events, sender, silence, all));
                (Client::V3(client), task)
            }
            MqttVersion::V5 => {
                let (client, events) = v5::open(settings, will_topic, will);
                let task = tokio::spawn(forward(events, sender, silence, all));
                (Client::V5(client), task)
            }
        };
        Self {
            client,
            limits: Limits::default(),
            steps,
            asked: Mutex::default(),
            task,
        }
    }

    /// The next thing that happens; safe to drop before it has.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            let asked = self.asked.get_mut().unwrap_or_else(PoisonError::into_inner);
            match self.steps.recv().await {
                Some(Step::Happened(happening)) => {
                    if let Happening::Connected(limits) = happening {
                        self.limits = limits;
                    }
                    return happening;
                }
                Some(Step::Asked(packet)) => asked.sent(packet),
                Some(Step::Answered { packet, refusals }) => {
                    if let Some(refused) = asked.answered(packet, &refusals) {
                        return Happening::Subscribed { refused };
                    }
                }
                None => return Happening::Lost("the client has ended".to_owned()),
            }
        }
    }

    /// Hands a message over, to be sent in order.
    pub(super) fn publish(&self, message: Message) -> Result<(), NotSent> {
        match &self.client {
            Client::V3(client) => v3::publish(client, message, self.limits),
            Client::V5(client) => v5::publish(client, message, self.limits),
        }
    }

    /// Asks for every message on these topics, at least once each, behind everything handed over
    /// so far; [`Happening::Subscribed`] is the answer. It lasts as long as this connection.
    pub(super) fn subscribe(&self, topics: &[String]) -> Result<(), NotSent> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.client {
            Client::V3(client) => v3::subscribe(client, topics),
            Client::V5(client) => v5::subscribe(client, topics),
        }?;
        asked.handed_over.push_back(topics.to_vec());
        Ok(())
    }

    /// Says farewell behind everything handed over so far.
    pub(super) fn disconnect(&self) -> Result<(), NotSent> {
        match &self.client {
            Client::V3(client) => client.try_disconnect().map_err(|_| NotSent::Full),
            Client::V5(client) => client.try_disconnect().map_err(|_| NotSent::Full),
        }
    }

    /// Ends a connection that stands still, so that nothing queued for it is delivered later.
    pub(super) fn cut(self) {
        drop(self);
    }
}

impl Limits {
    /// Refuses a packet of this size that is too long for the broker.
    fn check(self, size: usize) -> Result<(), NotSent> {
        if size > self.packet as usize {
            let limit = self.packet;
            return Err(NotSent::TooLarge { size, limit });
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    fn sent(&mut self, packet: u16) {
        if let Some(topics) = self.handed_over.pop_front() {
            self.on_the_wire.insert(packet, topics);
        }
    }

    /// The topics that were refused, with the reasons; `None` if nobody asked.
    fn answered(&mut self, packet: u16, refusals: &[Option<&str>]) -> Option<Vec<String>> {
        let topics = self.on_the_wire.remove(&packet)?;
        // Reasons come in the order of the topics.
        let reasons = refusals
            .iter()
            .copied()
            .chain(std::iter::repeat(Some("not answered")));
        let refused = topics
            .iter()
            .zip(reasons)
            .filter_map(|(topic, reason)| Some(format!("{topic}: {}", reason?)));
        Some(refused.collect())
    }
}

/// What the event loops of both versions have in common.
trait Events: Send + 'static {
    /// Does the next piece of work on the connection.
    fn step(&mut self) -> impl Future<Output = Result<Option<Step>, Failure>> + Send;

    /// After an error: the oldest thing that happened before it and was not told. What comes in
    /// one piece with the end of the connection, an acknowledgement for example, has come all the
    /// same.
    fn untold(&mut self) -> Option<Step>;
}

/// Passes on what happens until the connection is lost or nobody listens any more.
async fn forward(
    mut events: impl Events,
    sender: mpsc::Sender<Step>,
    silence: Duration,
    settings: MqttSettings,
) {
    let mut accepted = false;
    let lost = loop {
        let step = match time::timeout(silence, events.step()).await {
            Ok(Ok(Some(step))) => step,
            Ok(Ok(None)) => continue,
            Ok(Err(failure)) => break failure.explain(&settings, accepted),
            Err(_) => break format!("the broker has been silent for {silence:?}"),
        };
        accepted |= matches!(step, Step::Happened(Happening::Connected(_)));
        let is_over = matches!(step, Step::Happened(Happening::Disconnected));
        if sender.send(step).await.is_err() || is_over {
            return;
        }
    };
    let untold = std::iter::from_fn(|| events.untold());
    for step in untold.chain([Step::Happened(Happening::Lost(lost))]) {
        if sender.send(step).await.is_err() {
            return;
        }
    }
}

/// How the bytes travel.
fn transport(settings: &MqttSettings) -> Transport {
    match &settings.tls {
        Some(tls) => Transport::tls_with_config(TlsConfiguration::Rustls(tls.client_config())),
        None => Transport::Tcp,
    }
}

/// What is worth knowing of the packets that leave; both versions have the same type for them.
fn sent_or_disconnected(outgoing: &Outgoing) -> Option<Step> {
    match outgoing {
        Outgoing::Publish(packet) => Some(Step::Happened(Happening::Sent(*packet))),
        Outgoing::Subscribe(packet) => Some(Step::Asked(*packet)),
        Outgoing::Disconnect => Some(Step::Happened(Happening::Disconnected)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
