//! A small MQTT 5 broker inside this process, on a free loopback port.
//!
//! It has what a demonstration needs: subscriptions with wildcards, retained messages, and
//! acknowledgements, for as many clients as connect. It knows no sessions, wills, passwords or TLS,
//! and delivers once at most; a plant has a real one. The packets are read and written by the
//! client's library.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Filter, Packet, PingResp, PubAck, Publish,
    RetainForwardRule, SubAck, SubscribeReasonCode, UnsubAck, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{Error, QoS, matches};

/// Bytes of the largest packet that is taken.
const LARGEST_PACKET: u32 = 1 << 20;

/// How long a client may leave what it is sent unread before it is disconnected.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A broker that speaks MQTT 5. It cannot be stopped: it lives as long as the process.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts the broker, which accepts connections from here on.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || accept(&listener))?;
        Ok(Self { address })
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Gives each client a thread.
fn accept(listener: &TcpListener) {
    let router = Arc::new(Mutex::new(Router::default()));
    for (number, stream) in listener.incoming().enumerate() {
        let router = Arc::clone(&router);
        // A client that cannot be served sees its connection end.
        let served = stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(WRITE_LIMIT))?;
            thread::Builder::new()
                .name(format!("broker-{number}"))
                .spawn(move || serve(number, stream, &router))
        });
        if let Err(error) = served {
            tracing::warn!(%error, "The embedded broker cannot serve a client");
        }
    }
}

/// Reads the packets of one client until it leaves or sends something else.
fn serve(number: usize, mut stream: TcpStream, router: &Mutex<Router>) {
    let mut received = BytesMut::new();
    let mut chunk = [0; 4096];
    loop {
        let end = match Packet::read(&mut received, Some(LARGEST_PACKET)) {
            Ok(packet) => router.lock().take(number, &stream, packet).is_err(),
            Err(Error::InsufficientBytes(_)) => match stream.read(&mut chunk) {
                Ok(0) | Err(_) => true,
                Ok(length) => {
                    received.extend_from_slice(&chunk[..length]);
                    false
                }
            },
            // The library takes a DISCONNECT without a reason for an error, too.
            Err(_) => true,
        };
        if end {
            router.lock().clients.remove(&number);
            return;
        }
    }
}

/// A packet after which the connection ends.
struct End;

/// Who is connected, and the last retained message of each topic.
#[derive(Default)]
struct Router {
    clients: HashMap<usize, Client>,
    retained: BTreeMap<String, Publish>,
}

struct Client {
    stream: TcpStream,
    filters: Vec<String>,
}

impl Router {
    /// Does what a packet from client `number` asks for.
    fn take(&mut self, number: usize, stream: &TcpStream, packet: Packet) -> Result<(), End> {
        if let Packet::Connect(connect, ..) = &packet {
            let client = Client {
                stream: stream.try_clone().map_err(|_| End)?,
                filters: Vec::new(),
            };
            if self.clients.insert(number, client).is_some() {
                return Err(End);
            }
            let id = (connect.client_id.is_empty()).then(|| format!("client-{number}"));
            return self.send(number, &Packet::ConnAck(accepted(id)));
        }
        if !self.clients.contains_key(&number) {
            return Err(End);
        }
        match packet {
            Packet::Subscribe(subscribe) => {
                self.subscribe(number, subscribe.pkid, subscribe.filters)
            }
            Packet::Unsubscribe(unsubscribe) => {
                let reasons = vec![UnsubAckReason::Success; unsubscribe.filters.len()];
                if let Some(client) = self.clients.get_mut(&number) {
                    client
                        .filters
                        .retain(|filter| !unsubscribe.filters.contains(filter));
                }
                let answer = UnsubAck {
                    pkid: unsubscribe.pkid,
                    reasons,
                    properties: None,
                };
                self.send(number, &Packet::UnsubAck(answer))
            }
            Packet::Publish(message) => {
                let answer = match message.qos {
                    QoS::AtMostOnce => Ok(()),
                    QoS::AtLeastOnce => {
                        self.send(number, &Packet::PubAck(PubAck::new(message.pkid, None)))
                    }
                    QoS::ExactlyOnce => Err(End),
                };
                self.route(message)?;
                answer
            }
            Packet::PingReq(_) => self.send(number, &Packet::PingResp(PingResp)),
            Packet::PubAck(_) => Ok(()),
            _ => Err(End),
        }
    }

    /// Adds subscriptions, and sends what is retained for them.
    fn subscribe(&mut self, number: usize, pkid: u16, filters: Vec<Filter>) -> Result<(), End> {
        let granted = SubscribeReasonCode::Success(QoS::AtMostOnce);
        let answer = SubAck {
            pkid,
            return_codes: vec![granted; filters.len()],
            properties: None,
        };
        self.send(number, &Packet::SubAck(answer))?;
        for filter in filters {
            if filter.retain_forward_rule != RetainForwardRule::Never {
                let messages: Vec<Packet> = (self.retained.iter())
                    .filter(|(topic, _)| matches(topic, &filter.path))
                    .map(|(_, message)| Packet::Publish(message.clone()))
                    .collect();
                for message in &messages {
                    self.send(number, message)?;
                }
            }
            if let Some(client) = self.clients.get_mut(&number) {
                client.filters.push(filter.path);
            }
        }
        Ok(())
    }

    /// Sends a message to all who subscribe to its topic, and keeps it if it says so.
    fn route(&mut self, mut message: Publish) -> Result<(), End> {
        let topic = String::from_utf8(message.topic.to_vec()).map_err(|_| End)?;
        // The library compares the first byte as if it were a letter.
        if !topic.starts_with(|letter: char| letter.is_ascii() && letter != '$') {
            return Err(End);
        }
        (message.dup, message.qos, message.pkid) = (false, QoS::AtMostOnce, 0);
        if message.retain {
            match message.payload.is_empty() {
                true => self.retained.remove(&topic),
                false => self.retained.insert(topic.clone(), message.clone()),
            };
        }
        message.retain = false;
        let interested: Vec<usize> = (self.clients.iter())
            .filter(|(_, client)| client.filters.iter().any(|filter| matches(&topic, filter)))
            .map(|(&number, _)| number)
            .collect();
        let message = Packet::Publish(message);
        for number in interested {
            // That one does not read is no reason to disconnect the one that sends.
            if self.send(number, &message).is_err() {
                self.clients.remove(&number);
            }
        }
        Ok(())
    }

    fn send(&mut self, number: usize, packet: &Packet) -> Result<(), End> {
        let client = self.clients.get_mut(&number).ok_or(End)?;
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).map_err(|_| End)?;
        client.stream.write_all(&bytes).map_err(|_| End)
    }
}

/// The answer to a CONNECT, which says what this broker does not do.
fn accepted(assigned: Option<String>) -> ConnAck {
    ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: Some(ConnAckProperties {
            session_expiry_interval: Some(0),
            receive_max: None,
            max_qos: Some(1),
            retain_available: None,
            max_packet_size: Some(LARGEST_PACKET),
            assigned_client_identifier: assigned,
            topic_alias_max: None,
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: None,
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use rumqttc::v5::mqttbytes::v5::Connect;

    use super::*;

    /// A client of mosquitto, as a user may attach one to the demo.
    fn mosquitto(program: &str, broker: &EmbeddedBroker, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(["-V", "5", "-p", &broker.address().port().to_string()])
            .args(arguments)
            .output()
            .expect("mosquitto-clients are installed")
    }

    #[test]
    fn others_get_what_is_retained_and_what_is_published_where_they_subscribe() {
        let broker = EmbeddedBroker::start().expect("a port is free");
        let publish = |arguments: &[&str]| mosquitto("mosquitto_pub", &broker, arguments);
        let state = publish(&["-q", "1", "-r", "-t", "flawd/a/state", "-m", "online"]);
        assert!(state.status.success(), "{state:?}");
        let passing = publish(&["-q", "1", "-t", "flawd/a/verdict", "-m", "good"]);
        assert!(passing.status.success(), "{passing:?}");

        let all = ["-C", "1", "-W", "10", "-v", "-t", "flawd/+/#"];
        let heard = mosquitto("mosquitto_sub", &broker, &all);
        assert_eq!(
            String::from_utf8_lossy(&heard.stdout),
            "flawd/a/state online\n"
        );

        let cleared = publish(&["-q", "1", "-r", "-n", "-t", "flawd/a/state"]);
        assert!(cleared.status.success(), "{cleared:?}");
        let nothing = mosquitto("mosquitto_sub", &broker, &["-C", "1", "-W", "1", "-t", "#"]);
        assert!(nothing.stdout.is_empty(), "{nothing:?}");
    }

    /// Sends these bytes and returns all that comes back until the broker ends the connection.
    fn answered(broker: &EmbeddedBroker, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(broker.address()).expect("it listens");
        stream.write_all(bytes).expect("it is read");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        answer
    }

    #[test]
    fn what_it_does_not_do_ends_the_connection() {
        let broker = EmbeddedBroker::start().expect("a port is free");
        let ping_before_connect = [0xc0, 0];
        assert!(answered(&broker, &ping_before_connect).is_empty());

        let connect = Connect {
            keep_alive: 0,
            client_id: "twice".to_owned(),
            clean_start: true,
            properties: None,
        };
        let mut message = Publish::new("a", QoS::ExactlyOnce, "b", None);
        message.pkid = 1;
        let mut bytes = BytesMut::new();
        for packet in [
            Packet::Connect(connect, None, None),
            Packet::Publish(message),
        ] {
            packet.write(&mut bytes, None).expect("it is encoded");
        }
        let mut answer = BytesMut::from(&answered(&broker, &bytes)[..]);
        let first = Packet::read(&mut answer, None).expect("one packet");
        assert!(matches!(first, Packet::ConnAck(_)), "{first:?}");
        assert!(answer.is_empty(), "nothing follows");
    }
}
