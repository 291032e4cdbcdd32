//! What an outage or an earlier start left in the journal.

use std::fs;

use flawd_journal::{Durability, Journal, Options, Position};
use flawd_testing::broker::{AT_ONCE, Broker, Message};
use jiff::{SignedDuration, Timestamp};

use super::{assert_whole, line, send_the_rest, seq, time, wait_for_verdicts};
use crate::station::Station;

#[test]
fn a_record_is_historical_when_it_is_older_than_expiry_or_than_this_start() {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.stop();
    let station = line(&broker, "expiry = \"1s\"\n");
    let mut daemon = station.run();
    // Two seconds of them at least, at 250 a second.
    wait_for_verdicts(&daemon, 500);
    let returned = Timestamp::now();
    broker.start_again();
    let is_old = |message: &Message| message.payload["historical"] == true;
    let is_young = |message: &Message| message.kind() == "record" && !is_old(message);
    let mut messages = subscriber.until("records that are not old", is_young);
    messages.extend(subscriber.until("later ones", |it| seq(it, "record") >= Some(600)));
    // When a record left is only known to lie between the broker's return and its arrival here.
    let second = SignedDuration::from_secs(1);
    let mut expired = 0;
    for record in messages.iter().filter(|it| it.kind() == "record") {
        let captured = time(&record.payload["captured_at"]);
        if is_old(record) {
            assert!(record.received > captured + second, "{record:?}");
        } else {
            assert!(captured + second >= returned, "{record:?}");
        }
        expired += u32::from(captured + second < returned);
    }
    assert!(expired > 100, "{expired}");

    // The same line, on which nothing gets old: what an earlier start left is old nevertheless.
    broker.freeze();
    wait_for_verdicts(&daemon, 20);
    daemon.signal("KILL");
    broker.thaw();
    daemon.wait();
    // The broker says so behind everything that it had from this one.
    subscriber.until_status("offline");
    let text = fs::read_to_string(station.configuration()).unwrap();
    station.configure(&text.replace("expiry = \"1s\"", "expiry = \"1h\""));
    let started = Timestamp::now();
    let mut daemon = station.run();
    let later = subscriber.until("records of this start", |message| {
        is_young(message) && time(&message.payload["captured_at"]) > started
    });
    let mut old = 0;
    for record in later.iter().filter(|it| it.kind() == "record") {
        let is_earlier = time(&record.payload["captured_at"]) < started;
        assert_eq!(is_old(record), is_earlier, "{record:?}");
        old += u32::from(is_earlier);
    }
    assert!(old > 0, "the first one left nothing behind");
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

/// Leaves `count` records in the journal of a station that has never run, copies of a real one.
fn leave_behind(station: &Station, count: u64) {
    let mut daemon = station.run();
    wait_for_verdicts(&daemon, 1);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let folder = station.folder().join("state/flawd/line/journal");
    let options = Options {
        capacity: 64 << 20,
        sync: Durability::System,
    };
    let mut journal = Journal::open(&folder, options).unwrap();
    let entry = journal.read(Position::new(0), 1).unwrap().remove(0);
    let text = String::from_utf8(entry.payload).unwrap();
    assert!(
        text.contains("\"seq\":1,") && text.contains("-top-1\""),
        "{text}"
    );
    while journal.pending() < count {
        for _ in 0..500 {
            let seq = journal.next_seq("top");
            let copy = text
                .replace("\"seq\":1,", &format!("\"seq\":{seq},"))
                .replace("-top-1\"", &format!("-top-{seq}\""));
            journal.append(Some(("top", seq)), copy.as_bytes());
        }
        journal.commit().unwrap();
    }
    journal.close().unwrap();
}

#[test]
fn a_backlog_does_not_hold_up_the_end_and_goes_out_after_the_next_start() {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.stop();
    let station = line(&broker, "");
    // More than any broker takes in the time that records have at the end.
    leave_behind(&station, 50_000);
    broker.start_again();
    let mut daemon = station.run();
    daemon.wait_for_line("the connection", |line| {
        line.contains("Connected to the broker")
    });
    daemon.terminate();
    let mut messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    assert!(
        !daemon.seen().contains("does not confirm"),
        "{}",
        daemon.seen()
    );
    let state = messages.iter().rfind(|it| it.kind() == "state").unwrap();
    let left = state.payload["records"]["pending"].as_u64().unwrap();
    assert!(left > 0, "there was no backlog");
    assert!(messages.iter().all(|it| it.payload != "offline"));

    let mut daemon = station.run();
    messages.extend(subscriber.until("the rest", |it| seq(it, "record") >= Some(50_100)));
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    messages.extend(send_the_rest(&station, &subscriber));
    assert_whole(&messages);
}
