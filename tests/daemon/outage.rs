//! The broker goes away in the middle and comes back.
//!
//! ```text
//! verdicts  1 2 3 4 5 6 7 8 9 …
//! broker    up ──── stopped ──── up
//! arrives   1 2 3               8 9 …      4 to 7: counted, said, never sent
//! ```

use std::collections::BTreeSet;
use std::process::Command;

use flawd_testing::broker::{Broker, Message, free_port};

use crate::station::Station;

fn line(port: u16) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nreconnect_max = \"1s\"\n"
    ))
}

fn seq(message: &Message) -> Option<u64> {
    (message.kind() == "verdict").then(|| message.payload["seq"].as_u64().unwrap())
}

/// The number in a log line about a verdict.
fn logged_seq(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" Verdict ")?;
    let (_, rest) = rest.split_once("seq=")?;
    rest.split(' ').next()?.parse().ok()
}

#[test]
fn after_an_outage_the_daemon_says_what_it_could_not_deliver_and_sends_nothing_stale() {
    let mut broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(broker.port);
    let mut daemon = station.run();
    let mut messages = subscriber.until("verdict 5", |message| seq(message) == Some(5));

    broker.stop();
    daemon.wait_for_line("the loss", |line| {
        line.contains("Connection to the broker lost")
    });
    // Inspection continues: ten more verdicts are reached without the broker.
    let mut unheard = 0;
    daemon.wait_for_line("verdicts without the broker", |line| {
        unheard += u32::from(logged_seq(line).is_some());
        unheard == 10
    });
    broker.start_again();

    messages.extend(subscriber.until("the confession", |message| {
        message.payload["cameras"]["top"]["undelivered"].is_object()
    }));
    let state = messages.last().unwrap().clone();
    messages.extend(subscriber.until_status("online"));
    let resumed = subscriber.until("a verdict", |message| seq(message).is_some());
    let first_after = seq(resumed.last().unwrap()).unwrap();
    messages.extend(resumed);
    messages.extend(subscriber.until("later verdicts", |message| {
        seq(message) == Some(first_after + 5)
    }));

    let undelivered = &state.payload["cameras"]["top"]["undelivered"]["latest"];
    let first = undelivered["first_seq"].as_u64().unwrap();
    let last = undelivered["last_seq"].as_u64().unwrap();
    assert!(
        undelivered["count"].as_u64().unwrap() >= 10,
        "{undelivered}"
    );
    assert!(
        last < first_after,
        "verdict {last} was given up and {first_after} came first"
    );

    // Whatever did not arrive lies in the reported range; nothing in between is missing.
    let arrived: BTreeSet<u64> = messages.iter().filter_map(seq).collect();
    let missing = (1..=first_after).filter(|seq| !arrived.contains(seq));
    let unsaid: Vec<_> = missing
        .filter(|seq| !(first..=last).contains(seq))
        .collect();
    assert_eq!(unsaid, [0_u64; 0], "missing, and not said to be");
    daemon.wait_for_line("what was lost", |line| {
        line.contains("Verdicts not delivered")
    });
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn without_a_broker_at_start_the_daemon_inspects_and_connects_later() {
    let mut broker = Broker::start();
    // The port is known, and nothing listens on it.
    broker.stop();
    let station = line(broker.port);
    let mut daemon = station.run();
    daemon.wait_for_line("a warning", |line| {
        line.contains("Inspecting without the broker")
    });
    daemon.wait_for_line("a verdict", |line| logged_seq(line) == Some(3));
    broker.start_again();
    daemon.wait_for_line("the connection", |line| {
        line.contains("Connected to the broker")
    });
    let subscriber = broker.subscribe();
    let retained = subscriber.until("the state", |message| message.kind() == "state");
    let undelivered = &retained.last().unwrap().payload["cameras"]["top"]["undelivered"];
    assert_eq!(undelivered["latest"]["first_seq"], 1);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_broker_that_is_required_and_not_there_ends_the_start_with_69() {
    let station = line(free_port());
    let text = std::fs::read_to_string(station.configuration()).unwrap();
    station.configure(&format!("{text}required_at_start = true\n"));
    let mut daemon = station.run();
    assert_eq!(daemon.wait().code(), Some(69), "{}", daemon.seen());
    assert!(
        daemon.seen().contains("cannot be reached"),
        "{}",
        daemon.seen()
    );
    assert!(
        daemon.seen().contains("mqtt.required_at_start"),
        "{}",
        daemon.seen()
    );
}

#[test]
fn a_broker_that_refuses_to_publish_is_counted_and_said() {
    let broker = Broker::start_with("allow_anonymous true\nacl_file /dev/null");
    let station = line(broker.port);
    let mut daemon = station.run();
    daemon.wait_for_line("the refusal", |line| {
        line.contains("The broker refuses to publish") && line.contains("not authorized")
    });
    daemon.wait_for_line("the count", |line| line.contains("Verdicts not delivered"));
    // Each verdict is refused twice, and its record: the log does not grow with them.
    daemon.wait_for_line("many verdicts", |line| logged_seq(line) == Some(60));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
    let seen = daemon.seen();
    let complaints = (seen.lines()).filter(|line| line.contains("WARN") || line.contains("ERROR"));
    let complaints: Vec<_> = complaints.collect();
    assert!(complaints.len() < 40, "{}", complaints.join("\n"));
}

#[test]
fn a_password_opens_the_broker_and_a_wrong_one_is_refused_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = folder.path().join("accounts");
    let status = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&accounts)
        .args(["line", "correct-horse"])
        .status()
        .unwrap();
    assert!(status.success());
    let broker = Broker::start_with(&format!(
        "allow_anonymous false\npassword_file {}",
        accounts.display()
    ));
    let station = line(broker.port);
    let text = std::fs::read_to_string(station.configuration()).unwrap();
    station.configure(&format!(
        "{text}required_at_start = true\nusername = \"line\"\npassword_file = \"password\"\n"
    ));

    std::fs::write(station.folder().join("password"), "battery-staple\n").unwrap();
    let mut daemon = station.run();
    assert_eq!(daemon.wait().code(), Some(69), "{}", daemon.seen());
    assert!(
        daemon.seen().contains("refused: not authorized"),
        "{}",
        daemon.seen()
    );
    assert!(
        !daemon.seen().contains("battery-staple"),
        "{}",
        daemon.seen()
    );

    std::fs::write(station.folder().join("password"), "correct-horse\n").unwrap();
    let mut daemon = station.run();
    daemon.wait_for_line("the connection", |line| {
        line.contains("Connected to the broker")
    });
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(
        !daemon.seen().contains("correct-horse"),
        "{}",
        daemon.seen()
    );
}
