//! Probes, while a connection has nothing to send.

use std::io::ErrorKind;
use std::time::Duration;

use super::script::{PINGREQ, PINGRESP, PUBACK, PUBLISH, PUBLISH_QOS_1, Script, message, text};
use super::{client, connected, received, request};
use crate::line::config::MqttVersion;
use crate::line::pipeline::publish::connection::ConnectionEvent;

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
