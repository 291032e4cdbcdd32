//! A broker that a test scripts, packet by packet: for what a real one cannot be made to do.
//!
//! It has one client at a time and delivers nothing; it reports to the test what came.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::process::LIMIT;

/// What the client sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// It opens a connection.
    Connect,
    /// It asks for topics.
    Subscribe {
        /// Those of this packet.
        topics: Vec<String>,
    },
    /// A message.
    Publish {
        /// The whole topic.
        topic: String,
        /// JSON, or text if it is not JSON.
        payload: Value,
    },
    /// It probes the connection.
    Ping,
    /// It says goodbye.
    Disconnect,
}

impl Packet {
    /// Returns the last level of a message's topic.
    pub fn kind(&self) -> &str {
        match self {
            Self::Publish { topic, .. } => topic.rsplit('/').next().unwrap_or_default(),
            _ => "",
        }
    }

    /// Returns the number of the verdict or record.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Publish { payload, .. } => {
                let data = payload.get("data").unwrap_or(payload);
                data["seq"].as_u64().unwrap_or_default()
            }
            _ => 0,
        }
    }

    /// Returns whether it is this message about this verdict.
    pub fn is(&self, kind: &str, seq: u64) -> bool {
        self.kind() == kind && self.seq() == seq
    }
}

/// What the broker does about a packet.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What it should.
    Well,
    /// The same, and sends this as well.
    WellAnd(Vec<u8>),
    /// What it should, and from then on sends this over and over, as fast as the client reads.
    WellUnder(Vec<u8>),
    /// Exactly this packet.
    Instead(Vec<u8>),
    /// It says no, with this reason code.
    No(u8),
    /// Nothing at all.
    Silence,
    /// It ends the connection without a DISCONNECT.
    End,
    /// It ends the connection with this reason code.
    EndWith(u8),
}

/// A packet that came, and on which connection.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counts connections, from 1 on.
    pub connection: u32,
    /// What came.
    pub packet: Packet,
}

/// The broker.
pub struct Scripted {
    /// Where it listens, on the loopback address.
    pub port: u16,
    seen: Receiver<Seen>,
}

impl Scripted {
    /// Listens, and answers as `script` says; with MQTT 5 or 3.1.1 as the client asks for.
    pub fn start(script: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::channel();
        thread::spawn(move || {
            let mut script = script;
            for (connection, stream) in (1..).zip(listener.incoming()) {
                let mut client = Client {
                    stream: stream.unwrap(),
                    flood: None,
                    is_5: true,
                    connection,
                };
                // It ends when the client goes, or the test.
                client.serve(&mut script, &sender);
            }
        });
        Self { port, seen }
    }

    /// Returns what comes, up to and with the first that fits.
    pub fn until(&self, what: &str, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + LIMIT;
        let mut all = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(seen) = self.seen.recv_timeout(left) else {
                panic!("waiting for {what}; there came {all:#?}");
            };
            let is_last = fits(&seen);
            all.push(seen);
            if is_last {
                return all;
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Where answers go once something else is sent without a pause.
    flood: Option<Sender<Vec<u8>>>,
    is_5: bool,
    connection: u32,
}

impl Client {
    fn serve(&mut self, script: &mut impl FnMut(&Seen) -> Answer, sender: &Sender<Seen>) {
        while let Some((first, body)) = self.read() {
            if first >> 4 == 1 {
                self.is_5 = body[6] == 5;
            }
            let (packet, id) = self.parse(first, &body);
            let seen = Seen {
                connection: self.connection,
                packet,
            };
            let answer = script(&seen);
            let is_over = self.answer(&seen.packet, &id, answer).is_none();
            let is_heard = sender.send(seen).is_ok();
            if is_over {
                // Closed over what was not read, it would reset the connection, and that takes
                // acknowledgements that the client has not read yet.
                self.stream.shutdown(Shutdown::Write).ok();
                io::copy(&mut self.stream, &mut io::sink()).ok();
            }
            if is_over || !is_heard {
                return;
            }
        }
    }

    /// The next packet: its first byte, and what follows its length.
    fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        let first = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((first, body))
    }

    /// A packet, and its id if it needs an acknowledgement.
    fn parse(&self, first: u8, body: &[u8]) -> (Packet, Vec<u8>) {
        match first >> 4 {
            1 => (Packet::Connect, Vec::new()),
            3 => {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
                let mut rest = &body[2 + length..];
                let mut id = Vec::new();
                if first & 0b110 != 0 {
                    id.extend(&rest[..2]);
                    rest = &rest[2..];
                }
                if self.is_5 {
                    let (length, size) = variable(rest);
                    rest = &rest[size + length..];
                }
                let text = String::from_utf8_lossy(rest).into_owned();
                let payload = serde_json::from_str(&text).unwrap_or(Value::String(text));
                (Packet::Publish { topic, payload }, id)
            }
            8 => {
                let topics = self.topics(&body[2..]);
                (Packet::Subscribe { topics }, body[..2].to_vec())
            }
            12 => (Packet::Ping, Vec::new()),
            14 => (Packet::Disconnect, Vec::new()),
            other => panic!("a packet of the kind {other} is not for a broker"),
        }
    }

    /// `None` if the connection is over.
    fn answer(&mut self, packet: &Packet, id: &[u8], answer: Answer) -> Option<()> {
        let (code, more) = match answer {
            Answer::Well => (None, Vec::new()),
            Answer::WellAnd(more) => (None, more),
            Answer::WellUnder(flood) => {
                self.flood(flood);
                (None, Vec::new())
            }
            Answer::Instead(bytes) => return self.write(&bytes),
            Answer::No(code) => (Some(code), Vec::new()),
            Answer::Silence => return Some(()),
            Answer::End => return None,
            Answer::EndWith(code) => {
                self.write(&[0xE0, 2, code, 0]);
                return None;
            }
        };
        let code_or = |usual: u8| code.unwrap_or(usual);
        let mut bytes = match packet {
            Packet::Connect if self.is_5 => framed(0x20, &[0, code_or(0), 0]),
            Packet::Connect => framed(0x20, &[0, code_or(0)]),
            Packet::Subscribe { topics } => {
                let properties: &[u8] = if self.is_5 { &[0] } else { &[] };
                let codes = vec![code_or(1); topics.len()];
                framed(0x90, &[id, properties, &codes].concat())
            }
            Packet::Publish { .. } if id.is_empty() => Vec::new(),
            Packet::Publish { .. } if self.is_5 => framed(0x40, &[id, &[code_or(0)]].concat()),
            Packet::Publish { .. } => framed(0x40, id),
            Packet::Ping => framed(0xD0, &[]),
            Packet::Disconnect => return None,
        };
        bytes.extend(more);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        match &self.flood {
            Some(flood) => flood.send(bytes.to_vec()).ok(),
            None => self.stream.write_all(bytes).ok(),
        }
    }

    /// Sends this over and over, and answers in between, until the connection ends. Just enough of
    /// it is in this end's kernel that the client never runs out of it: that queue does not concern
    /// the client.
    fn flood(&mut self, flood: Vec<u8>) {
        rustix::net::sockopt::set_socket_send_buffer_size(&self.stream, 1 << 18).unwrap();
        let (sender, answers) = mpsc::channel();
        self.flood = Some(sender);
        let mut stream = self.stream.try_clone().unwrap();
        thread::spawn(move || {
            let mut is_open = true;
            while is_open {
                let answers: Vec<u8> = answers.try_iter().flatten().collect();
                is_open = stream
                    .write_all(&[answers.as_slice(), &flood].concat())
                    .is_ok();
            }
        });
    }

    /// The topics that a subscription asks for, by what follows its id.
    fn topics(&self, mut rest: &[u8]) -> Vec<String> {
        if self.is_5 {
            let (length, size) = variable(rest);
            rest = &rest[size + length..];
        }
        let mut topics = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            topics.push(String::from_utf8_lossy(&rest[2..2 + length]).into_owned());
            rest = &rest[3 + length..];
        }
        topics
    }
}

/// Returns an MQTT 5 message at QoS 0, as it goes over the wire.
pub fn message(topic: &str, payload: &str) -> Vec<u8> {
    with_properties(topic, &[], payload)
}

/// The same, whose answer is to come on `response`.
pub fn request(topic: &str, response: &str, payload: &str) -> Vec<u8> {
    with_properties(topic, &[&[8], text(response).as_slice()].concat(), payload)
}

fn with_properties(topic: &str, properties: &[u8], payload: &str) -> Vec<u8> {
    let length = [u8::try_from(properties.len()).unwrap()];
    framed(
        0x30,
        &[&text(topic), &length[..], properties, payload.as_bytes()].concat(),
    )
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text.as_bytes()].concat()
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 0x80, "one byte says the length");
    [&[first, length], body].concat()
}

/// A number of variable length, and its own length.
fn variable(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return (value, place + 1);
        }
    }
    panic!("the packet ends in a number");
}
