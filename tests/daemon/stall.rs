//! A network that stalls for a while without breaking: what was sent meanwhile is about parts that
//! are gone, and never arrives.
//!
//! ```text
//! flawd ── relay ── mosquitto ── mosquitto_sub
//!            └ held: nothing passes, nothing breaks
//! ```

use std::collections::BTreeSet;

use flawd_testing::broker::{AT_ONCE, Broker, Message, Subscriber};
use flawd_testing::process::Process;
use flawd_testing::relay::{Direction, Relay};
use jiff::{SignedDuration, Timestamp};

use crate::station::Station;

fn line(port: u16, camera: &str, mqtt: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top]\n{camera}\n\
         [camera.top.synthetic]\nrate = 50.0\ndefect_rate = 0.5\nsize = \"96x96\"\n\
         [evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nreconnect_max = \"1s\"\n{mqtt}"
    ))
}

/// The data of an event, of either version.
fn data(message: &Message) -> &serde_json::Value {
    message.payload.get("data").unwrap_or(&message.payload)
}

fn is_said_now(message: &Message) -> bool {
    matches!(message.kind(), "verdict" | "defect")
}

fn captured(message: &Message) -> Option<Timestamp> {
    data(message)["captured_at"].as_str()?.parse().ok()
}

/// When the verdict was reached; on a slow machine that is long after the picture was taken.
fn reached(message: &Message) -> Option<Timestamp> {
    let total_ms = data(message)["latency_ms"]["total"].as_f64()?;
    Some(captured(message)? + SignedDuration::from_secs_f64(total_ms / 1000.0))
}

fn seq(message: &Message) -> u64 {
    data(message)["seq"].as_u64().unwrap()
}

/// When the daemon wrote a line, by its clock, which is ours.
fn written(line: &str) -> Option<Timestamp> {
    line.split(' ').next()?.parse().ok()
}

/// Waits until the daemon has written something that long after `since`.
fn wait(daemon: &Process, since: Timestamp, time: SignedDuration) {
    daemon.wait_for_line("time to pass", |line| {
        written(line).is_some_and(|it| it > since + time)
    });
}

/// Messages up to and with the first verdict of a part that was seen after `moment`.
fn until_after(subscriber: &Subscriber, moment: Timestamp) -> Vec<Message> {
    subscriber.until("verdicts after that", |it| {
        is_said_now(it) && captured(it) > Some(moment)
    })
}

/// Holds the network for that long, or for as long as it takes the daemon to notice.
fn stand_still(camera: &str, mqtt: &str, held: SignedDuration) {
    let broker = Broker::start_with(AT_ONCE);
    let relay = Relay::to(broker.port);
    let subscriber = broker.subscribe();
    let station = line(relay.port, camera, mqtt);
    let mut daemon = station.run();
    let mut messages = until_after(&subscriber, Timestamp::now());

    relay.hold(Direction::ToBroker);
    let begin = Timestamp::now();
    let lost = daemon.wait_for_line("the cut", |line| {
        line.contains("Connection to the broker lost")
    });
    assert!(lost.contains("acknowledges nothing"), "{lost}");
    let cut = written(&lost).unwrap();
    wait(&daemon, begin, held);
    relay.release(Direction::ToBroker);
    let released = Timestamp::now();
    messages.extend(until_after(&subscriber, released));
    let second = SignedDuration::from_secs(1);
    messages.extend(until_after(&subscriber, released + second));
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    // Whatever was seen while it stalled was sent in vain.
    let old = messages
        .iter()
        .find(|it| is_said_now(it) && captured(it) > Some(begin) && reached(it) < Some(cut));
    assert!(old.is_none(), "said {begin} to {cut}: {old:?}");
    // What is missing is counted, all of it.
    let arrived: BTreeSet<_> = (messages.iter().filter(|it| it.kind() == "verdict"))
        .map(seq)
        .collect();
    let first = *arrived.first().unwrap();
    let missing = (first..=*arrived.last().unwrap()).filter(|it| !arrived.contains(it));
    let missing = missing.count() as u64;
    let last = messages.iter().rfind(|it| it.kind() == "state").unwrap();
    let undelivered = &last.payload["cameras"]["top"]["undelivered"]["count"];
    assert!(
        undelivered.as_u64().unwrap() >= missing,
        "{missing}: {undelivered}"
    );
    assert!(missing > 0);
    // Records are another matter: they all come.
    assert!(messages.iter().any(|it| it.kind() == "record"));
}

#[test]
fn what_was_said_while_a_network_stood_still_never_arrives() {
    stand_still("", "", SignedDuration::from_secs(5));
}

#[test]
fn with_a_deadline_the_connection_is_cut_when_that_is_over() {
    // Without it the limit would be never.
    let mqtt = "stall_timeout = \"1h\"\n";
    stand_still("deadline = \"500ms\"", mqtt, SignedDuration::ZERO);
}

#[test]
fn what_was_said_on_mqtt_3_while_a_network_stood_still_never_arrives() {
    stand_still("", "version = \"3.1.1\"\n", SignedDuration::ZERO);
}

#[test]
#[ignore = "run by cargo xtask endurance"]
fn a_network_that_stands_still_for_20_and_60_seconds_delivers_nothing_old() {
    for seconds in [20, 60] {
        stand_still("", "", SignedDuration::from_secs(seconds));
        stand_still(
            "deadline = \"500ms\"",
            "",
            SignedDuration::from_secs(seconds),
        );
    }
}
