//! Arbitrary bytes, and the bytes of another library.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Packet as TheirPacket, PubAck, Publish,
    PublishProperties,
};

use super::*;
use crate::line::pipeline::publish::connection::tests::settings;

fn accepted(version: MqttVersion) -> Session {
    let mut session = Session::new(&settings(version, 1));
    let connack: &[u8] = match version {
        MqttVersion::V3 => &[0x20, 2, 0, 0],
        MqttVersion::V5 => &[0x20, 3, 0, 0, 0],
    };
    session.receive(connack).unwrap();
    assert!(session.is_accepted());
    session
}

/// Encodes a packet with the client library that the demo's subscriber uses.
fn written(packet: &TheirPacket) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, None).unwrap();
    bytes.to_vec()
}

fn versions() -> impl Strategy<Value = MqttVersion> {
    prop_oneof![Just(MqttVersion::V3), Just(MqttVersion::V5)]
}

/// Generates valid packets of a broker.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let publish = (".{0,20}", vec(any::<u8>(), 0..300), any::<u16>(), ".{0,20}").prop_map(
        |(topic, payload, pkid, response)| {
            let properties = PublishProperties {
                response_topic: Some(response),
                correlation_data: Some(payload.clone().into()),
                user_properties: vec![("a".to_owned(), "b".to_owned())],
                subscription_identifiers: vec![300],
                ..PublishProperties::default()
            };
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, Some(properties));
            publish.pkid = pkid.max(1);
            written(&TheirPacket::Publish(publish))
        },
    );
    let acknowledgement =
        any::<u16>().prop_map(|number| written(&TheirPacket::PubAck(PubAck::new(number, None))));
    prop_oneof![
        publish,
        acknowledgement,
        Just(vec![0xD0, 0]),
        Just(vec![0x90, 4, 0, 1, 0, 1]),
        Just(vec![0xE0, 1, 0x8E]),
    ]
}

proptest! {
    /// Whatever a broker sends, in whatever pieces: it terminates, and nothing grows.
    #[test]
    fn bytes_that_are_no_mqtt_do_no_harm(
        version in versions(),
        is_accepted: bool,
        pieces in vec(vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut session = Session::new(&settings(version, 1));
        if is_accepted {
            session = accepted(version);
        }
        for piece in pieces {
            if session.receive(&piece).is_err() {
                break;
            }
            prop_assert!(session.input.len() <= PACKET_LIMIT as usize);
        }
    }

    /// The same with packets in which a few bytes are changed, which reach deeper code.
    #[test]
    fn packets_with_damaged_bytes_do_no_harm(
        version in versions(),
        packets in vec(packets(), 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        piece in 1..64_usize,
    ) {
        let mut session = accepted(version);
        let mut bytes = packets.concat();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        for piece in bytes.chunks(piece) {
            if session.receive(piece).is_err() {
                break;
            }
        }
        while session.event().is_some() {}
    }

    /// A message arrives as it was sent, however the network splits it.
    #[test]
    fn what_another_library_writes_is_read(
        topic in "[a-z/]{1,20}",
        payload in vec(any::<u8>(), 0..500),
        correlation in vec(any::<u8>(), 0..30),
        piece in 1..64_usize,
    ) {
        let mut session = accepted(MqttVersion::V5);
        session.event();
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(7),
            response_topic: Some("plc/answer".to_owned()),
            correlation_data: Some(correlation.clone().into()),
            user_properties: vec![("a".to_owned(), "b".to_owned())],
            subscription_identifiers: vec![1, 300],
            content_type: Some("text".to_owned()),
            ..PublishProperties::default()
        };
        let publish = Publish::new(&topic, QoS::AtMostOnce, payload.clone(), Some(properties));
        for piece in written(&TheirPacket::Publish(publish)).chunks(piece) {
            session.receive(piece).unwrap();
        }
        let expected = ConnectionEvent::Received(Incoming {
            topic,
            payload,
            too_long: None,
            retained: false,
            duplicate: false,
            reply: Some(Reply { topic: "plc/answer".to_owned(), correlation: Some(correlation) }),
        });
        prop_assert_eq!(session.event(), Some(expected));
        prop_assert_eq!(session.event(), None);
    }

    /// And another library reads what we write.
    #[test]
    fn what_is_written_another_library_reads(
        topic in "[a-z/]{1,20}",
        payload in vec(any::<u8>(), 0..500),
        correlation in proptest::option::of(vec(any::<u8>(), 0..30)),
        seconds in 0..100_000_u64,
        retained: bool,
        acknowledged: bool,
    ) {
        let mut session = accepted(MqttVersion::V5);
        let message = Message {
            topic: topic.clone(),
            payload: payload.clone(),
            acknowledged,
            retained,
            content_type: Some("application/json"),
            expiry: Some(Duration::from_secs(seconds)),
            correlation: correlation.clone(),
            user_properties: vec![("id".to_owned(), "press-7".to_owned())],
        };
        session.publish(&message).unwrap();
        let mut bytes = BytesMut::from(session.outgoing());
        let packet = TheirPacket::read(&mut bytes, None).unwrap();
        prop_assert!(bytes.is_empty());
        let expected = Publish {
            dup: false,
            qos: if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            retain: retained,
            topic: topic.into(),
            pkid: u16::from(acknowledged),
            payload: payload.into(),
            properties: Some(PublishProperties {
                payload_format_indicator: Some(1),
                message_expiry_interval: Some(u32::try_from(seconds.max(1)).unwrap()),
                correlation_data: correlation.map(Into::into),
                content_type: Some("application/json".to_owned()),
                user_properties: message.user_properties,
                ..PublishProperties::default()
            }),
        };
        prop_assert_eq!(packet, TheirPacket::Publish(expected));
    }
}

#[test]
fn what_a_broker_says_of_itself_is_understood() {
    let mut session = Session::new(&settings(MqttVersion::V5, 1));
    let properties = ConnAckProperties {
        session_expiry_interval: Some(1),
        receive_max: Some(7),
        max_qos: Some(1),
        retain_available: Some(1),
        max_packet_size: Some(900),
        assigned_client_identifier: Some("you".to_owned()),
        topic_alias_max: Some(3),
        reason_string: Some("welcome".to_owned()),
        user_properties: vec![("a".to_owned(), "b".to_owned())],
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(1),
        server_keep_alive: Some(5),
        response_information: Some("here".to_owned()),
        server_reference: Some("there".to_owned()),
        authentication_method: Some("none".to_owned()),
        authentication_data: Some(vec![1].into()),
    };
    let connack = TheirPacket::ConnAck(ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: Some(properties),
    });
    session.receive(&written(&connack)).unwrap();
    let limits = BrokerLimits {
        packet: 900,
        receive_maximum: 7,
        wildcards: true,
    };
    assert_eq!(session.event(), Some(ConnectionEvent::Connected(limits)));
    assert_eq!(session.keep_alive(), Some(Duration::from_secs(5)));
}
