//! How a connection ends: by the broker, by a disconnect, or cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use tokio::time;

use super::script::{DISCONNECT, PUBLISH, PUBLISH_QOS_1, Script, text};
use super::{client, connected, received, request, settings};
use crate::line::config::MqttVersion;
use crate::line::pipeline::publish::connection::{Connection, ConnectionEvent, Message};

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
