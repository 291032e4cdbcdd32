//! What a broker may send, and what it must not do to the connection.

use std::fs;

use flawd_testing::broker::{Broker, Message};

use crate::station::Station;

/// A retained message of any length comes again with every connection. It must not end one.
#[test]
fn a_message_that_is_too_long_is_refused_and_ends_no_connection() {
    for version in ["5", "3.1.1"] {
        let broker = Broker::start();
        let station = Station::new(&format!(
            "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
             [camera.top]\ntrigger.mode = \"mqtt\"\n[camera.top.synthetic]\nsize = \"96x96\"\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nversion = \"{version}\"\n",
            broker.port
        ));
        let long = station.folder().join("long");
        fs::write(&long, vec![b'x'; 1 << 20]).unwrap();
        for topic in ["top/trigger", "cmd/nonsense"] {
            broker.publish_file(&format!("flawd/line/{topic}"), &long, &["-r"]);
        }
        let subscriber = broker.subscribe();
        let mut daemon = station.run();
        subscriber.until("ready", |message| message.payload["ready"] == true);
        // Version 5 is asked not to send what lay there, nor what is too long.
        if version == "3.1.1" {
            broker.publish_file("flawd/line/top/trigger", &long, &[]);
            daemon.wait_for_line("the refusal", |line| {
                line.contains("Message refused") && line.contains("it has 1048606 bytes")
            });
            let refused =
                |message: &Message| message.payload["cameras"]["top"]["triggers_refused"] == 2;
            broker.publish("flawd/line/top/trigger", "{\"part_id\": \"a\"}", &[]);
            broker.publish("flawd/line/cmd/pause", "{}", &[]);
            subscriber.until("the count", refused);
            broker.publish("flawd/line/cmd/resume", "{}", &[]);
        }
        broker.publish("flawd/line/top/trigger", "{\"part_id\": \"b\"}", &[]);
        subscriber.until("the verdict", |message| {
            // With 3.1.1 the payload is the whole event.
            let data = message.payload.get("data").unwrap_or(&message.payload);
            message.kind() == "verdict" && data["part_id"] == "b"
        });
        daemon.terminate();
        assert_eq!(daemon.wait().code(), Some(0));
        let seen = daemon.seen();
        assert!(!seen.contains("Connection to the broker lost"), "{seen}");
    }
}
