//! What is received: messages with all that they say about themselves, and those that are skipped.

use std::io::Write;

use super::script::{PUBACK, PUBLISH, PUBLISH_QOS_1, Script, long_packet, message, text};
use super::{client, connected, received, refused_topics};
use crate::line::config::MqttVersion;
use crate::line::pipeline::part::reply::Reply;
use crate::line::pipeline::publish::connection::{Incoming, PACKET_LIMIT};

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
