//! Against a real mosquitto and, for what mosquitto cannot be made to send, against a broker that
//! follows a script byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use flawd_testing::broker::Broker;

use super::*;
use crate::line::config::MqttVersion;

/// Much longer than anything here takes; only a failing test waits this long.
const LIMIT: Duration = Duration::from_secs(60);

const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const DISCONNECT: u8 = 0xE0;
const PINGREQ: u8 = 0xC0;
const PINGRESP: u8 = 0xD0;

pub(crate) fn settings(version: MqttVersion, port: u16) -> MqttSettings {
    MqttSettings {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        version,
        root: "flawd/press".to_owned(),
        client_id: "press".to_owned(),
        login: None,
        tls: None,
        required_at_start: true,
        connect_timeout: Duration::from_secs(20),
        reconnect_max: Duration::from_secs(1),
        keep_alive: Duration::from_secs(15),
        expiry: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(3),
        heartbeat: Duration::from_secs(1),
    }
}

/// Runs a client to its end.
fn client<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            time::timeout(LIMIT, work)
                .await
                .expect("it comes to an end")
        })
}

/// Opens a connection that the broker has accepted.
async fn connected(settings: &MqttSettings) -> Connection {
    let mut connection = Connection::open(settings, "flawd/press/status", "offline");
    let first = connection.next().await;
    assert!(matches!(first, ConnectionEvent::Connected(_)), "{first:?}");
    connection
}

async fn received(connection: &mut Connection) -> Incoming {
    loop {
        match connection.next().await {
            ConnectionEvent::Received(incoming) => return incoming,
            ConnectionEvent::Lost(cause) => panic!("{cause}"),
            _ => {}
        }
    }
}

async fn refused_topics(connection: &mut Connection, topics: &[&str]) -> String {
    let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    connection.subscribe(&topics).unwrap();
    match connection.next().await {
        ConnectionEvent::Subscribed { refused } => refused.to_string(),
        other => panic!("{other:?}"),
    }
}

fn request(topic: &str) -> Message {
    Message {
        topic: topic.to_owned(),
        payload: b"part 7".to_vec(),
        acknowledged: true,
        ..Message::default()
    }
}

/// The broker's end of one connection.
struct Script {
    stream: TcpStream,
}

impl Script {
    /// Accepts one connection with this CONNACK, and follows `lines`.
    fn play(
        version: MqttVersion,
        connack_properties: &'static [u8],
        lines: impl FnOnce(&mut Self) + Send + 'static,
    ) -> (MqttSettings, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let settings = settings(version, listener.local_addr().unwrap().port());
        let broker = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut script = Self { stream };
            assert_eq!(script.read().0, 0x10, "CONNECT comes first");
            let mut connack = vec![0, 0];
            if version == MqttVersion::V5 {
                connack.push(u8::try_from(connack_properties.len()).unwrap());
                connack.extend_from_slice(connack_properties);
            }
            script.write(0x20, &connack);
            lines(&mut script);
        });
        (settings, broker)
    }

    /// Reads the next packet: its first byte, and what follows its length.
    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        let first = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).unwrap();
        (first, rest)
    }

    fn write(&mut self, first: u8, rest: &[u8]) {
        let mut packet = vec![first, u8::try_from(rest.len()).unwrap()];
        packet.extend_from_slice(rest);
        self.stream.write_all(&packet).unwrap();
    }

    /// Answers a subscription with these reason codes; returns the request.
    fn answer_subscription(&mut self, version: MqttVersion, codes: &[u8]) -> Vec<u8> {
        let (first, asked) = self.read();
        assert_eq!(first, SUBSCRIBE);
        let mut answer = asked[..2].to_vec();
        if version == MqttVersion::V5 {
            answer.push(0);
        }
        answer.extend_from_slice(codes);
        self.write(SUBACK, &answer);
        asked
    }
}

/// Encodes a packet's string, or other bytes with a length.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    text.extend_from_slice(bytes);
    text
}

/// Encodes what follows the length in a version 5 message on topic `t`.
fn message(id: &[u8], properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    [&text(b"t"), id, &[length], properties, payload].concat()
}

#[test]
fn refused_topics_are_named_with_the_reasons_that_version_5_gives() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        let asked = broker.answer_subscription(MqttVersion::V5, &[0x01, 0x87, 0x97]);
        // QoS 1, nothing of our own, nothing retained, and live messages keep their flag.
        let options = 0b10_1101;
        assert_eq!(
            asked[5..],
            [
                &b"a"[..],
                &[options, 0, 1, b'b', options, 0, 1, b'c', options]
            ]
            .concat()
        );
    });
    client(async {
        let mut connection = connected(&settings).await;
        let refused = refused_topics(&mut connection, &["a", "b", "c"]).await;
        assert_eq!(refused, "b: not authorized, c: quota exceeded");
    });
    broker.join().unwrap();
}

#[test]
fn refused_topics_are_named_on_version_3_too() {
    let (settings, broker) = Script::play(MqttVersion::V3, &[], |broker| {
        broker.answer_subscription(MqttVersion::V3, &[0x80, 0x01]);
        // An answer that is too short refuses the topics that it leaves out.
        broker.answer_subscription(MqttVersion::V3, &[0x01]);
    });
    client(async {
        let mut connection = connected(&settings).await;
        let refused = refused_topics(&mut connection, &["a", "b"]).await;
        assert_eq!(refused, "a: refused, without a reason");
        let refused = refused_topics(&mut connection, &["c", "d"]).await;
        assert_eq!(refused, "d: not answered");
    });
    broker.join().unwrap();
}

#[test]
fn every_refusal_to_publish_is_called_by_its_name_in_the_standard() {
    const NAMES: [(u8, Option<(&str, bool)>); 11] = [
        (0x00, None),
        (0x10, None),
        (0x80, Some(("unspecified error", true))),
        (0x83, Some(("implementation specific error", true))),
        (0x87, Some(("not authorized", false))),
        (0x90, Some(("topic name invalid", false))),
        (0x91, Some(("packet identifier in use", false))),
        (0x97, Some(("quota exceeded", true))),
        (0x99, Some(("payload format invalid", true))),
        // Two that an acknowledgement must not have; mosquitto sends the first anyway.
        (0x95, Some(("packet too large", true))),
        (0xEE, Some(("a reason that MQTT 5 does not have", true))),
    ];
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        for (code, _) in NAMES {
            let (first, message) = broker.read();
            assert_eq!(first, PUBLISH_QOS_1);
            let correlation = [&[9], &text(b"id")[..]].concat();
            assert!(message.windows(5).any(|bytes| bytes == correlation));
            // Topic `t`, then the packet's id.
            broker.write(PUBACK, &[message[3], message[4], code, 0]);
        }
    });
    client(async {
        let mut connection = connected(&settings).await;
        for (_, name) in NAMES {
            let message = Message {
                correlation: Some(b"id".to_vec()),
                ..request("t")
            };
            connection.publish(message).unwrap();
            let ConnectionEvent::Sent(packet) = connection.next().await else {
                panic!("it is not sent");
            };
            assert_eq!(
                connection.next().await,
                ConnectionEvent::Acknowledged {
                    packet,
                    refused: name.map(|(reason, about_payload)| PublishRefusal {
                        reason,
                        about_payload
                    })
                }
            );
        }
    });
    broker.join().unwrap();
}

#[test]
fn what_the_broker_would_not_take_for_its_size_is_not_sent_to_the_byte() {
    // Maximum packet size: 100; receive maximum: 3; no wildcards.
    let (settings, broker) = Script::play(
        MqttVersion::V5,
        &[0x27, 0, 0, 0, 100, 0x21, 0, 3, 0x28, 0],
        |broker| {
            let (first, message) = broker.read();
            assert_eq!((first, message.len() + 2), (PUBLISH_QOS_1, 100));
        },
    );
    client(async {
        let mut connection = Connection::open(&settings, "flawd/press/status", "offline");
        let limits = BrokerLimits {
            packet: 100,
            receive_maximum: 3,
            wildcards: false,
        };
        assert_eq!(connection.next().await, ConnectionEvent::Connected(limits));
        let message = |length| Message {
            payload: vec![b'x'; length],
            ..request("t")
        };
        // Two bytes before, three of the topic, two of the packet's id, three of the properties.
        assert_eq!(
            connection.publish(message(91)),
            Err(NotSent::TooLarge {
                size: 101,
                limit: 100
            })
        );
        connection.publish(message(90)).unwrap();
        assert!(matches!(connection.next().await, ConnectionEvent::Sent(_)));
    });
    broker.join().unwrap();
}

#[test]
fn a_message_is_passed_on_with_all_that_it_says_about_itself() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        let properties = [
            &[2, 0, 0, 0, 7][..],
            &[8],
            &text(b"plc/answer"),
            &[9],
            &text(&[0xFF, 0]),
        ]
        .concat();
        // Again, and retained.
        broker.write(
            PUBLISH_QOS_1 | 0x08 | 0x01,
            &message(&[0, 9], &properties, b"go"),
        );
        assert_eq!(broker.read(), (PUBACK, vec![0, 9]));
    });
    client(async {
        let mut connection = connected(&settings).await;
        assert_eq!(
            received(&mut connection).await,
            Incoming {
                topic: "t".to_owned(),
                payload: b"go".to_vec(),
                too_long: None,
                retained: true,
                duplicate: true,
                reply: Some(Reply {
                    topic: "plc/answer".to_owned(),
                    correlation: Some(vec![0xFF, 0]),
                }),
            }
        );
    });
    broker.join().unwrap();
}

#[test]
fn a_response_topic_that_would_do_harm_is_dropped_and_the_message_is_not() {
    let topics: [&[u8]; 3] = [b"plc/#", b"flawd/press/top/defect", b"$SYS/x"];
    let (settings, broker) = Script::play(MqttVersion::V5, &[], move |broker| {
        for topic in topics {
            let properties = [&[8], &text(topic)[..]].concat();
            broker.write(PUBLISH, &message(&[], &properties, topic));
        }
        // A topic that is not UTF-8 makes its message unreadable.
        broker.write(PUBLISH, &[0, 1, 0xFF, 0]);
        broker.write(PUBLISH, &message(&[], &[], b"last"));
    });
    client(async {
        let mut connection = connected(&settings).await;
        for topic in topics {
            let incoming = received(&mut connection).await;
            assert_eq!((incoming.payload.as_slice(), incoming.reply), (topic, None));
        }
        assert_eq!(received(&mut connection).await.payload, b"last");
    });
    broker.join().unwrap();
}

#[test]
fn a_broker_that_wants_no_keep_alive_is_probed_at_our_pace() {
    // Server keep alive: 0.
    let (mut settings, broker) = Script::play(MqttVersion::V5, &[0x13, 0, 0], |broker| {
        assert_eq!(broker.read(), (PINGREQ, vec![]));
        broker.write(PINGRESP, &[]);
        broker.write(PUBLISH, &message(&[], &[], b"go"));
        let (first, message) = broker.read();
        assert_eq!(first, PUBLISH_QOS_1);
        broker.write(PUBACK, &message[3..5]);
    });
    settings.keep_alive = Duration::from_secs(1);
    client(async {
        let mut connection = connected(&settings).await;
        received(&mut connection).await;
        connection.publish(request("t")).unwrap();
        assert!(matches!(connection.next().await, ConnectionEvent::Sent(_)));
        let acknowledged = connection.next().await;
        assert!(
            matches!(
                acknowledged,
                ConnectionEvent::Acknowledged { refused: None, .. }
            ),
            "{acknowledged:?}"
        );
    });
    broker.join().unwrap();
}

/// Encodes a packet with a body of any length.
fn long_packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(u8::try_from(length).unwrap());
    packet.extend(body);
    packet
}

#[test]
fn a_message_that_is_too_long_is_skipped_confirmed_and_said_and_nothing_else_ends() {
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let properties: &[u8] = if version == MqttVersion::V5 {
            &[0]
        } else {
            &[]
        };
        let (settings, broker) = Script::play(version, &[], move |broker| {
            let payload = vec![b'x'; PACKET_LIMIT as usize];
            let body = [&text(b"t")[..], &[0, 9], properties, &payload].concat();
            // Retained, and confirmed; then one that is not.
            let packet = long_packet(PUBLISH_QOS_1 | 0x01, &body);
            broker.stream.write_all(&packet).unwrap();
            let body = [&text(b"t")[..], properties, &payload].concat();
            broker
                .stream
                .write_all(&long_packet(PUBLISH, &body))
                .unwrap();
            let body = [&text(b"t")[..], properties, b"last"].concat();
            broker.write(PUBLISH, &body);
            assert_eq!(broker.read(), (PUBACK, vec![0, 9]));
        });
        client(async {
            let mut connection = connected(&settings).await;
            // The body, its length in four bytes (or three), and the first byte.
            for (number, retained) in [(2, true), (0, false)] {
                let incoming = received(&mut connection).await;
                let size = PACKET_LIMIT as usize + 3 + number + properties.len() + 4;
                assert_eq!(incoming.too_long, Some(size));
                assert_eq!(incoming.payload, b"");
                assert_eq!((&*incoming.topic, incoming.retained), ("t", retained));
            }
            assert_eq!(received(&mut connection).await.payload, b"last");
        });
        broker.join().unwrap();
    }
}

/// There are brokers that send aliases although none was allowed.
#[test]
fn a_topic_that_the_broker_shortens_is_known_by_its_alias() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        let alias = |number| [0x23, 0, number];
        let aliased = |topic: &[u8], number, payload: &[u8]| {
            [&text(topic), &[3][..], &alias(number), payload].concat()
        };
        broker.write(PUBLISH, &aliased(b"flawd/press/cmd/pause", 1, b"1"));
        broker.write(PUBLISH, &aliased(b"", 1, b"2"));
        broker.write(PUBLISH, &aliased(b"flawd/press/cmd/resume", 1, b"3"));
        broker.write(PUBLISH, &aliased(b"", 1, b"4"));
        // These stand for nothing.
        broker.write(PUBLISH, &aliased(b"", 2, b"5"));
        broker.write(PUBLISH, &[0, 0, 0, b'6']);
        broker.write(PUBLISH, &aliased(b"", 1, b"7"));
    });
    client(async {
        let mut connection = connected(&settings).await;
        for (topic, payload) in [
            ("pause", b"1"),
            ("pause", b"2"),
            ("resume", b"3"),
            ("resume", b"4"),
            ("resume", b"7"),
        ] {
            let incoming = received(&mut connection).await;
            assert_eq!(incoming.topic, format!("flawd/press/cmd/{topic}"));
            assert_eq!(incoming.payload, payload);
        }
    });
    broker.join().unwrap();
}

/// Some brokers end the connection over a packet with more than eight.
#[test]
fn many_topics_are_asked_for_in_several_packets_and_answered_once() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        for codes in [&[1; 8][..], &[1, 1, 0x87, 1, 1, 1, 1, 1], &[0x97]] {
            broker.answer_subscription(MqttVersion::V5, codes);
        }
    });
    client(async {
        let mut connection = connected(&settings).await;
        let topics: Vec<_> = (0..17).map(|number| format!("t{number}")).collect();
        let topics: Vec<_> = topics.iter().map(String::as_str).collect();
        let refused = refused_topics(&mut connection, &topics).await;
        assert_eq!(refused, "t10: not authorized, t16: quota exceeded");
    });
    broker.join().unwrap();
}

/// A client that is sending sees the reset first.
#[test]
fn the_reason_for_the_end_is_heard_although_the_broker_resets_the_connection() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        // What is not read resets the connection when it is closed.
        broker.stream.peek(&mut [0]).unwrap();
        broker.write(DISCONNECT, &[0x8E]);
    });
    client(async {
        let mut connection = connected(&settings).await;
        connection.publish(request("t")).unwrap();
        let sent = connection.next().await;
        assert!(matches!(sent, ConnectionEvent::Sent(_)), "{sent:?}");
        broker.join().unwrap();
        connection.publish(request("t")).unwrap();
        let cause = connection.next().await;
        let ConnectionEvent::Lost(cause) = cause else {
            panic!("{cause:?}");
        };
        let cause = cause.to_string();
        assert!(cause.contains("session taken over"), "{cause}");
    });
}

/// Returns why there is no connection to a server that says only this, and waits.
fn cause_of_no_connection(said: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = settings(MqttVersion::V5, listener.local_addr().unwrap().port());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(said).unwrap();
        // The client ends the connection; it may be a reset.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let cause = client(async {
        let mut connection = Connection::open(&settings, "flawd/press/status", "offline");
        match connection.next().await {
            ConnectionEvent::Lost(cause) => cause.to_string(),
            other => panic!("{other:?}"),
        }
    });
    server.join().unwrap();
    cause
}

#[test]
fn a_server_of_another_kind_is_called_by_it_at_its_first_bytes() {
    for (answer, said) in [
        (
            &b"HTTP/1.1 403 Forbidden\r\n\r\n"[..],
            "a web server (HTTP)",
        ),
        (b"HTTP/1.0 400 Bad Request\r\n", "WebSocket"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server"),
        (b"220 mail.example ESMTP\r\n", "the answer is not MQTT"),
        (b"\x15\x03\x01", "does the broker want TLS"),
    ] {
        let cause = cause_of_no_connection(answer);
        assert!(cause.contains(said), "{said}: {cause}");
    }
}

#[test]
fn the_server_that_a_broker_names_instead_of_itself_is_named() {
    let properties = &b"\x15\x1c\0\x12other.example:1884"[..];
    let refusal = [&[0x20, 24, 0, 0x9C][..], properties].concat();
    let cause = cause_of_no_connection(refusal.leak());
    assert_eq!(
        cause,
        "refused: use another server; the broker names `other.example:1884`, see mqtt.host"
    );
    let end = [&[0xE0, 23, 0x9D][..], properties].concat();
    let cause = cause_of_the_end(MqttVersion::V5, &[], end.leak());
    assert!(cause.contains("server moved; the broker names"), "{cause}");
}

#[test]
fn a_message_that_cannot_be_read_is_confirmed_and_left_aside() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[], |broker| {
        // Properties that end beyond the packet, one that does not exist, one that is cut off, and
        // a topic that is not UTF-8.
        for bad in [
            &[0, 1, b't', 0, 1, 99][..],
            &[0, 1, b't', 0, 2, 2, 0x7E, 0],
            &[0, 1, b't', 0, 3, 2, 0x08, 9],
            &[0, 1, 0xFF, 0, 4, 0],
        ] {
            broker.write(PUBLISH_QOS_1, bad);
            assert_eq!(broker.read(), (PUBACK, bad[3..5].to_vec()));
        }
        broker.write(PUBLISH, &message(&[], &[], b"last"));
    });
    client(async {
        let mut connection = connected(&settings).await;
        assert_eq!(received(&mut connection).await.payload, b"last");
    });
    broker.join().unwrap();
}

/// Returns the reported cause of a connection's end.
fn cause_of_the_end(version: MqttVersion, connack: &'static [u8], last: &'static [u8]) -> String {
    let (settings, broker) = Script::play(version, connack, move |broker| {
        broker.stream.write_all(last).unwrap();
    });
    let cause = client(async {
        let mut connection = Connection::open(&settings, "flawd/press/status", "offline");
        loop {
            if let ConnectionEvent::Lost(cause) = connection.next().await {
                return cause.to_string();
            }
        }
    });
    broker.join().unwrap();
    cause
}

#[test]
fn a_broker_that_says_what_cannot_be_is_called_so() {
    for (connack, last, said) in [
        (
            &[0x21, 0, 0][..],
            &[][..],
            "takes no message at all (Receive Maximum 0)",
        ),
        (&[0x27, 0, 0, 0, 0], &[], "takes no packet at all"),
        (&[0x24, 0], &[], "does not support QoS 1"),
        (&[0x25, 0], &[], "does not support retained messages"),
        // A reason alone, and not even that, are allowed.
        (
            &[],
            &[0xE0, 1, 0x8E],
            "session taken over: another client has the same",
        ),
        (&[], &[0xE0, 0], "the broker ended it: normal disconnection"),
        (&[], &[0xE0, 1, 0xC7], "a reason that MQTT 5 does not have"),
        (
            &[],
            &[0xE0, 7, 0x8B, 5, 0x1F, 0, 2, b'b', b'\n'],
            "server shutting down (b\\n)",
        ),
        (&[], &[0xF0, 0], "what the broker sent is not MQTT"),
        (
            &[],
            &[PUBLISH, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            "more than four bytes",
        ),
        (
            &[],
            &[PUBLISH | 0x04, 5, 0, 1, b't', 0, 1],
            "a quality that was not asked for",
        ),
        (&[], &[PUBLISH, 1, 0], "ends too early"),
        (&[], &[], "the broker closed the connection"),
    ] {
        let cause = cause_of_the_end(MqttVersion::V5, connack, last);
        assert!(cause.contains(said), "{said}: {cause}");
    }
    let cause = cause_of_the_end(MqttVersion::V3, &[], &[0xE0, 0]);
    assert!(cause.contains("not MQTT"), "{cause}");
}

#[test]
fn no_more_messages_are_on_the_wire_than_the_broker_takes() {
    let (settings, broker) = Script::play(MqttVersion::V5, &[0x21, 0, 2], |broker| {
        let first = broker.read().1;
        let second = broker.read().1;
        broker.stream.set_nonblocking(true).unwrap();
        let more = broker.stream.peek(&mut [0]).map_err(|error| error.kind());
        assert_eq!(more, Err(ErrorKind::WouldBlock));
        broker.stream.set_nonblocking(false).unwrap();
        for number in [&second[3..5], &first[3..5]] {
            broker.write(PUBACK, number);
            let next = broker.read().1;
            broker.write(PUBACK, &next[3..5]);
        }
    });
    client(async {
        let mut connection = connected(&settings).await;
        for _ in 0..4 {
            connection.publish(request("t")).unwrap();
        }
        let mut taken = 0;
        while taken < 4 {
            match connection.next().await {
                ConnectionEvent::Acknowledged { refused: None, .. } => taken += 1,
                ConnectionEvent::Sent(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    broker.join().unwrap();
}

#[test]
fn a_disconnect_is_over_when_the_broker_has_closed_its_end() {
    let (settings, broker) = Script::play(MqttVersion::V3, &[], |broker| {
        assert_eq!(broker.read().0, PUBLISH_QOS_1);
        assert_eq!(broker.read().0, DISCONNECT);
        // A last message on the way is received.
        broker.write(PUBLISH, &[&text(b"t")[..], b"last"].concat());
    });
    client(async {
        let mut connection = connected(&settings).await;
        connection.publish(request("t")).unwrap();
        connection.disconnect().unwrap();
        assert_eq!(
            connection.publish(request("t")),
            Ok(()),
            "it waits, and is not sent"
        );
        assert!(matches!(connection.next().await, ConnectionEvent::Sent(_)));
        assert_eq!(received(&mut connection).await.payload, b"last");
        assert_eq!(connection.next().await, ConnectionEvent::Disconnected);
    });
    broker.join().unwrap();
}

#[test]
fn what_the_kernel_holds_of_a_connection_that_is_cut_is_never_delivered() {
    const SIZE: usize = 1 << 19;
    let (cut, is_cut) = std::sync::mpsc::channel();
    let (settings, broker) = Script::play(MqttVersion::V3, &[], move |broker| {
        // It stalls until the other end has given up.
        is_cut.recv().unwrap();
        let mut received = Vec::new();
        let end = broker.stream.read_to_end(&mut received);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    client(async {
        let mut connection = connected(&settings).await;
        // As many as the kernel takes.
        loop {
            let message = Message {
                payload: vec![b'x'; SIZE],
                ..request("t")
            };
            connection.publish(message).unwrap();
            match time::timeout(Duration::from_millis(300), connection.next()).await {
                Ok(ConnectionEvent::Sent(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) => break,
            }
        }
        connection.cut();
        cut.send(()).unwrap();
    });
    broker.join().unwrap();
}

#[test]
fn a_client_that_only_listens_probes_all_the_same_and_stays() {
    let (mut settings, broker) = Script::play(MqttVersion::V3, &[], |broker| {
        let message = [&text(b"t")[..], b"more"].concat();
        for _ in 0..2 {
            // Messages without a pause until a probe comes.
            broker.stream.set_nonblocking(true).unwrap();
            let mut probe = [0];
            loop {
                match broker.stream.peek(&mut probe) {
                    Ok(_) => break,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
                broker.stream.set_nonblocking(false).unwrap();
                broker.write(PUBLISH, &message);
                broker.stream.set_nonblocking(true).unwrap();
            }
            broker.stream.set_nonblocking(false).unwrap();
            assert_eq!(broker.read(), (PINGREQ, vec![]));
            broker.write(PINGRESP, &[]);
        }
        broker.write(PUBLISH, &[&text(b"t")[..], b"last"].concat());
    });
    settings.keep_alive = Duration::from_secs(1);
    client(async {
        let mut connection = connected(&settings).await;
        while received(&mut connection).await.payload != b"last" {}
    });
    broker.join().unwrap();
}

/// The topic of the messages that a real broker is given.
const TRIGGER: &str = "flawd/press/top/trigger";

#[test]
fn with_a_real_broker_version_5_hears_nothing_old_and_is_told_where_to_answer() {
    let broker = Broker::start();
    broker.publish(TRIGGER, "old", &["-r"]);
    client(async {
        let mut connection = connected(&settings(MqttVersion::V5, broker.port)).await;
        let refused = refused_topics(&mut connection, &["flawd/press/+/trigger"]).await;
        assert_eq!(refused, "");
        broker.publish(
            TRIGGER,
            "new",
            &["-D", "publish", "response-topic", "plc/1"]
                .iter()
                .chain(&["-D", "publish", "correlation-data", "a7"])
                .copied()
                .collect::<Vec<_>>(),
        );
        let incoming = received(&mut connection).await;
        assert_eq!(incoming.topic, TRIGGER);
        assert_eq!(incoming.payload, b"new");
        assert!(!incoming.retained);
        let reply = Reply {
            topic: "plc/1".to_owned(),
            correlation: Some(b"a7".to_vec()),
        };
        assert_eq!(incoming.reply, Some(reply));
        broker.publish(TRIGGER, "kept", &["-r"]);
        let incoming = received(&mut connection).await;
        assert_eq!(
            (&*incoming.payload, incoming.retained),
            (&b"kept"[..], true)
        );
    });
}

#[test]
fn with_a_real_broker_version_3_is_told_what_is_old() {
    let broker = Broker::start();
    broker.publish(TRIGGER, "old", &["-r"]);
    client(async {
        let mut connection = connected(&settings(MqttVersion::V3, broker.port)).await;
        // The answer may come before or after the retained messages.
        let topic = "flawd/press/+/trigger".to_owned();
        connection.subscribe(&[topic]).unwrap();
        let incoming = received(&mut connection).await;
        assert_eq!((&*incoming.payload, incoming.retained), (&b"old"[..], true));
        broker.publish(TRIGGER, "new", &[]);
        let incoming = received(&mut connection).await;
        assert_eq!(
            (&*incoming.payload, incoming.retained),
            (&b"new"[..], false)
        );
        assert_eq!(incoming.reply, None);
    });
}
