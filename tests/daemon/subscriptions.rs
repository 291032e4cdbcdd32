//! What a daemon subscribes to, from brokers that support less than others.

use std::collections::BTreeSet;

use flawd_testing::scripted::{Answer, Packet, Scripted};

use crate::station::Station;

/// A CONNACK with Wildcard Subscription Available 0.
const NO_WILDCARDS: [u8; 7] = [0x20, 5, 0, 0, 2, 0x28, 0];

#[test]
fn a_broker_without_wildcards_and_with_few_topics_at_a_time_is_asked_for_every_request() {
    let broker = Scripted::start(|seen| match &seen.packet {
        Packet::Connect => Answer::Instead(NO_WILDCARDS.to_vec()),
        Packet::Subscribe { topics } if topics.len() > 8 => Answer::End,
        Packet::Subscribe { topics } if topics.concat().contains('+') => Answer::EndWith(0xA2),
        _ => Answer::Well,
    });
    let camera = |name| {
        format!(
            "[camera.{name}.trigger]\nmode = \"mqtt\"\n[camera.{name}.synthetic]\nsize = \"96x96\"\n"
        )
    };
    let cameras = ["left", "right", "top"].map(camera).concat();
    let station = Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n{cameras}\
         [evidence]\nenabled = false\n[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
        broker.port
    ));
    let mut daemon = station.run();
    daemon.wait_for_line("readiness", |line| line.contains("Ready cameras=3"));
    let seen = broker.until("the state", |seen| seen.packet.kind() == "status");
    assert!(seen.iter().all(|it| it.connection == 1), "{seen:#?}");
    let topics: BTreeSet<_> = (seen.iter())
        .filter_map(|it| match &it.packet {
            Packet::Subscribe { topics } => Some(topics.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let expected = [
        "cmd/pause",
        "cmd/reload",
        "cmd/resume",
        "cmd/selftest",
        "cmd/snapshot",
        "cmd/threshold",
        "left/trigger",
        "right/trigger",
        "top/trigger",
    ];
    let expected = expected.map(|topic| format!("flawd/press/{topic}"));
    assert_eq!(topics, expected.into());
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}
