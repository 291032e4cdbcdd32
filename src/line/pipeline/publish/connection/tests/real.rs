//! Against a real mosquitto.

use flawd_testing::broker::Broker;

use super::{client, connected, received, refused_topics, settings};
use crate::line::config::MqttVersion;
use crate::line::pipeline::part::reply::Reply;

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
