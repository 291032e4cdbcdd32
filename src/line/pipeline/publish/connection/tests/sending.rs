//! What is sent: subscriptions and messages, and what the broker refuses of them.

use std::io::ErrorKind;

use super::script::{PUBACK, PUBLISH_QOS_1, Script, text};
use super::{client, connected, refused_topics, request};
use crate::line::config::MqttVersion;
use crate::line::pipeline::publish::connection::{
    BrokerLimits, Connection, ConnectionEvent, Message, NotSent, PublishRefusal,
};

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
