//! Outages: the broker is killed, the daemon is killed, or the broker forbids records for a while.

use std::fs;

use flawd_testing::broker::{AT_ONCE, Broker, Message};
use jiff::Timestamp;

use super::{assert_whole, line, send_the_rest, seq, time, wait_for_verdicts};

/// A time without a broker.
struct Outage {
    /// How often the daemon had connected before.
    connections: usize,
    /// The last verdict that had been handed to the publisher before it noticed.
    last: u64,
}

/// Whether this says that the daemon has just connected, and is not a copy that the broker has
/// kept.
fn is_online(message: &Message) -> bool {
    message.kind() == "status" && message.payload == "online" && !message.retained
}

/// No momentary message is sent when its moment is over, or across an outage.
fn assert_fresh(messages: &[Message], outages: &[Outage]) {
    let kinds = ["verdict", "defect"];
    let verdicts = || {
        messages
            .iter()
            .enumerate()
            .filter(|(_, it)| kinds.contains(&it.kind()))
    };
    for (_, message) in verdicts() {
        let payload = &message.payload;
        if payload["verdict"] != "no_decision" {
            assert!(payload["remaining_ms"].as_f64() >= Some(0.0), "{message:?}");
            // The broker drops it when its deadline has passed; it ignores fractions of 1 s.
            let expiry = &message.properties["message-expiry-interval"];
            assert!(expiry.as_u64().unwrap_or(0) <= 2, "{message:?}");
        }
    }
    // The order in which things came, whenever that was.
    let online: Vec<_> = (messages.iter().enumerate())
        .filter(|(_, it)| is_online(it))
        .map(|(place, _)| place)
        .collect();
    for outage in outages {
        let back = online[outage.connections];
        for (_, message) in verdicts().filter(|(place, _)| *place > back) {
            let seq = message.payload["seq"].as_u64().unwrap();
            assert!(seq > outage.last, "from before an outage: {message:?}");
        }
    }
}

fn kill_the_broker(kills: u64, records: u64) {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.save();
    let station = line(&broker, "");
    let mut daemon = station.run();
    let mut messages = Vec::new();
    let mut outages = Vec::new();
    for kill in 1..=kills {
        let goal = records * kill / (kills + 1);
        messages.extend(subscriber.until("a connection", is_online));
        // What comes behind this moment comes behind everything that was kept for the subscriber.
        let back = Timestamp::now();
        messages.extend(subscriber.until("a record after the outage", |message| {
            seq(message, "record") >= Some(goal) && time(&message.payload["captured_at"]) > back
        }));
        let lost = "Connection to the broker lost";
        let losses = daemon.seen().matches(lost).count();
        if kill % 2 == 1 {
            // What is published to a broker that stalls is never acknowledged.
            broker.freeze();
            wait_for_verdicts(&daemon, 20);
        }
        broker.kill();
        // On a slow machine the verdicts take so long that the daemon has given the broker up.
        if daemon.seen().matches(lost).count() == losses {
            daemon.wait_for_line("the loss", |line| line.contains(lost));
        }
        let seen = daemon.seen();
        outages.push(Outage {
            connections: seen.matches("Connected to the broker").count(),
            last: (seen.lines().rev())
                .find(|line| line.contains(" Verdict "))
                .and_then(|line| line.split(' ').find_map(|it| it.strip_prefix("seq=")))
                .map(|seq| seq.parse().unwrap())
                .unwrap(),
        });
        broker.start_again();
        if kill % 2 == 1 {
            daemon.wait_for_line("what was on its way", |line| {
                line.contains("Verdicts not delivered")
            });
        }
    }
    messages.extend(subscriber.until("the last connection", is_online));
    messages.extend(subscriber.until("the last record", |message| {
        seq(message, "record") >= Some(records)
    }));
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    messages.extend(send_the_rest(&station, &subscriber));
    assert!(assert_whole(&messages) >= records);
    assert_fresh(&messages, &outages);
}

#[test]
fn a_broker_that_is_killed_again_and_again_gets_every_record_in_order() {
    kill_the_broker(3, 600);
}

#[test]
#[ignore = "run by cargo xtask endurance"]
fn a_broker_that_is_killed_10_times_gets_every_one_of_10_000_records_in_order() {
    kill_the_broker(10, 10_000);
}

fn kill_the_daemon(kills: u64) {
    let broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    let station = line(&broker, "");
    let mut messages = Vec::new();
    // Knuth's generator: the same points each time.
    let mut random = 2026_u64;
    for _ in 0..kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let daemon = station.run();
        let verdicts = std::cell::Cell::new((random >> 33) % 120);
        if verdicts.get() < 12 {
            daemon.wait_for_line("the connection", |line| {
                line.contains("Connected to the broker")
            });
        } else {
            messages.extend(subscriber.until("some verdicts", |message| {
                let left = verdicts.get() - u64::from(message.kind() == "verdict");
                verdicts.set(left);
                left == 0
            }));
        }
        daemon.signal("KILL");
    }
    let mut daemon = station.run();
    wait_for_verdicts(&daemon, 100);
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    messages.extend(send_the_rest(&station, &subscriber));
    assert!(assert_whole(&messages) > kills);
}

#[test]
fn a_daemon_that_is_killed_again_and_again_owes_no_record_and_gives_no_number_twice() {
    // One of them before the first verdict.
    kill_the_daemon(8);
}

#[test]
#[ignore = "run by cargo xtask endurance"]
fn a_daemon_that_is_killed_60_times_owes_no_record_and_gives_no_number_twice() {
    kill_the_daemon(60);
}

#[test]
fn records_that_the_broker_forbids_are_kept_and_sent_when_it_allows_them() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("acl");
    fs::write(&list, "topic readwrite #\ntopic deny flawd/line/+/record\n").unwrap();
    // A queue without a limit (`0`) has this broker cut the connection after each refusal.
    let access = "allow_anonymous true\nmax_queued_messages 100000\nacl_file";
    let broker = Broker::start_with(&format!("{access} {}", list.display()));
    let subscriber = broker.subscribe();
    let station = line(&broker, "");
    let mut daemon = station.run();
    let state = |message: &Message| message.payload["records"].clone();
    let mut messages = subscriber.until("the refusal", |message| {
        let refused = &state(message)["refused"];
        refused
            .as_str()
            .is_some_and(|it| it.contains("not authorized"))
    });
    assert!(state(messages.last().unwrap())["pending"].as_u64() > Some(0));
    messages.extend(subscriber.until("verdict 100", |message| {
        seq(message, "verdict") >= Some(100)
    }));
    assert!(messages.iter().all(|message| message.kind() != "record"));

    fs::write(&list, "topic readwrite #\n").unwrap();
    broker.reload();
    messages.extend(subscriber.until("a state without a refusal", |message| {
        message.kind() == "state" && state(message)["refused"].is_null()
    }));
    messages.extend(subscriber.until("record 150", |message| seq(message, "record") >= Some(150)));
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    messages.extend(send_the_rest(&station, &subscriber));
    assert_whole(&messages);
    let last = messages.iter().rfind(|it| it.kind() == "state").unwrap();
    assert_eq!(state(last)["pending"], 0);
    assert_eq!(state(last)["dropped"], 0);
}
