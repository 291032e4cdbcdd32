//! One connection to the broker, from the attempt to its end; never reconnects.
//!
//! A verdict that waits is a verdict on a part that is long gone. So nothing waits here that is
//! not known outside: a message is in the [`Session`]'s queue, or on the wire and listed in
//! [`InFlight`](super::inflight::InFlight), and whatever is still here when the connection ends, the
//! kernel's buffer included, goes with it.
//!
//! ```text
//! dial: name ─► addresses, raced ─► TLS
//!                                     │
//! publish ─► session ─► encode ─────► │ stream
//! next    ◄─ session ◄─ decode ◄───── │
//! ```
//!
//! There is no thread and no task behind it: bytes move while [`Connection::next`] is waited for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::io::ReadBuf;
use tokio::{select, time};

use crate::line::config::{MqttSettings, Secret};
use crate::line::pipeline::part::reply::Reply;
use dial::{ByteStream, Dialled, dial, look_up};
use failure::Failure;
use session::Session;

mod decode;
mod dial;
mod encode;
mod failure;
mod reason;
mod session;

/// Messages that may wait for the broker; more than are ever handed over unacknowledged.
const CAPACITY: usize = 64;

/// Unacknowledged messages on the wire; brokers commonly allow 20.
const IN_FLIGHT: u16 = 20;

/// Longest packet either way, in bytes; a broker may set a lower limit for what it takes. Verdicts
/// are a few hundred bytes; this only bounds memory.
pub(crate) const PACKET_LIMIT: u32 = 1 << 20;

/// What is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// QoS 1, else 0.
    pub(crate) acknowledged: bool,
    pub(crate) retained: bool,
    /// MQTT 5 only.
    pub(crate) content_type: Option<&'static str>,
    /// MQTT 5 only; the broker drops the message when it is older.
    pub(crate) expiry: Option<Duration>,
    /// MQTT 5 only; on an answer, what the request came with.
    pub(crate) correlation: Option<Vec<u8>>,
    /// MQTT 5 only.
    pub(crate) user_properties: Vec<(String, String)>,
}

/// What comes in on a subscription. The broker counts it as delivered already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) topic: String,
    /// Empty where it was `too_long`.
    pub(crate) payload: Vec<u8>,
    /// The bytes of a packet that was longer than [`PACKET_LIMIT`] and has not been read.
    pub(crate) too_long: Option<usize>,
    /// It was published to be kept: it may be of any age. On 3.1.1 only what has been kept is
    /// marked, on 5 also what was published this way a moment ago.
    pub(crate) retained: bool,
    /// It may have come before.
    pub(crate) duplicate: bool,
    /// Where an answer is wanted. MQTT 5 only.
    pub(crate) reply: Option<Reply>,
}

/// What the broker takes on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerLimits {
    /// Longest packet in bytes, all of it counted: the broker's limit or our own, whichever is
    /// lower. MQTT 3.1.1 has no word for the broker's.
    pub(crate) packet: u32,
    /// Messages with acknowledgement that may be on the wire at a time, at least 1.
    pub(crate) receive_maximum: u16,
}

impl Default for BrokerLimits {
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
pub(crate) struct PublishRefusal {
    /// As the standard calls it (MQTT 5, 2.4).
    pub(crate) reason: &'static str,
    /// It may be this message alone that the broker does not want: the next one may be taken. It
    /// need not be; a broker that is out of its quota says the same of every message.
    pub(crate) about_payload: bool,
}

/// What happens on a connection.
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
        /// Why it was refused; `None` if it was taken.
        refused: Option<PublishRefusal>,
    },
    /// The broker has answered a subscription.
    Subscribed {
        /// The topics it will send nothing from, each with the reason.
        refused: Vec<String>,
    },
    /// A message on a subscribed topic.
    Received(Incoming),
    /// The broker has taken the clean disconnect: it will not publish the will.
    Disconnected,
    /// It has ended, or never came about. Nothing else follows.
    Lost(String),
}

/// Why a message was not handed over. Nothing of it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// [`CAPACITY`] others wait, or the clean disconnect was handed over.
    Full,
    /// The packet, or a text in it, would have `size` bytes, and `limit` is as much as goes: the
    /// broker would end the connection.
    TooLarge { size: usize, limit: u32 },
}

/// A connection, or the attempt at one. Dropping it cuts it.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: MqttSettings,
    /// The will's topic, and the will.
    will: (String, String),
    link: Link,
    /// Borrowed for the time of a call and no longer.
    session: RefCell<Session>,
    /// When something is due: first the end of the attempt, then the next probe.
    due: time::Instant,
    /// Whether anything has come in since the last probe.
    has_heard: bool,
    /// When everything that had come was read.
    read_all: Option<time::Instant>,
}

/// How far it is.
enum Link {
    Dialling(Pin<Box<dyn Future<Output = Result<Dialled, Failure>>>>),
    Open(ByteStream),
    /// Everything is said; the broker is to close its end.
    Leaving(ByteStream),
    Over,
}

impl Connection {
    /// Begins to connect, with a last will on `will_topic`.
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

    /// Asks for every message on these topics, at least once each, behind everything handed over
    /// so far; [`ConnectionEvent::Subscribed`] is the answer. It lasts as long as this connection.
    pub(crate) fn subscribe(&self, topics: &[String]) -> Result<(), NotSent> {
        self.session.borrow_mut().subscribe(topics)
    }

    /// Disconnects cleanly, behind everything handed over so far;
    /// [`ConnectionEvent::Disconnected`] is the answer.
    pub(crate) fn disconnect(&self) -> Result<(), NotSent> {
        self.session.borrow_mut().disconnect()
    }

    /// Ends a connection that stalls, so that nothing that is queued for it is delivered later: not
    /// here, and not in the kernel, which tells the broker so with a reset.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Whether everything that had come by this moment has been read.
    pub(crate) fn has_read_all_since(&self, moment: Instant) -> bool {
        self.read_all.is_some_and(|at| at.into_std() >= moment)
    }

    /// The next thing that has happened already: what came in one piece is told one by one.
    pub(crate) fn at_hand(&mut self) -> Option<ConnectionEvent> {
        let event = self.session.get_mut().event()?;
        if let ConnectionEvent::Connected(_) = event {
            self.has_heard = true;
            self.due = time::Instant::now() + self.pace();
        }
        Some(event)
    }

    /// The next thing that happens; safe to drop before it has.
    pub(crate) async fn next(&mut self) -> ConnectionEvent {
        loop {
            // What came in one piece with the end, an acknowledgement for example, has come all the
            // same, and is told first.
            if let Some(event) = self.at_hand() {
                return event;
            }
            if let Err(failure) = self.step().await {
                let is_accepted = self.session.get_mut().is_accepted();
                let last = match std::mem::replace(&mut self.link, Link::Over) {
                    Link::Leaving(_) => ConnectionEvent::Disconnected,
                    _ => ConnectionEvent::Lost(failure.explain(&self.settings, is_accepted)),
                };
                self.session.get_mut().tell(last);
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
                    self.has_heard |= moved?;
                    if session.has_left() {
                        self.leave();
                    }
                    Ok(())
                }
                () = time::sleep_until(self.due) => self.on_time(),
            },
            Link::Leaving(stream) => {
                poll_fn(|context| wait_for_end(stream, session, context)).await
            }
            Link::Over => Err(Failure::Other("it has ended".to_owned())),
        }
    }

    /// The stream is there: what is said first.
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

    /// The attempt has to be over by now, or it is time for a probe.
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

    /// From one probe to the next. A broker may ask for another pace. A faster one is kept; with a
    /// slower one, or none at all, silence would last longer than we are willing to wait, and to
    /// probe more often than asked is allowed.
    fn pace(&mut self) -> Duration {
        let ours = self.settings.keep_alive;
        let theirs = self.session.get_mut().keep_alive();
        theirs.map_or(ours, |theirs| theirs.min(ours))
    }
}

/// Moves bytes both ways as far as they go; returns whether any came in, and notes when there were
/// none to come.
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
        // The broker may have said why before it closed; if not, it fails again.
        Poll::Ready(Err(_)) if has_come => Poll::Ready(Ok(true)),
        Poll::Ready(sent) => Poll::Ready(sent.map(|()| has_come).map_err(Failure::Broken)),
        Poll::Pending if has_come => Poll::Ready(Ok(true)),
        Poll::Pending => Poll::Pending,
    }
}

/// Bytes that are read at a time, and looked at before it is this side's turn again.
const PIECE: usize = 1 << 15;

/// Takes what has come in, one piece.
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

/// Sends what there is; ready when all of it has been passed on just now.
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

/// Closes this end, so that what was said last arrives, and waits for the broker to close its own.
/// Only then is it known to have received the clean disconnect.
fn wait_for_end(
    stream: &mut ByteStream,
    session: &mut Session,
    context: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    // Where this fails the broker is gone, and reading says so.
    drop(stream.as_mut().poll_shutdown(context));
    receive(stream, session, context)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialling(_) => "Dialling",
            Self::Open(_) => "Open",
            Self::Leaving(_) => "Leaving",
            Self::Over => "Over",
        })
    }
}

#[cfg(test)]
mod tests;
