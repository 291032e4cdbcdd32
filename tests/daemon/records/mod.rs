//! Records: every verdict's copy arrives, in order, whatever is killed, full or forbidden.
//!
//! ```text
//! verdict ─► journal ─► record ─► broker ─► subscriber with a session
//!               └── deleted when the broker has said that it has it
//! ```
//!
//! What a test may demand of mosquitto: an acknowledged record is in the subscriber's socket, or in
//! the queue of its session. The queue is in memory, so a broker that is killed may lose it. Hence
//! `max_inflight_messages 0`: to a connected subscriber, everything goes at once, before the
//! acknowledgement. Hence the session is saved to the disk once, empty, so that a broker that comes
//! back keeps what is acknowledged before the subscriber is back. And hence the next kill comes
//! only when the subscriber has received something after its return, after what was kept for it.

mod backlog;
mod full_disk;
mod outages;

pub(crate) use full_disk::run_on_a_disk;

use std::collections::BTreeMap;
use std::fs;

use flawd_testing::broker::{AT_ONCE, Broker, Message, Subscriber};
use flawd_testing::process::Process;
use jiff::Timestamp;
use serde_json::Value;

use crate::station::Station;

/// A free-running line; `mqtt` are further keys of that section, and sections behind it.
fn line(broker: &Broker, mqtt: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top]\ndeadline = \"2s\"\n\
         [camera.top.synthetic]\nrate = 250\nsize = \"96x96\"\n\
         [evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nreconnect_max = \"1s\"\n{mqtt}",
        broker.port
    ))
}

fn seq(message: &Message, kind: &str) -> Option<u64> {
    (message.kind() == kind).then(|| message.payload["seq"].as_u64().unwrap())
}

fn time(value: &Value) -> Timestamp {
    value.as_str().expect("a time").parse().unwrap()
}

fn id(message: &Message) -> &str {
    let properties = &message.properties["user-properties"];
    properties["id"].as_str().expect("every event has an id")
}

/// Whether a log line is about a verdict that was reached later than `moment`.
pub(crate) fn is_verdict_after(line: &str, moment: Timestamp) -> bool {
    let said = line.split(' ').next().and_then(|word| word.parse().ok());
    line.contains(" Verdict ") && said.is_some_and(|said: Timestamp| said > moment)
}

/// Waits for this number of verdicts from now on.
fn wait_for_verdicts(daemon: &Process, count: u32) {
    let now = Timestamp::now();
    let mut reached = 0;
    daemon.wait_for_line("verdicts", |line| {
        reached += u32::from(is_verdict_after(line, now));
        reached == count
    });
}

/// Every record is there, first in order, and each copy of one is the same event, which is that of
/// its verdict; no number was given twice. Returns the last number.
fn assert_whole(messages: &[Message]) -> u64 {
    let mut ids = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    let mut last = 0;
    // A verdict may come after its record if a connection broke between the two.
    let is_verdict = |it: &&Message| it.kind() == "verdict";
    for message in messages.iter().filter(is_verdict) {
        let seq = message.payload["seq"].as_u64().unwrap();
        let earlier = verdicts.insert(seq, &message.payload);
        assert!(earlier.is_none(), "verdict {seq} was said twice");
    }
    for message in messages {
        let Some(seq) = seq(message, "record").or(seq(message, "verdict")) else {
            continue;
        };
        let event = (id(message), &message.payload["captured_at"]);
        let known = *ids.entry(seq).or_insert(event);
        assert_eq!(event, known, "number {seq} was given twice");
        if message.kind() == "verdict" {
            continue;
        }
        if seq > last {
            assert_eq!(seq, last + 1, "the record before it is missing");
            last = seq;
        }
        // What came too late to count is recorded as it was decided.
        if let Some(verdict) = verdicts.get(&seq).filter(|it| it["reason"] != "late") {
            let mut record = message.payload.clone();
            record.as_object_mut().unwrap().remove("historical");
            assert_eq!(record, **verdict);
        }
    }
    let unrecorded: Vec<_> = verdicts.range(last + 1..).map(|it| it.0).collect();
    assert!(unrecorded.is_empty(), "no records of {unrecorded:?}");
    last
}

/// Lets the daemon of a station send what its journal still holds, without any new part: at its end
/// it does not wait long for a broker that is slow.
fn send_the_rest(station: &Station, subscriber: &Subscriber) -> Vec<Message> {
    let text = fs::read_to_string(station.configuration()).unwrap();
    let asked = "[camera.top.trigger]\nmode = \"mqtt\"\n[camera.top.synthetic]";
    station.configure(&text.replace("[camera.top.synthetic]", asked));
    let mut daemon = station.run();
    let line = daemon.wait_for_line("the journal", |line| line.contains("Journal open"));
    let pending = line
        .split(' ')
        .find_map(|word| word.strip_prefix("pending="));
    let mut left: u64 = pending.unwrap().parse().unwrap();
    let mut messages = Vec::new();
    while left > 0 {
        messages.extend(subscriber.until("the rest of the records", |it| it.kind() == "record"));
        left -= 1;
    }
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    messages
}

#[test]
fn mqtt_3_1_1_delivers_records_too() {
    let broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    let station = line(&broker, "version = \"3.1.1\"\n");
    let mut daemon = station.run();
    let number = |message: &Message| message.payload["data"]["seq"].as_u64();
    let messages = subscriber.until("record 20", |message| {
        message.kind() == "record" && number(message) == Some(20)
    });
    let records: Vec<_> = messages.iter().filter(|it| it.kind() == "record").collect();
    let numbers: Vec<_> = records.iter().filter_map(|it| number(it)).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert!(
        records
            .iter()
            .all(|it| it.payload["data"]["historical"] == false)
    );
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn a_second_daemon_on_the_same_state_ends_with_69_and_names_the_folder() {
    let broker = Broker::start();
    let station = line(&broker, "");
    let mut daemon = station.run();
    wait_for_verdicts(&daemon, 1);
    let mut second = station.run();
    assert_eq!(second.wait().code(), Some(69), "{}", second.seen());
    let folder = station.folder().join("state/flawd/line/journal");
    let named = format!("the journal {} is in use", folder.display());
    assert!(second.seen().contains(&named), "{}", second.seen());
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}
