//! Brokers that refuse, end connections, or say nothing: parts get their verdicts nevertheless, and
//! neither the broker nor the log is flooded.

use std::collections::BTreeSet;

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::Process;
use flawd_testing::scripted::{Answer, Packet, Scripted, Seen, request};
use jiff::{SignedDuration, Timestamp};

use crate::line::Controller;
use crate::station::Station;

/// A line that runs on its own; `more` are further keys of `[mqtt]`, and sections after it.
fn line(port: u16, more: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n[evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nreconnect_max = \"1s\"\n{more}"
    ))
}

/// A line that waits for triggers.
fn press(port: u16, more: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top.trigger]\nmode = \"mqtt\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n[evidence]\nenabled = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nreconnect_max = \"1s\"\n{more}"
    ))
}

fn stop(mut daemon: Process) -> String {
    daemon.terminate();
    daemon.wait();
    daemon.seen()
}

fn count(seen: &str, words: &str) -> usize {
    seen.matches(words).count()
}

/// When the daemon began to connect, by its own clock.
fn attempts(seen: &str) -> Vec<Timestamp> {
    let lines = seen.lines();
    lines
        .filter(|line| line.contains("Connecting to the broker"))
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// From the third loss on connections begin six seconds apart, whatever the machine's speed: a
/// pause that is over late only makes them fewer.
fn assert_rare(seen: &str) {
    let attempts = attempts(seen);
    assert!(attempts.len() >= 5, "{seen}");
    for pair in attempts.windows(2).skip(2) {
        let apart = pair[0].duration_until(pair[1]);
        assert!(apart >= SignedDuration::from_secs(6), "{apart:?}: {seen}");
    }
}

#[test]
fn records_that_the_broker_refuses_for_what_is_in_them_are_set_aside_and_the_others_arrive() {
    let code = |packet: &Packet| match packet.seq() {
        3 => 0x80,
        7 => 0x83,
        11 => 0x97,
        12 => 0x99,
        _ => 0,
    };
    // A verdict is not sent again, whatever the reason.
    let codes = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let broker = Scripted::start(move |seen| match (seen.packet.kind(), seen.packet.seq()) {
        ("record", _) => Answer::No(code(&seen.packet)),
        ("verdict", seq @ 5..12) => Answer::No(codes[usize::try_from(seq).unwrap() - 5]),
        _ => Answer::Well,
    });
    let station = line(broker.port, "");
    let daemon = station.run();
    let seen = broker.until("record 20", |it| it.packet.is("record", 20));
    let records: BTreeSet<_> = (seen.iter().filter(|it| it.packet.kind() == "record"))
        .filter(|it| code(&it.packet) == 0)
        .map(|it| it.packet.seq())
        .collect();
    let wanted = (1..=20).filter(|it| ![3, 7, 11, 12].contains(it));
    assert!(records.into_iter().eq(wanted), "{seen:#?}");
    // One connection, on which every verdict has come once.
    assert!(seen.iter().all(|it| it.connection == 1));
    let verdicts: Vec<_> = (seen.iter().filter(|it| it.packet.kind() == "verdict"))
        .map(|it| it.packet.seq())
        .collect();
    assert!(
        verdicts.iter().copied().eq(1..=verdicts.len() as u64),
        "{verdicts:?}"
    );
    daemon.terminate();
    let seen = broker.until("the last state", |it| match &it.packet {
        Packet::Publish { payload, .. } => payload["state"] == "halted",
        _ => false,
    });
    assert!(seen.iter().all(|it| it.connection == 1));
    let Packet::Publish { payload, .. } = &seen.last().unwrap().packet else {
        unreachable!("it is the state");
    };
    assert_eq!(payload["records"]["set_aside"], 4, "{payload}");
    let undelivered = &payload["cameras"]["top"]["undelivered"];
    assert_eq!(undelivered["count"], codes.len(), "{payload}");
    let log = stop(daemon);
    for seq in [3, 7, 11, 12] {
        let is_said = |line: &str| {
            line.contains("Record set aside")
                && line.contains(&format!("camera=\"top\" seq={seq} "))
        };
        assert_eq!(
            log.lines().filter(|it| is_said(it)).count(),
            1,
            "{seq}: {log}"
        );
    }
}

#[test]
fn a_record_that_this_client_may_not_publish_is_kept_whatever_the_broker_takes_beside_it() {
    let broker = Scripted::start(|seen| match seen.packet.kind() {
        "record" if seen.packet.seq() == 3 => Answer::No(0x87),
        _ => Answer::Well,
    });
    let station = line(broker.port, "");
    let daemon = station.run();
    let mut tries = 0;
    while tries < 5 {
        broker.until("record 3", |it| it.packet.is("record", 3));
        tries += 1;
    }
    let log = stop(daemon);
    assert_eq!(count(&log, "Record set aside"), 0, "{log}");
}

/// With 3.1.1 no broker says how much it takes.
fn end_at_one_record(connections: u32) -> (Scripted, Station, Process) {
    let broker = Scripted::start(|seen| match seen.packet.kind() {
        "record" if seen.packet.seq() == 3 => Answer::End,
        _ => Answer::Well,
    });
    let station = line(broker.port, "version = \"3.1.1\"\n");
    let daemon = station.run();
    for connection in 1..connections {
        broker.until("an end", |it| {
            it.connection == connection && it.packet.is("record", 3)
        });
    }
    (broker, station, daemon)
}

#[test]
fn a_record_that_ends_connections_leaves_verdicts_in_peace() {
    let (broker, _station, daemon) = end_at_one_record(3);
    let mut verdicts = 0;
    while verdicts < 40 {
        let seen = broker.until("a verdict", |it| it.packet.kind() == "verdict");
        assert!(
            seen.iter()
                .all(|it| it.connection <= 3 && !it.packet.is("record", 3))
        );
        verdicts += 1;
    }
    stop(daemon);
}

#[test]
#[ignore = "run by cargo xtask endurance"]
fn a_record_that_ends_connections_is_set_aside_after_the_third_and_the_others_arrive() {
    let (broker, _station, daemon) = end_at_one_record(3);
    // Two minutes of peace: 2,400 verdicts, or fewer on a slow machine.
    let is_over = |line: &str| line.contains("Record set aside") && line.contains("seq=3 ");
    let mut hundreds = 1;
    loop {
        let verdict = format!("camera=\"top\" seq={hundreds}00 verdict=");
        let line = daemon.wait_for_line("the end of it, or a hundredth verdict", |line| {
            is_over(line) || line.contains(&verdict)
        });
        if is_over(&line) {
            break;
        }
        hundreds += 1;
        assert!(hundreds < 60, "five minutes have passed");
    }
    let seen = broker.until("the others", |it| it.packet.is("record", 50));
    assert!(seen.iter().all(|it| it.connection <= 4), "{seen:#?}");
    let log = stop(daemon);
    assert_eq!(count(&log, "Record set aside"), 1, "{log}");
}

#[test]
fn a_broker_that_ends_every_connection_gets_ten_a_minute_and_is_said_once() {
    // Whatever there is to end it with, and at every stage.
    let broker = Scripted::start(|seen| match (seen.connection, seen.packet.kind()) {
        (1, "state") => Answer::End,
        (2, "status") => Answer::EndWith(0x8E),
        (3, _) if matches!(seen.packet, Packet::Subscribe { .. }) => Answer::EndWith(0x97),
        (4, "verdict") => Answer::EndWith(0x99),
        (5, "state") => Answer::EndWith(0x9D),
        _ => Answer::Well,
    });
    let station = line(broker.port, "");
    let daemon = station.run();
    broker.until("the last connection", |it| it.connection == 6);
    let log = stop(daemon);
    assert_rare(&log);
    assert_eq!(count(&log, "they do not last"), 1, "{log}");
    let lost = log
        .lines()
        .filter(|it| it.contains(" WARN ") && it.contains("Connection to the broker lost"));
    // The first, second, third and fourth.
    assert_eq!(lost.count(), 4, "{log}");
}

#[test]
fn two_daemons_with_one_client_id_throw_each_other_out_rarely_and_say_so() {
    let broker = Broker::start_with(AT_ONCE);
    let same = "client_id = \"flawd\"\n";
    let other = format!("{same}root = \"flawd/other\"\n");
    let one = line(broker.port, same);
    let first = one.run();
    first.wait_for_line("the connection", |it| {
        it.contains("Connected to the broker")
    });
    let another = line(broker.port, &other);
    let second = another.run();
    let daemons = [first, second];
    for daemon in &daemons {
        daemon.wait_for_line("what it may be", |line| {
            line.contains("they do not last") && line.contains("mqtt.client_id")
        });
        let mut more = 0;
        daemon.wait_for_line("two more attempts", |line| {
            more += u32::from(line.contains("Connecting to the broker"));
            more == 2
        });
    }
    // Only now: one that is left alone keeps its connection and makes no further attempt.
    let logs = daemons.map(stop);
    for log in logs {
        assert_rare(&log);
        assert_eq!(count(&log, "they do not last"), 1, "{log}");
    }
}

#[test]
fn a_broker_that_acknowledges_nothing_is_given_up_and_verdicts_count_as_undelivered() {
    let broker = Scripted::start(|seen| match &seen.packet {
        Packet::Publish { .. } => Answer::Silence,
        _ => Answer::Well,
    });
    let station = line(broker.port, "");
    let daemon = station.run();
    daemon.wait_for_line("the end of patience", |line| {
        line.contains("Connection to the broker lost") && line.contains("acknowledges nothing")
    });
    daemon.wait_for_line("the count", |line| line.contains("Verdicts not delivered"));
    broker.until("another attempt", |it| it.connection == 2);
    stop(daemon);
}

#[test]
fn an_answer_that_ends_connections_costs_no_verdict_and_is_left_out_after_the_second() {
    let mut asked = 0;
    let broker = Scripted::start(move |seen| match &seen.packet {
        Packet::Subscribe { .. } => Answer::Well,
        Packet::Publish { topic, payload }
            if topic.ends_with("/state") && payload["ready"] == true =>
        {
            asked += 1;
            let part = format!("{{\"part_id\":\"{asked}\"}}");
            Answer::WellAnd(request("flawd/press/top/trigger", "plc/answers", &part))
        }
        Packet::Publish { topic, .. } if topic == "plc/answers" => Answer::End,
        _ => Answer::Well,
    });
    let station = press(broker.port, "");
    let daemon = station.run();
    for connection in 1..=2 {
        let seen = broker.until("an answer", |it| it.packet.kind() == "answers");
        let verdicts: Vec<_> = of_verdicts(&seen).collect();
        assert_eq!(verdicts, [(connection, u64::from(connection))], "{seen:#?}");
    }
    let seen = broker.until("the record", |it| it.packet.is("record", 3));
    assert_eq!(
        of_verdicts(&seen).collect::<Vec<_>>(),
        [(3, 3)],
        "{seen:#?}"
    );
    assert!(
        seen.iter().all(|it| it.packet.kind() != "answers"),
        "{seen:#?}"
    );
    let log = stop(daemon);
    assert_eq!(
        count(&log, "Answers on a response topic are left out"),
        1,
        "{log}"
    );
}

fn of_verdicts(seen: &[Seen]) -> impl Iterator<Item = (u32, u64)> {
    let verdicts = seen.iter().filter(|it| it.packet.kind() == "verdict");
    verdicts.map(|it| (it.connection, it.packet.seq()))
}

#[test]
fn subscriptions_that_are_refused_make_the_daemon_not_ready_everywhere_until_they_are_not() {
    let is_ready = |packet: &Packet, ready: bool| match packet {
        Packet::Publish { topic, payload } => {
            topic.ends_with("/state") && payload["ready"] == ready
        }
        _ => false,
    };
    let reason = "the broker refuses subscriptions";
    let is_refused = move |packet: &Packet| match packet {
        Packet::Publish { payload, .. } => payload["reason"]
            .as_str()
            .is_some_and(|it| it.contains(reason)),
        _ => false,
    };
    let broker = Scripted::start(move |seen| match (&seen.packet, seen.connection) {
        (Packet::Subscribe { .. }, 1) => Answer::No(0x87),
        (packet, 1) if is_refused(packet) => Answer::End,
        _ => Answer::Well,
    });
    let station = press(broker.port, "[monitor]\nlisten = \"127.0.0.1:0\"\n");
    let daemon = station.run();
    broker.until("the refusal in the state", |it| is_refused(&it.packet));
    // What the main thread says is what /readyz, the metric and the service manager have.
    daemon.wait_for_line("the same in the log", |line| {
        line.contains("Not ready") && line.contains(reason)
    });
    broker.until("ready", |it| {
        it.connection > 1 && is_ready(&it.packet, true)
    });
    let log = stop(daemon);
    assert_eq!(count(&log, "The broker refuses subscriptions"), 1, "{log}");
}

/// mosquitto accepts subscriptions that its rules forbid to read, and serves nothing for them. The
/// only sign is that nothing comes, so this is reported.
#[test]
fn that_access_rules_were_not_verified_is_said_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let rules = folder.path().join("acl");
    std::fs::write(&rules, "topic write flawd/press/#\n").unwrap();
    let broker = Broker::start_with(&format!(
        "allow_anonymous true\nacl_file {}\n",
        rules.display()
    ));
    let station = press(broker.port, "required_at_start = true\n");
    let daemon = station.run();
    daemon.wait_for_line("what was not verified", |line| {
        line.contains("Subscriptions accepted; only a message that arrives")
            && line.contains("flawd/press/top/trigger, flawd/press/cmd/+")
    });
    let log = stop(daemon);
    assert_eq!(count(&log, "Subscriptions accepted"), 1, "{log}");
}

#[test]
fn a_part_whose_messages_are_larger_than_the_broker_takes_costs_no_other_part_anything() {
    let broker = Broker::start_with(&format!("{AT_ONCE}max_packet_size 4096\n"));
    let controller = Controller::connect(broker.port);
    let station = press(broker.port, "");
    let daemon = station.run();
    controller.until_ready();
    let trigger = "flawd/press/top/trigger";
    let long = "\u{1f600}".repeat(850);
    let ask = |part: &str| {
        controller.publish(trigger, format!(r#"{{"part_id":"{part}"}}"#), false);
    };
    let record = |part: &str| {
        controller.until("its record", |it| {
            it.kind() == "record" && it.payload["part_id"] == part
        })
    };
    ask("1");
    let mut heard = record("1");
    ask(&long);
    daemon.wait_for_line("the end of its record", |line| {
        line.contains("Record set aside") && line.contains("seq=2") && line.contains(&long)
    });
    ask("3");
    heard.extend(record("3"));
    let of = |kind: &str| -> Vec<_> {
        let all = heard.iter().filter(|it| it.kind() == kind);
        all.map(|it| it.payload["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!((of("verdict"), of("record")), (vec![1, 3], vec![1, 3]));
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    let state = &last
        .iter()
        .rfind(|it| it.kind() == "state")
        .unwrap()
        .payload;
    assert_eq!(state["records"]["set_aside"], 1, "{state}");
    let undelivered = &state["cameras"]["top"]["undelivered"]["latest"];
    assert_eq!(undelivered["first_seq"], 2, "{state}");
    assert_eq!(undelivered["count"], 1, "{state}");
    let log = stop(daemon);
    assert_eq!(count(&log, "Connected to the broker"), 1, "{log}");

    // What has gone is gone: the next start has nothing to say about it.
    let daemon = station.run();
    controller.until_ready();
    controller.publish(trigger, "{}".to_owned(), false);
    controller.until("the next record", |it| {
        it.kind() == "record" && it.payload["seq"] == 4
    });
    assert_eq!(count(&stop(daemon), "Record set aside"), 0);
}

#[test]
fn a_requester_is_not_answered_after_its_deadline() {
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let station = press(broker.port, "");
    let daemon = station.run();
    controller.until_ready();
    let trigger = "flawd/press/top/trigger";
    broker.ask(trigger, r#"{"part_id":"late","deadline_ms":0.001}"#, "late");
    broker.ask(trigger, r#"{"part_id":"timely"}"#, "timely");
    let heard = controller.until("the answer in time", |it| it.kind() == "timely");
    let verdicts = heard.iter().filter(|it| it.kind() == "verdict");
    let parts: Vec<_> = verdicts.map(|it| it.payload["part_id"].clone()).collect();
    assert_eq!(parts, ["late", "timely"]);
    assert!(heard.iter().all(|it| it.kind() != "late"), "{heard:?}");
    stop(daemon);
}

/// Reason codes by which a broker may refuse a connection, a subscription, or end a connection.
const CONNACK: [u8; 21] = [
    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
    0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const SUBACK: [u8; 9] = [0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const DISCONNECT: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

#[test]
#[ignore = "run by cargo xtask endurance"]
fn a_broker_that_speaks_every_reason_code_is_heard_out_and_not_flooded() {
    let refusals = u32::try_from(CONNACK.len()).unwrap();
    let ends = u32::try_from(DISCONNECT.len()).unwrap();
    let broker = Scripted::start(move |seen| {
        let place = seen.connection as usize - 1;
        let ended = place.checked_sub(CONNACK.len());
        match (&seen.packet, CONNACK.get(place), ended) {
            (Packet::Connect, Some(code), _) => Answer::No(*code),
            (Packet::Subscribe { .. }, _, Some(ended)) if ended < DISCONNECT.len() => {
                Answer::No(SUBACK[ended % SUBACK.len()])
            }
            (packet, _, Some(ended)) if packet.kind() == "verdict" => DISCONNECT
                .get(ended)
                .map_or(Answer::Well, |code| Answer::EndWith(*code)),
            _ => Answer::Well,
        }
    });
    let station = line(broker.port, "");
    let daemon = station.run();
    for connection in 1..=refusals + ends {
        daemon.wait_for_line("the next attempt", |line| {
            line.contains("Connecting to the broker")
        });
        broker.until("it", |it| it.connection == connection);
    }
    let last = refusals + ends + 1;
    let seen = broker.until("a record", |it| {
        it.connection == last && it.packet.kind() == "record"
    });
    let seq = seen.last().unwrap().packet.seq();
    let seen = broker.until("the records", |it| it.packet.is("record", seq + 100));
    assert!(seen.iter().all(|it| it.connection == last), "{seen:#?}");
    let log = stop(daemon);
    let attempts = attempts(&log);
    let accepted = &attempts[CONNACK.len()..];
    for pair in accepted.windows(2).skip(2) {
        let apart = pair[0].duration_until(pair[1]);
        assert!(apart >= SignedDuration::from_secs(6), "{apart:?}: {log}");
    }
    assert_eq!(count(&log, "they do not last"), 1, "{log}");
    assert_eq!(count(&log, "Record set aside"), 0, "{log}");
}
