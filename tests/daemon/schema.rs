//! Everything that a running daemon sends fits its published schema, in both versions of MQTT; and
//! the schema of triggers describes what the daemon accepts.

use std::collections::{BTreeMap, BTreeSet};

use flawd_testing::broker::{Broker, Message};
use flawd_testing::schema::{Schema, described, present};
use serde_json::{Value, json};

use crate::bundle;
use crate::line::{Controller, Heard};
use crate::station::Station;

const TRIGGER: &str = "flawd/press/top/trigger";

/// Fields that take an outage, which other tests have.
const OF_OUTAGES: [&str; 9] = [
    "cameras.undelivered",
    "cameras.undelivered.count",
    "cameras.undelivered.latest",
    "cameras.undelivered.latest.count",
    "cameras.undelivered.latest.first_seq",
    "cameras.undelivered.latest.last_seq",
    "records.refused",
    "records.failing",
    "records.set_aside",
];

/// `top` is triggered, and has a shadow model; `side` runs on its own, and gets dark pictures;
/// `back` takes pictures whether they are wanted or not.
fn station(broker: &Broker, version: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [journal]\nsync = \"system\"\n[evidence]\nok_share = 1.0\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nversion = \"{version}\"\n\
         required_at_start = true\nheartbeat = \"100ms\"\n\
         [camera.top]\nshadow = \"{shadow}\"\nquality_gate = false\nframe_timeout = \"1h\"\n\
         [camera.top.trigger]\nmode = \"mqtt\"\nqueue = 64\nmatch_within = \"1m\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n\
         [camera.side.synthetic]\nsize = \"96x96\"\nrate = 20\n\
         [camera.side.synthetic.fault]\ndark = {{ after = 3, parts = 3 }}\n\
         [camera.back]\noverflow = \"newest-wins\"\nframe_timeout = \"1h\"\n\
         [camera.back.synthetic]\nsize = \"96x96\"\nrate = 20\n",
        port = broker.port,
        shadow = bundle::other().display(),
    ))
}

fn trigger(controller: &Controller, part: &str) -> Value {
    let payload = json!({ "part_id": part, "recipe": "left", "deadline_ms": 60_000 });
    controller.publish(TRIGGER, payload, false);
    let data = |it: &Value| it.get("data").unwrap_or(it).clone();
    let verdict = controller.next(part, |it| {
        it.topic == "flawd/press/top/verdict" && data(&it.payload)["part_id"] == part
    });
    data(&verdict.payload)
}

/// Whatever a daemon says between its start and its end, of as many kinds as it can be brought to.
fn everything_said(version: &str) -> Vec<Message> {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let controller = Controller::connect(broker.port);
    let station = station(&broker, version);
    let mut daemon = station.run();
    controller.until_ready();
    assert!(trigger(&controller, "first")["verdict"].is_string());
    controller.publish("flawd/press/cmd/selftest", "", false);
    controller.next("a self-test", |it| it.kind() == "selftest");
    // Of the parts that the second model still takes for good, nearly all are bad from here on.
    let strict = json!({ "camera": "top", "false_reject_rate": 0.9 });
    controller.publish("flawd/press/cmd/threshold", strict, false);
    for part in 0.. {
        let verdict = trigger(&controller, &format!("strict-{part}"));
        if verdict["verdict"] == "ng" && verdict.get("regions").is_some() {
            break;
        }
        assert!(part < 200, "no part is bad: {verdict}");
    }
    controller.next("a disagreement", |it| it.kind() == "disagreement");
    controller.publish(TRIGGER, r#"{"part":"mistyped"}"#, false);
    controller.publish("flawd/press/cmd/pause", "", false);
    controller.next("a pause", |it| {
        it.kind() == "state" && it.payload["cameras"]["top"]["paused"] == true
    });
    assert_eq!(trigger(&controller, "paused")["reason"], "paused");
    controller.publish("flawd/press/cmd/resume", r#"{"camera":7}"#, false);
    // They are a second apart, in which twenty unwanted frames of `back` pass.
    for _ in 0..2 {
        controller.next("a heartbeat", |it| it.kind() == "heartbeat");
    }
    daemon.terminate();
    daemon.wait();
    subscriber.until_status("stopped")
}

/// The messages on each kind of topic, as the schemas describe them.
fn by_kind(
    messages: &[Message],
    payload: impl Fn(&Message) -> Value,
) -> BTreeMap<String, Vec<Value>> {
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for message in messages {
        let kind = message.kind();
        if !["trigger", "pause", "resume", "threshold", "selftest"].contains(&kind)
            || message.topic == "flawd/press/selftest"
        {
            let payload = match kind {
                // What a reject actuator receives is a verdict.
                "defect" | "verdict" | "record" | "disagreement" => payload(message),
                _ => message.payload.clone(),
            };
            let kind = if kind == "defect" { "verdict" } else { kind };
            said.entry(kind.to_owned()).or_default().push(payload);
        }
    }
    said
}

fn fits(said: &BTreeMap<String, Vec<Value>>) {
    let kinds: Vec<_> = said.keys().map(String::as_str).collect();
    let all = [
        "disagreement",
        "heartbeat",
        "record",
        "selftest",
        "state",
        "status",
        "verdict",
    ];
    assert_eq!(kinds, all);
    for (kind, payloads) in said {
        if kind == "status" {
            assert!(payloads.iter().all(|it| it == "online" || it == "stopped"));
            continue;
        }
        let schema = Schema::published(kind);
        let mut missing: BTreeSet<String> = described(&schema);
        for payload in payloads {
            if let Err(complaint) = schema.check(payload) {
                panic!("{kind}: {complaint} in {payload}");
            }
            let present = present(&schema, payload);
            missing.retain(|field| !present.contains(field));
        }
        // Two numbers, a model that has an opinion on every part, and no driver.
        let rare = [
            "models.golden.problem",
            "live.reason",
            "shadow.reason",
            "cameras.missed",
        ];
        let rare: Vec<_> = rare.iter().chain(&OF_OUTAGES).copied().collect();
        let of_machine = ["clock_synchronised", "evidence.suspended"];
        missing.retain(|it| !it.ends_with("model.engine"));
        // The pictures do not change here; `drift` has a line on which they do.
        missing.retain(|it| !it.starts_with("cameras.drift.causes"));
        missing.retain(|it| !rare.contains(&it.as_str()) && !of_machine.contains(&it.as_str()));
        assert!(missing.is_empty(), "no {kind} has {missing:?}");
    }
    let undecided = said["verdict"]
        .iter()
        .filter_map(|it| it["reason"].as_str());
    let reasons: BTreeSet<_> = undecided.collect();
    assert!(
        reasons.is_superset(&["image_quality", "paused"].into()),
        "{reasons:?}"
    );
}

#[test]
fn everything_that_a_daemon_sends_fits_its_schema() {
    let messages = everything_said("5");
    fits(&by_kind(&messages, |message| {
        let attributes = &message.properties["user-properties"];
        let schema = match message.kind() {
            "defect" => "verdict",
            kind => kind,
        };
        assert_eq!(
            attributes["dataschema"],
            format!("urn:flawd:schema:{schema}:1"),
            "{attributes}"
        );
        assert_eq!(attributes["subject"], message.payload["part_id"]);
        message.payload.clone()
    }));
}

#[test]
fn everything_that_a_daemon_sends_with_the_old_mqtt_fits_its_schema() {
    let messages = everything_said("3.1.1");
    fits(&by_kind(&messages, |message| {
        assert_eq!(message.payload["specversion"], "1.0");
        assert!(message.payload["id"].is_string());
        message.payload["data"].clone()
    }));
}

#[test]
fn a_trigger_is_taken_if_and_only_if_it_fits_its_schema() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = station(&broker, "5");
    let mut daemon = station.run();
    controller.until_ready();
    let schema = Schema::published("trigger");
    // As late as may be, and a little ahead: a message of now would be refused after 2 s on its way.
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1500);
    let payloads = [
        json!({ "part_id": "a" }),
        json!({ "part_id": "b", "recipe": "left" }),
        json!({ "part_id": "c", "deadline_ms": 59_999.5 }),
        json!({ "part_id": "d", "sent_at": ahead.to_string() }),
        json!({ "part_id": "ü".repeat(1024) }),
        json!({ "part_id": "ü".repeat(1025) }),
        json!({ "part_id": "e", "recipe": 7 }),
        json!({ "part_id": "f", "deadline_ms": 0 }),
        json!({ "part_id": "g", "deadline_ms": 3_600_000 }),
        json!({ "part_id": "h", "deadline_ms": "soon" }),
        json!({ "part_id": "i", "sent_at": 1_700_000_000 }),
        json!({ "part_id": "j", "batch": 3 }),
        json!({ "part_id": 11 }),
        json!({ "part_id": "k", "recipe": "x".repeat(257) }),
        json!({ "part_id": "l", "sent_at": null }),
        json!(["m"]),
        json!([]),
    ];
    for payload in &payloads {
        controller.publish(TRIGGER, payload, false);
    }
    // When this one is judged, every message before it has been taken or refused.
    controller.publish(TRIGGER, r#"{"part_id":"last"}"#, false);
    let fitting: BTreeSet<_> = (payloads.iter())
        .filter(|payload| schema.check(payload).is_ok())
        .map(|payload| payload["part_id"].to_string())
        .collect();
    let longest = "ü".repeat(1024);
    let expected = ["a", "b", "c", "d", &longest];
    assert_eq!(fitting, expected.map(|it| format!("\"{it}\"")).into());
    let is_verdict = |it: &Heard| it.topic == "flawd/press/top/verdict";
    // A trigger that is answered without a picture overtakes those that are with the model.
    let mut judged = BTreeSet::new();
    while judged.len() <= fitting.len() {
        let verdict = controller.next("a verdict on each part and the last", is_verdict);
        let part = verdict.payload["part_id"].to_string();
        assert!(judged.insert(part), "twice: {}", verdict.payload);
    }
    assert!(judged.remove("\"last\""), "{judged:?}");
    assert_eq!(judged, fitting);
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    assert!(!last.iter().any(is_verdict), "{last:?}");
    let state = last.iter().rfind(|it| it.kind() == "state").unwrap();
    let refused = payloads.len() - fitting.len();
    assert_eq!(
        state.payload["cameras"]["top"]["triggers_refused"], refused,
        "{}",
        state.payload
    );
    daemon.wait();
}
