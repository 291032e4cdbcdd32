//! A broker that follows a script byte by byte, and what it sends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use super::{LIMIT, settings};
use crate::line::config::{MqttSettings, MqttVersion};

pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBLISH_QOS_1: u8 = 0x32;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const DISCONNECT: u8 = 0xE0;
pub(crate) const PINGREQ: u8 = 0xC0;
pub(crate) const PINGRESP: u8 = 0xD0;

/// The broker's end of one connection.
pub(crate) struct Script {
    pub(crate) stream: TcpStream,
}

impl Script {
    /// Accepts one connection with this CONNACK, and follows `lines`.
    pub(crate) fn play(
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
    pub(crate) fn read(&mut self) -> (u8, Vec<u8>) {
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

    pub(crate) fn write(&mut self, first: u8, rest: &[u8]) {
        let mut packet = vec![first, u8::try_from(rest.len()).unwrap()];
        packet.extend_from_slice(rest);
        self.stream.write_all(&packet).unwrap();
    }

    /// Answers a subscription with these reason codes; returns the request.
    pub(crate) fn answer_subscription(&mut self, version: MqttVersion, codes: &[u8]) -> Vec<u8> {
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
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    text.extend_from_slice(bytes);
    text
}

/// Encodes what follows the length in a version 5 message on topic `t`.
pub(crate) fn message(id: &[u8], properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    [&text(b"t"), id, &[length], properties, payload].concat()
}

/// Encodes a packet with a body of any length.
pub(crate) fn long_packet(first: u8, body: &[u8]) -> Vec<u8> {
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
