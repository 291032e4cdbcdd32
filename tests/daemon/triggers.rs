//! Triggers: each gets exactly one verdict, whatever happens on the line.

use std::collections::{BTreeMap, BTreeSet};

use flawd_testing::broker::{AT_ONCE, Broker};
use jiff::{SignedDuration, Timestamp};

use crate::line::{Controller, Heard};
use crate::station::Station;

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

#[test]
fn a_thousand_triggers_at_twice_the_sustainable_rate_get_one_verdict_each() {
    at_twice_the_sustainable_rate(1_000);
}

#[test]
#[ignore = "takes a minute: run by cargo xtask endurance"]
fn ten_thousand_triggers_at_twice_the_sustainable_rate_get_one_verdict_each() {
    at_twice_the_sustainable_rate(10_000);
}

/// Triggers come at twice the rate that the model can serve: each part that it judges is followed
/// by two more, so that this holds on a slow machine as on a fast one. Half of the parts are
/// judged, the rest get the reason, and nothing is lost or sent twice.
fn at_twice_the_sustainable_rate(wanted: usize) {
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let trigger = "deadline = \"1s\"\nframe_timeout = \"1h\"\n\
                   [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"";
    let station = station(&broker, trigger, "");
    let mut daemon = station.run_quiet();
    controller.until_ready();

    let (mut heard, mut records) = (Vec::new(), Vec::new());
    let (mut asked, mut on_credit) = (0, 4);
    while heard.len() < wanted || records.len() < wanted {
        while asked < wanted && on_credit > 0 {
            controller.publish(TRIGGER, format!(r#"{{"part_id":"part-{asked}"}}"#), false);
            asked += 1;
            on_credit -= 1;
        }
        let message = controller.next("a verdict or a record", |it| {
            matches!(it.kind(), "verdict" | "record")
        });
        if message.kind() == "record" {
            records.push(message);
            continue;
        }
        let is_judged = message.payload["score"].is_number();
        heard.push(message);
        // If the machine stalled until all were late, no part is left to be followed.
        if is_judged || heard.len() == asked {
            on_credit += 2;
        }
    }

    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for it in &heard {
        *kinds
            .entry(format!("{}{}", verdict(it), reason(it)))
            .or_default() += 1;
    }
    println!("{kinds:?}");
    // If the machine stalled until the deadline, not even a frame came in time.
    let allowed = [
        "ok",
        "ng",
        "no_decisionoverrun",
        "no_decisionlate",
        "no_decisioncamera_lost",
    ];
    assert!(
        kinds.keys().all(|kind| allowed.contains(&kind.as_str())),
        "{kinds:?}"
    );
    let judged = heard
        .iter()
        .filter(|it| it.payload["score"].is_number())
        .count();
    assert!(
        (wanted * 2 / 5..=wanted * 3 / 5).contains(&judged),
        "{kinds:?}"
    );
    let ids: BTreeSet<_> = (0..wanted).map(|id| format!("part-{id}")).collect();
    for (what, messages) in [("verdicts", &heard), ("records", &records)] {
        assert_eq!(messages.len(), wanted, "{what}");
        let parts: BTreeSet<_> = messages
            .iter()
            .map(|it| it.payload["part_id"].as_str().unwrap().to_owned())
            .collect();
        assert!(parts == ids, "{what} are of other parts");
        let seqs = messages
            .iter()
            .map(|it| it.payload["seq"].as_u64().unwrap());
        assert!(seqs.eq(1..=wanted as u64), "{what} are not in order");
    }

    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    // And none comes behind.
    assert!(of_kind(&last, "verdict").is_empty() && of_kind(&last, "record").is_empty());
    let state = of_kind(&last, "state").pop().unwrap();
    assert_eq!(state.payload["records"]["pending"], 0, "{}", state.payload);
    let counts = &state.payload["cameras"]["top"];
    let counted = ["ok", "ng", "no_decision"].map(|kind| counts[kind].as_u64().unwrap());
    assert_eq!(counted.iter().sum::<u64>(), wanted as u64, "{counts}");
}

/// A GS1 code has U+001D between its fields. A broker that finds one in a user property ends the
/// connection, on every connection again.
#[test]
fn a_part_whose_id_has_control_characters_is_told_and_recorded_on_the_same_connection() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = station(&broker, "[camera.top.trigger]\nmode = \"mqtt\"", "");
    let mut daemon = station.run();
    controller.until_ready();
    let parts = ["01\u{1d}21\r", "after"];
    for part in parts {
        let payload = serde_json::json!({ "part_id": part });
        controller.publish(TRIGGER, payload, false);
    }
    let mut records = 0;
    let heard = controller.until("a record of each", |it| {
        records += usize::from(it.kind() == "record");
        records == parts.len()
    });
    for kind in ["verdict", "record"] {
        let told = of_kind(&heard, kind);
        let ids: Vec<_> = told.iter().map(|it| &it.payload["part_id"]).collect();
        assert_eq!(ids, parts, "{kind}");
    }
    let status = of_kind(&heard, "status");
    assert!(status.is_empty(), "the connection did not stay: {status:?}");
    daemon.terminate();
    daemon.wait();
}

#[test]
fn a_recipe_that_the_camera_does_not_have_is_judged_by_no_other() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "frame_timeout = \"1h\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"\n\
                  [camera.top.recipe.left]\nbundle = \"{bundle}\"";
    let station = station(&broker, camera, "");
    let _daemon = station.run();
    controller.until_ready();
    controller.publish(TRIGGER, r#"{"recipe":"right"}"#, false);
    let verdict = controller.next("a verdict", |it| it.kind() == "verdict");
    assert_eq!(reason(&verdict), "model_error", "{}", verdict.payload);
    assert_eq!(verdict.payload["recipe"], "right");
    controller.publish(TRIGGER, r#"{"recipe":"left"}"#, false);
    let verdict = controller.next("a verdict", |it| it.kind() == "verdict");
    assert!(verdict.payload["score"].is_number(), "{}", verdict.payload);
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
    // The answer comes behind the verdict for everyone.
    let everyone = controller.next("the verdict", |it| it.kind() == "verdict");
    let answer = controller.next("the answer", |it| it.topic == "plc/answers");
    assert_eq!(answer.correlation.as_deref(), Some(&b"\x01\xff"[..]));
    assert_eq!(answer.payload["part_id"], "SN-1");
    assert_eq!(answer.payload["recipe"], "left");
    assert!(answer.payload["remaining_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(everyone.payload, answer.payload);
}

#[test]
fn retained_stale_and_unreadable_triggers_are_refused_and_counted() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    // The broker has kept this one from long ago; it is asked not to send such ones at all.
    controller.publish(TRIGGER, r#"{"part_id":"old"}"#, true);
    let station = station(&broker, "[camera.top.trigger]\nmode = \"mqtt\"", "");
    let mut daemon = station.run();
    controller.until_ready();
    let retained = r#"{"part_id":"kept"}"#;
    controller.publish(TRIGGER, retained, true);
    daemon.wait_for_line("a refusal", |line| line.contains("it is retained"));
    let refused = [
        (
            r#"{"part_id":"stale","sent_at":"2020-01-01T00:00:00Z"}"#,
            "s old",
        ),
        (r#"{"part":"mistyped"}"#, "unknown field `part`"),
        ("now", "JSON object"),
        (r#"["SN-1","left",300]"#, "expected a JSON object"),
        (r#"{"part_id":null}"#, "null"),
        (r#"{"part_id":"a","part_id":"b"}"#, "duplicate field"),
        (r#"{"deadline_ms":-5}"#, "`deadline_ms` cannot be -5"),
    ];
    assert!(refused.len() < 10, "the log would leave lines out");
    for (payload, problem) in refused {
        controller.publish(TRIGGER, payload, false);
        let line = daemon.wait_for_line("a refusal", |line| line.contains("Message refused"));
        assert!(line.contains(problem), "{line}");
    }
    controller.publish(TRIGGER, r#"{"part_id":"new"}"#, false);
    let verdict = controller.next("a verdict", |it| it.kind() == "verdict");
    assert_eq!(verdict.payload["part_id"], "new");
    assert_eq!(verdict.payload["seq"], 1);
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    let state = of_kind(&last, "state").pop().unwrap();
    let counted = state.payload["cameras"]["top"]["triggers_refused"].as_u64();
    assert_eq!(counted, Some(refused.len() as u64 + 1), "{}", state.payload);
    daemon.wait();
}

#[test]
fn where_triggers_have_to_say_when_they_were_sent_those_that_do_not_are_refused() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let trigger = "[camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"\n\
                   require_sent_at = true\nmax_age = \"1h\"";
    let station = station(&broker, trigger, "");
    let mut daemon = station.run();
    controller.until_ready();
    let now = Timestamp::now();
    let at = |minutes| (now - SignedDuration::from_mins(minutes)).to_string();
    for (payload, problem) in [
        (String::new(), "no `sent_at`"),
        (r#"{"part_id":"undated"}"#.to_owned(), "no `sent_at`"),
        (format!(r#"{{"sent_at":"{}"}}"#, at(61)), "s old"),
        (format!(r#"{{"sent_at":"{}"}}"#, at(-62)), "s old"),
    ] {
        controller.publish(TRIGGER, payload, false);
        let line = daemon.wait_for_line("a refusal", |line| line.contains("Message refused"));
        assert!(line.contains(problem), "{line}");
    }
    let old_enough = format!(r#"{{"part_id":"dated","sent_at":"{}"}}"#, at(30));
    controller.publish(TRIGGER, old_enough, false);
    let verdict = controller.next("a verdict", |it| it.kind() == "verdict");
    assert_eq!(verdict.payload["part_id"], "dated");
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    let state = of_kind(&last, "state").pop().unwrap();
    let camera = &state.payload["cameras"]["top"];
    let counted = ["triggers_accepted", "triggers_refused"].map(|it| camera[it].as_u64());
    assert_eq!(counted, [Some(1), Some(4)], "{camera}");
    daemon.wait();
}

#[test]
fn a_streaming_camera_gives_each_trigger_the_frame_that_fits_in_time() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "overflow = \"newest-wins\"\nframe_timeout = \"1h\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"250ms\"";
    let station = station(&broker, camera, "rate = 20");
    let _daemon = station.run();
    controller.until_ready();
    let (mut asked, mut judged) = (0, 0);
    while judged < 10 {
        // On a machine that stalls now and then, pictures come late; not all of them.
        assert!(asked < 500, "{judged} of {asked}");
        controller.publish(TRIGGER, format!(r#"{{"part_id":"part-{asked}"}}"#), false);
        asked += 1;
        let verdict = controller.next("its verdict", |it| it.kind() == "verdict");
        if !verdict.payload["score"].is_number() {
            assert_eq!(reason(&verdict), "trigger_unmatched", "{}", verdict.payload);
            continue;
        }
        judged += 1;
        let offset = verdict.payload["match_offset_ms"].as_f64().unwrap();
        assert!(offset.abs() <= 250.0, "{}", verdict.payload);
        assert!(verdict.payload["triggered_at"].is_string());
    }
}

#[test]
fn a_frame_that_was_taken_too_far_from_the_trigger_is_not_judged() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    // Five pictures a second, and a trigger asks for one within a nanosecond.
    let camera = "overflow = \"newest-wins\"\nframe_timeout = \"1h\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1ns\"";
    let station = station(&broker, camera, "rate = 5");
    let _daemon = station.run();
    controller.until_ready();
    for part in 0..3 {
        controller.publish(TRIGGER, format!(r#"{{"part_id":"part-{part}"}}"#), false);
        let verdict = controller.next("its verdict", |it| it.kind() == "verdict");
        assert_eq!(reason(&verdict), "trigger_unmatched", "{}", verdict.payload);
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
    let times: Vec<Timestamp> = (verdicts.iter())
        .map(|it| it.payload["triggered_at"].as_str().unwrap())
        .map(|it| it.parse().unwrap())
        .collect();
    // If the machine stalled, two may follow each other closely.
    let took = times[9].duration_since(times[0]);
    assert!(took >= SignedDuration::from_millis(600), "{took:?}");
}
