//! One connection to the broker, from the attempt to its end; never reconnects.
//!
//! A verdict that waits is a verdict on a part that is long gone. So nothing waits here that is not
//! known outside: a message is in the [`Session`]'s queue, or on the wire and listed in
//! [`InFlight`](super::inflight::InFlight), and whatever is still here when the connection ends,
//! including in the kernel's buffer, is discarded with it.
//!
//! ```text
//! dial: name ─► addresses, raced ─► TLS
//!                                     │
//! publish ─► session ─► encode ─────► │ stream
//! next    ◄─ session ◄─ decode ◄───── │
//! ```
//!
//! It has no thread and no task: bytes move while [`Connection::next`] is awaited.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::io::ReadBuf;
use tokio::{select, time};

use crate::line::config::{MqttSettings, Secret};
use crate::line::pipeline::event::RefusedTopics;
use crate::line::pipeline::part::reply::Reply;
pub use failure::ConnectionLost;

use dial::{ByteStream, Dialled, dial, look_up};
use failure::Failure;
use session::Session;

mod decode;
mod dial;
mod encode;
mod failure;
mod reason;
mod session;

/// Maximum messages that may wait for the broker; more than are ever handed over unacknowledged.
const CAPACITY: usize = 64;

/// Maximum unacknowledged messages on the wire; brokers commonly allow 20.
const IN_FLIGHT: u16 = 20;

/// Longest packet in either direction, in bytes; a broker may set a lower limit for what it
/// accepts. Verdicts are a few hundred bytes; this only bounds memory.
pub(crate) const PACKET_LIMIT: u32 = 1 << 20;

/// After a failed write, the time for reading what the broker sent before it closed its end: the
/// reason, most often. It is already in the kernel, unless the network failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// QoS 1 if true, otherwise 0.
    pub(crate) acknowledged: bool,
    pub(crate) retained: bool,
    /// MQTT 5 only.
    pub(crate) content_type: Option<&'static str>,
    /// MQTT 5 only; the broker drops the message when it is older.
    pub(crate) expiry: Option<Duration>,
    /// MQTT 5 only; on an answer, the correlation data of the request.
    pub(crate) correlation: Option<Vec<u8>>,
    /// MQTT 5 only.
    pub(crate) user_properties: Vec<(String, String)>,
}

/// A message received on a subscription. The broker already counts it as delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) topic: String,
    /// Empty if it was `too_long`.
    pub(crate) payload: Vec<u8>,
    /// The bytes of a packet that was longer than [`PACKET_LIMIT`] and has not been read.
    pub(crate) too_long: Option<usize>,
    /// Whether it was published as retained: it may be of any age. On 3.1.1 only stored messages
    /// are marked, on 5 also those published this way a moment ago.
    pub(crate) retained: bool,
    /// Whether it may be a repeated delivery.
    pub(crate) duplicate: bool,
    /// Where an answer is wanted. MQTT 5 only.
    pub(crate) reply: Option<Reply>,
}

/// The broker's limits on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerLimits {
    /// Longest whole packet in bytes: the broker's limit or our own, whichever is lower. MQTT 3.1.1
    /// cannot state the broker's.
    pub(crate) packet: u32,
    /// Maximum messages with acknowledgement on the wire at a time, at least 1.
    pub(crate) receive_maximum: u16,
    /// Whether the topics of a subscription may have wildcards; a broker that states otherwise ends
    /// the connection over one.
    pub(crate) wildcards: bool,
}

impl Default for BrokerLimits {
    /// Returns the limits of a broker that states none.
    fn default() -> Self {
        Self {
            packet: PACKET_LIMIT,
            receive_maximum: u16::MAX,
            wildcards: true,
        }
    }
}

/// Why the broker did not accept a message; it has dropped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishRefusal {
    /// The name in the standard (MQTT 5, 2.4).
    pub(crate) reason: &'static str,
    /// Whether the broker may be refusing only this message: the next one may be accepted. It need
    /// not be; a broker that is over its quota gives the same reason for every message.
    pub(crate) about_payload: bool,
}

/// An event on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    /// The broker has accepted it.
    Connected(BrokerLimits),
    /// The next message, in the order handed over, is on the wire; its packet id, 0 without
    /// acknowledgement.
    Sent(u16),
    /// The broker has taken responsibility for a message, or refused it.
    Acknowledged {
        /// Which one.
        packet: u16,
        /// Why it was refused; `None` if it was accepted.
        refused: Option<PublishRefusal>,
    },
    /// The broker has answered a subscription.
    Subscribed {
        /// The topics it will send nothing from.
        refused: RefusedTopics,
    },
    /// A message on a subscribed topic.
    Received(Incoming),
    /// The broker has received the clean disconnect: it will not publish the will.
    Disconnected,
    /// It has ended, or was never established. Nothing else follows.
    Lost(ConnectionLost),
}

/// Why a message was not handed over. Nothing of it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// [`CAPACITY`] others are waiting, or the clean disconnect was handed over.
    Full,
    /// The packet, or a text in it, would have `size` bytes, and `limit` is the maximum: the broker
    /// would end the connection.
    TooLarge { size: usize, limit: u32 },
}

/// A connection, or the attempt at one. Dropping it cuts it.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: MqttSettings,
    /// The will's topic, and the will.
    will: (String, String),
    link: Link,
    /// Borrowed only for the duration of a call.
    session: RefCell<Session>,
    /// When something is due: first the end of the attempt, then the next probe.
    due: time::Instant,
    /// Whether anything has come in since the last probe.
    has_heard: bool,
    /// When everything that had come was read.
    read_all: Option<time::Instant>,
}

/// The progress of the connection.
enum Link {
    Dialling(Pin<Box<dyn Future<Output = Result<Dialled, Failure>>>>),
    Open(ByteStream),
    /// Writing has failed with this error; until then, the reason may still be read.
    Broken(ByteStream, Option<io::Error>, time::Instant),
    /// Everything is sent; the broker must close its end.
    Leaving(ByteStream),
    Over,
}

impl Connection {
    /// Starts to connect, with a last will on `will_topic`.
    pub(crate) fn open(settings: &MqttSettings, will_topic: &str, will: &str) -> Self {
        Self {
            will: (will_topic.to_owned(), will.to_owned()),
            link: Link::Dialling(Box::pin(dial(settings.clone(), look_up))),
            session: RefCell::new(Session::new(settings)),
            due: time::Instant::now() + settings.connect_timeout,
            has_heard: false,
            read_all: None,
            settings: settings.clone(),
        }
    }

    /// Hands a message over, to be sent in order.
    pub(crate) fn publish(&self, message: Message) -> Result<(), NotSent> {
        self.session.borrow_mut().publish(&message)
    }

    /// Subscribes to these topics with at-least-once delivery, behind everything handed over so
    /// far; [`ConnectionEvent::Subscribed`] is the answer. It lasts as long as this connection.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Result<(), NotSent> {
        self.session.borrow_mut().subscribe(topics)
    }

    /// Disconnects cleanly, behind everything handed over so far;
    /// [`ConnectionEvent::Disconnected`] is the answer.
    pub(crate) fn disconnect(&self) -> Result<(), NotSent> {
        self.session.borrow_mut().disconnect()
    }

    /// Ends a stalled connection, so that nothing queued for it is delivered later: not from here,
    /// and not from the kernel, which sends the broker a reset.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Returns whether everything that had arrived by this moment has been read.
    pub(crate) fn has_read_all_since(&self, moment: Instant) -> bool {
        self.read_all.is_some_and(|at| at.into_std() >= moment)
    }

    /// Returns the next event that has already happened: what arrived in one piece is reported one
    /// by one.
    pub(crate) fn at_hand(&mut self) -> Option<ConnectionEvent> {
        let event = self.session.get_mut().event()?;
        if let ConnectionEvent::Connected(_) = event {
            self.has_heard = true;
            self.due = time::Instant::now() + self.pace();
        }
        Some(event)
    }

    /// Waits for the next event; safe to drop before it has happened.
    pub(crate) async fn next(&mut self) -> ConnectionEvent {
        loop {
            // What arrived together with the end, for example an acknowledgement, is still valid,
            // and is reported first.
            if let Some(event) = self.at_hand() {
                return event;
            }
            if let Err(failure) = self.step().await {
                let is_accepted = self.session.get_mut().is_accepted();
                let last = match std::mem::replace(&mut self.link, Link::Over) {
                    Link::Leaving(_) => ConnectionEvent::Disconnected,
                    _ => {
                        let cause = failure.explain(&self.settings, is_accepted);
                        ConnectionEvent::Lost(ConnectionLost::Explained(cause))
                    }
                };
                self.session.get_mut().report(last);
            }
        }
    }

    /// Does the next piece of work on the connection.
    async fn step(&mut self) -> Result<(), Failure> {
        let session = self.session.get_mut();
        let read_all = &mut self.read_all;
        match &mut self.link {
            Link::Dialling(dialling) => {
                let (stream, password) = dialling.await?;
                self.enter(stream, password.as_ref())
            }
            Link::Open(stream) => select! {
                moved = poll_fn(|context| exchange(stream, session, read_all, context)) => {
                    self.moved(moved)
                }
                () = time::sleep_until(self.due) => self.on_time(),
            },
            Link::Broken(stream, error, until) => select! {
                heard = poll_fn(|context| receive(stream, session, context)) => match heard {
                    Err(failure) if !failure.is_reason() => Err(broken(error)),
                    heard => heard,
                },
                () = time::sleep_until(*until) => Err(broken(error)),
            },
            Link::Leaving(stream) => {
                poll_fn(|context| wait_for_end(stream, session, context)).await
            }
            Link::Over => Err(Failure::Other("it has ended".to_owned())),
        }
    }

    /// Notes whether any bytes came in. If writing failed, the reason is read first.
    fn moved(&mut self, moved: Result<bool, Failure>) -> Result<(), Failure> {
        match moved {
            Err(Failure::Broken(error)) => {
                if let Link::Open(stream) = std::mem::replace(&mut self.link, Link::Over) {
                    let until = time::Instant::now() + LAST_WORDS;
                    self.link = Link::Broken(stream, Some(error), until);
                }
            }
            moved => {
                self.has_heard |= moved?;
                if self.session.get_mut().has_left() {
                    self.leave();
                }
            }
        }
        Ok(())
    }

    /// Sends the first packet once the stream is there.
    fn enter(&mut self, stream: ByteStream, password: Option<&Secret>) -> Result<(), Failure> {
        let (topic, will) = &self.will;
        let username = self.settings.login.as_ref().map(|login| &*login.username);
        let connect = encode::connect(&self.settings, username.zip(password), topic, will)
            .map_err(|_| {
                let problem =
                    "client id, user name, password and topics may have 65,535 bytes each";
                Failure::Other(problem.to_owned())
            })?;
        self.session.get_mut().send(&connect);
        self.link = Link::Open(stream);
        Ok(())
    }

    fn leave(&mut self) {
        if let Link::Open(stream) = std::mem::replace(&mut self.link, Link::Over) {
            self.link = Link::Leaving(stream);
        }
    }

    /// Fails if the attempt is overdue, or sends a probe if one is due.
    fn on_time(&mut self) -> Result<(), Failure> {
        let pace = self.pace();
        let session = self.session.get_mut();
        if !session.is_accepted() {
            let limit = self.settings.connect_timeout;
            return Err(Failure::late("the broker has not answered", limit));
        }
        if !std::mem::replace(&mut self.has_heard, false) {
            let problem = format!("the broker has been silent for {pace:?}, and was asked");
            return Err(Failure::Other(problem));
        }
        session.send(&encode::PINGREQ);
        self.due = time::Instant::now() + pace;
        Ok(())
    }

    /// Returns the time from one probe to the next. A broker may request another pace. A faster one
    /// is kept; with a slower one, or none at all, silence would last longer than acceptable, and
    /// probing more often than requested is allowed.
    fn pace(&mut self) -> Duration {
        let ours = self.settings.keep_alive;
        let theirs = self.session.get_mut().keep_alive();
        theirs.map_or(ours, |theirs| theirs.min(ours))
    }
}

/// Returns the failure that ended the connection; its error is taken once.
fn broken(error: &mut Option<io::Error>) -> Failure {
    error.take().map_or(Failure::Closed, Failure::Broken)
}

/// Moves bytes both ways as far as possible; returns whether any came in, and notes when there were
/// none.
fn exchange(
    stream: &mut ByteStream,
    session: &mut Session,
    read_all: &mut Option<time::Instant>,
    context: &mut Context<'_>,
) -> Poll<Result<bool, Failure>> {
    let has_come = match receive(stream, session, context) {
        Poll::Ready(received) => {
            received?;
            true
        }
        Poll::Pending => {
            if session.may_receive() {
                *read_all = Some(time::Instant::now());
            }
            false
        }
    };
    match send(stream, session, context) {
        // The broker may have given a reason before it closed; if not, it fails again.
        Poll::Ready(Err(_)) if has_come => Poll::Ready(Ok(true)),
        Poll::Ready(sent) => Poll::Ready(sent.map(|()| has_come).map_err(Failure::Broken)),
        Poll::Pending if has_come => Poll::Ready(Ok(true)),
        Poll::Pending => Poll::Pending,
    }
}

/// Bytes that are read at a time, and processed before this side sends again.
const PIECE: usize = 1 << 15;

/// Reads one piece of what has arrived.
fn receive(
    stream: &mut ByteStream,
    session: &mut Session,
    context: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    if !session.may_receive() {
        return Poll::Pending;
    }
    let mut piece = [0; PIECE];
    let mut buffer = ReadBuf::new(&mut piece);
    ready!(stream.as_mut().poll_read(context, &mut buffer)).map_err(Failure::Broken)?;
    if buffer.filled().is_empty() {
        return Poll::Ready(Err(Failure::Closed));
    }
    Poll::Ready(session.receive(buffer.filled()))
}

/// Sends what there is; ready when all of it has just been passed on.
fn send(
    stream: &mut ByteStream,
    session: &mut Session,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while let bytes = session.outgoing()
        && !bytes.is_empty()
    {
        let count = ready!(stream.as_mut().poll_write(context, bytes))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        session.taken(count);
    }
    if !session.is_unflushed() {
        return Poll::Pending;
    }
    ready!(stream.as_mut().poll_flush(context))?;
    session.flushed();
    Poll::Ready(Ok(()))
}

/// Closes this end, so that the last packets arrive, and waits for the broker to close its own.
/// Only that proves that it has received the clean disconnect.
fn wait_for_end(
    stream: &mut ByteStream,
    session: &mut Session,
    context: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    // If this fails the broker is gone, and reading reports it.
    drop(stream.as_mut().poll_shutdown(context));
    receive(stream, session, context)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialling(_) => "Dialling",
            Self::Open(_) => "Open",
            Self::Broken(..) => "Broken",
            Self::Leaving(_) => "Leaving",
            Self::Over => "Over",
        })
    }
}

#[cfg(test)]
mod tests;
