//! Triggers: each gets exactly one verdict, whatever happens on the line.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    broker::Broker,
    line::{Controller, Heard},
    station::Station,
};

const TRIGGER: &str = "flawd/press/top/trigger";

/// A station whose camera waits for triggers, with these lines under `[camera.top]`.
fn station(broker: &Broker, camera: &str, synthetic: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n[journal]\nsync = \"system\"\n\
         [camera.top]\n{camera}\n[camera.top.synthetic]\nsize = \"96x96\"\n{synthetic}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
}

fn of_kind<'a>(heard: &'a [Heard], kind: &str) -> Vec<&'a Heard> {
    heard.iter().filter(|it| it.kind() == kind).collect()
}

fn verdict(heard: &Heard) -> &str {
    heard.payload["verdict"].as_str().unwrap_or_default()
}

fn reason(heard: &Heard) -> &str {
    heard.payload["reason"].as_str().unwrap_or_default()
}

/// Triggers `ids`, spaced evenly, and hears on until each has its verdict and its record.
fn drive(controller: &Controller, ids: std::ops::Range<usize>, pace: Duration) -> Vec<Heard> {
    let begun = Instant::now();
    let mut heard = Vec::new();
    let wanted = ids.len();
    for (index, id) in ids.enumerate() {
        let due = begun + pace * u32::try_from(index).unwrap();
        controller.hear_until(due, &mut heard);
        let payload = format!(r#"{{"part_id":"part-{id}"}}"#);
        controller.publish(TRIGGER, payload, false);
    }
    let count = |heard: &[Heard], kind| of_kind(heard, kind).len();
    let (mut verdicts, mut records) = (count(&heard, "verdict"), count(&heard, "record"));
    while verdicts < wanted || records < wanted {
        let message = controller.next("a verdict and a record of each", |_| true);
        verdicts += usize::from(message.kind() == "verdict");
        records += usize::from(message.kind() == "record");
        heard.push(message);
    }
    heard
}

/// Ten thousand triggers come at twice the rate that the model can serve: some parts are judged,
/// the rest is told why not, and nothing is lost or said twice.
#[test]
fn ten_thousand_triggers_at_twice_the_sustainable_rate_get_one_verdict_each() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let trigger = "deadline = \"150ms\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
                   match_within = \"1m\"";
    let station = station(&broker, trigger, "");
    let mut daemon = station.run_quiet();
    controller.until_ready();

    // As fast as one after the other goes.
    let begun = Instant::now();
    for id in 0..200 {
        let name = format!("warm-{id}");
        controller.publish(TRIGGER, format!(r#"{{"part_id":"{name}"}}"#), false);
        controller.next("a verdict", |it| {
            it.kind() == "verdict" && it.payload["part_id"] == name.as_str()
        });
    }
    let sustainable = begun.elapsed() / 200;
    let wanted = 10_000;
    let heard = drive(&controller, 0..wanted, sustainable / 2);

    let mut by_part: BTreeMap<String, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let verdicts: Vec<_> = of_kind(&heard, "verdict");
    for it in &verdicts {
        let part = it.payload["part_id"].as_str().unwrap();
        *by_part.entry(part.to_owned()).or_default() += 1;
        *kinds
            .entry(format!("{}{}", verdict(it), reason(it)))
            .or_default() += 1;
    }
    assert_eq!(by_part.len(), wanted, "{kinds:?}");
    assert!(by_part.values().all(|count| *count == 1), "{kinds:?}");
    let allowed = ["ok", "ng", "no_decisionoverrun", "no_decisionlate"];
    assert!(
        kinds.keys().all(|kind| allowed.contains(&kind.as_str())),
        "{kinds:?}"
    );
    assert!(kinds.contains_key("ok"), "{kinds:?}");
    let seqs: Vec<_> = verdicts
        .iter()
        .map(|it| it.payload["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (201..=200 + wanted as u64).collect::<Vec<_>>());
    let mut recorded: Vec<_> = of_kind(&heard, "record")
        .iter()
        .map(|it| it.payload["seq"].as_u64().unwrap())
        .filter(|seq| *seq > 200)
        .collect();
    recorded.dedup();
    assert!(recorded.is_sorted() && recorded.len() <= wanted);

    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let state = of_kind(&last, "state").pop().unwrap();
    assert_eq!(state.payload["records"]["pending"], 0, "{}", state.payload);
}

#[test]
fn the_asker_is_answered_where_it_wants_and_recognises_its_question() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = station(&broker, "[camera.top.trigger]\nmode = \"mqtt\"", "");
    let _daemon = station.run();
    controller.until_ready();
    let question = r#"{"part_id":"SN-1","recipe":"left","deadline_ms":60000}"#;
    controller.ask(TRIGGER, question, "plc/answers", b"\x01\xff");
    let answer = controller.next("the answer", |it| it.topic == "plc/answers");
    assert_eq!(answer.correlation.as_deref(), Some(&b"\x01\xff"[..]));
    assert_eq!(answer.payload["part_id"], "SN-1");
    assert_eq!(answer.payload["recipe"], "left");
    assert!(answer.payload["remaining_ms"].as_f64().unwrap() > 0.0);
    let everyone = controller.next("the verdict", |it| it.kind() == "verdict");
    assert_eq!(everyone.payload, answer.payload);
}

#[test]
fn retained_stale_and_unreadable_triggers_are_refused_and_counted() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    // The broker has kept this one from long ago.
    controller.publish(TRIGGER, r#"{"part_id":"old"}"#, true);
    let station = station(&broker, "[camera.top.trigger]\nmode = \"mqtt\"", "");
    let mut daemon = station.run();
    controller.until_ready();
    let refused = [
        r#"{"part_id":"stale","sent_at":"2020-01-01T00:00:00Z"}"#,
        r#"{"part":"mistyped"}"#,
        "now",
        r#"{"deadline_ms":-5}"#,
    ];
    for payload in refused {
        controller.publish(TRIGGER, payload, false);
        daemon.wait_for_line("a refusal", |line| line.contains("Message refused"));
    }
    controller.publish(TRIGGER, r#"{"part_id":"new"}"#, false);
    let verdict = controller.next("a verdict", |it| it.kind() == "verdict");
    assert_eq!(verdict.payload["part_id"], "new");
    assert_eq!(verdict.payload["seq"], 1);
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    let state = of_kind(&last, "state").pop().unwrap();
    let counted = state.payload["cameras"]["top"]["triggers_refused"].as_u64();
    assert!(counted >= Some(refused.len() as u64), "{}", state.payload);
    daemon.wait();
}

#[test]
fn a_streaming_camera_gives_each_trigger_the_frame_that_fits_in_time() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "overflow = \"newest-wins\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
                  match_within = \"2s\"";
    let station = station(&broker, camera, "rate = 20");
    let _daemon = station.run();
    controller.until_ready();
    for heard in of_kind(
        &drive(&controller, 0..20, Duration::from_millis(70)),
        "verdict",
    ) {
        let offset = heard.payload["match_offset_ms"].as_f64().unwrap();
        assert!(offset.abs() <= 2000.0, "{}", heard.payload);
        assert!(matches!(verdict(heard), "ok" | "ng"), "{}", heard.payload);
        assert!(heard.payload["triggered_at"].is_string());
    }
}

#[test]
fn a_frame_that_was_taken_too_far_from_the_trigger_is_not_judged() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    // A picture a second, and a trigger asks for one within a microsecond.
    let camera = "overflow = \"newest-wins\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
                  match_within = \"1us\"";
    let station = station(&broker, camera, "rate = 5");
    let _daemon = station.run();
    controller.until_ready();
    let heard = drive(&controller, 0..3, Duration::from_millis(100));
    for verdict in of_kind(&heard, "verdict") {
        assert_eq!(reason(verdict), "trigger_unmatched", "{}", verdict.payload);
    }
}

#[test]
fn a_timer_asks_for_a_verdict_every_so_often() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "[camera.top.trigger]\nmode = \"interval\"\ninterval = \"100ms\"\n\
                  match_within = \"10s\"";
    let station = station(&broker, camera, "");
    let _daemon = station.run();
    let mut verdicts = Vec::new();
    controller.until("ten verdicts", |it| {
        if it.kind() == "verdict" {
            verdicts.push(it.clone());
        }
        verdicts.len() == 10
    });
    let took = verdicts[9].at - verdicts[0].at;
    assert!(took >= Duration::from_millis(600), "{took:?}");
    assert!(
        verdicts
            .iter()
            .all(|it| it.payload["triggered_at"].is_string())
    );
}
