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

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use flawd_journal::{Durability, Journal, Options, Position};
use flawd_testing::broker::{AT_ONCE, Broker, Message, Subscriber};
use flawd_testing::process::Process;
use jiff::{SignedDuration, Timestamp};
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
fn is_verdict_after(line: &str, moment: Timestamp) -> bool {
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

/// `flawd run` with its state on a private file system, mounted with these options; `None`, with a
/// message, if it may not mount one.
pub(crate) fn run_on_a_disk(station: &Station, options: &str) -> Option<Process> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let state = station.folder().join("state");
    fs::create_dir_all(&state).unwrap();
    let mount = format!("mount -t tmpfs -o {options} none \"$0\"");
    let may = |way: &&&[&str]| {
        let mut attempt = Command::new("unshare");
        attempt.args(**way).args(["sh", "-c", &mount]).arg(&state);
        attempt.output().is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(may) else {
        eprintln!("SKIPPED the small disk: neither root nor a user namespace to mount in");
        return None;
    };
    let run = station.command("run");
    let mut command = Command::new("unshare");
    command
        .args(*way)
        .args(["sh", "-c", &format!("{mount} && exec \"$@\"")])
        .arg(&state)
        .arg(run.get_program())
        .args(run.get_args())
        .envs(
            run.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .env("FLAWD_LOG", "flawd=trace");
    Some(Process::spawn(
        &mut command,
        "flawd",
        Stdio::null(),
        Stdio::piped(),
    ))
}

/// Writes a file until the file system has no room for it.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        let bytes = vec![0xa5; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_inspection_goes_on_and_what_is_dropped_is_counted_and_said_once() {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.stop();
    let station = line(&broker, "");
    let text = fs::read_to_string(station.configuration()).unwrap();
    let small = "[journal]\ncapacity = \"1MiB\"\n\
                 [evidence]\nmax_size = \"1MiB\"\nkeep_free = \"64KiB\"\nok_share = 1.0\n";
    station.configure(&text.replace("[evidence]\nenabled = false\n", small));
    let Some(mut daemon) = run_on_a_disk(&station, "size=8m") else {
        return;
    };
    // More than two of the journal's eight segments.
    wait_for_verdicts(&daemon, 700);
    let root = Path::new("/proc")
        .join(daemon.id().to_string())
        .join("root");
    let state = station.folder().join("state");
    fill(&root.join(state.strip_prefix("/").unwrap()).join("foreign"));
    let (dropped, suspended) = ("The journal is full", "Evidence suspended");
    let mut unsaid = BTreeSet::from([dropped, suspended]);
    daemon.wait_for_line("what is full", |line| {
        unsaid.retain(|words| !line.contains(words));
        unsaid.is_empty()
    });
    wait_for_verdicts(&daemon, 700);

    broker.start_again();
    let now = Timestamp::now();
    let messages = subscriber.until("a verdict", |message| {
        message.kind() == "verdict" && time(&message.payload["captured_at"]) > now
    });
    let last = messages.iter().rfind(|it| it.kind() == "state").unwrap();
    let (records, evidence) = (&last.payload["records"], &last.payload["evidence"]);
    assert!(records["dropped"].as_u64() > Some(0), "{records}");
    assert_eq!(records["unwritten"], 0, "{records}");
    assert!(evidence["dropped"].as_u64() > Some(0), "{evidence}");
    assert!(evidence["suspended"].is_string(), "{evidence}");
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    for words in [dropped, suspended] {
        assert_eq!(daemon.seen().matches(words).count(), 1, "{words}");
    }
}
