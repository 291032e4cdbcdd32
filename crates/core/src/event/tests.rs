//! Messages, both ways, and the published schemas.

use std::collections::BTreeMap;

use flawd_testing::schema::{Schema, described, present};
use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::condition::{Cause, Quantity};
use crate::digest::Digest;
use crate::regions::Region;
use crate::verdict::{Reason, Verdict};

fn event(verdict: Verdict) -> Event<VerdictData> {
    let time = "2026-03-01T12:00:00.25Z".parse().expect("a time");
    let judged = verdict.reason().is_none();
    Event {
        id: "0b5c-17".to_owned(),
        source: "flawd/line-1/top".to_owned(),
        time,
        data: VerdictData {
            camera: "top".to_owned(),
            seq: 17,
            verdict,
            detail: (!judged).then(|| "the picture is black".to_owned()),
            part_id: judged.then(|| "part-0042.png".to_owned()),
            deadline: judged.then_some(time),
            remaining_ms: judged.then_some(-2.5),
            captured_at: judged.then_some(time),
            score: judged.then_some(1.25),
            threshold: Some(0.8),
            p_value: judged.then_some(0.01),
            latency_ms: LatencyMs {
                capture: judged.then_some(3.0),
                queue: judged.then_some(0.0),
                preprocess: judged.then_some(2.5),
                infer: judged.then_some(41.5),
                total: 60.0,
            },
            model: Some(model()),
            recipe: Some("left-hand".to_owned()),
            triggered_at: Some(time),
            match_offset_ms: judged.then_some(-3.5),
            regions: (verdict == Verdict::Ng).then(region).into_iter().collect(),
            evidence: judged.then(evidence),
        },
    }
}

fn model() -> ModelData {
    ModelData {
        name: "flange".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::new([0xab; 32]),
        provider: "cpu".to_owned(),
        engine: Some(Digest::new([5; 32])),
    }
}

fn region() -> Region {
    Region {
        x: 3,
        y: 4,
        width: 5,
        height: 6,
        score: 1.5,
    }
}

fn evidence() -> EvidenceData {
    EvidenceData {
        path: "top/2026-03-01/000000000017-ng.png".to_owned(),
        sha256: Digest::new([3; 32]),
    }
}

fn verdicts() -> Vec<Verdict> {
    let undecided = Reason::ALL.map(Verdict::NoDecision);
    [Verdict::Ok, Verdict::Ng]
        .into_iter()
        .chain(undecided)
        .collect()
}

#[test]
fn a_verdict_reads_back_from_its_payload() {
    for verdict in verdicts() {
        let event = event(verdict);
        let read: VerdictData =
            serde_json::from_slice(&event.to_binary().payload).expect("it reads back");
        assert_eq!(read, event.data);
    }
}

#[test]
fn both_modes_carry_the_same_attributes_and_data() {
    for verdict in [Verdict::Ng, Verdict::NoDecision(Reason::ImageQuality)] {
        let event = event(verdict);
        let binary = event.to_binary();
        let mut structured: Value = serde_json::from_slice(&event.to_structured()).expect("JSON");
        let structured = structured.as_object_mut().expect("an object");

        let data: Value = serde_json::from_slice(&binary.payload).expect("JSON");
        assert_eq!(structured.remove("data"), Some(data));
        assert_eq!(
            structured.remove("datacontenttype"),
            Some(binary.content_type.into())
        );
        for (name, value) in &binary.user_properties {
            assert_eq!(
                structured.remove(name),
                Some(value.as_str().into()),
                "{name}"
            );
        }
        assert!(structured.is_empty(), "{structured:?}");
    }
}

/// GS1 codes have U+001D between their fields, and scanners append a line end.
#[test]
fn what_an_attribute_cannot_hold_is_replaced_and_the_data_keeps_it() {
    let mut event = event(Verdict::Ok);
    let subject = |event: &Event<VerdictData>| {
        let properties = event.to_binary().user_properties;
        let subject = properties.into_iter().find(|(name, _)| name == "subject");
        let structured: Value = serde_json::from_slice(&event.to_structured()).expect("JSON");
        let subject = subject.expect("a subject").1;
        assert_eq!(structured["subject"], subject.as_str());
        subject
    };
    for (part, expected) in [
        ("01\u{1d}21\r", "01\u{fffd}21\u{fffd}"),
        ("\u{0}\u{7f}\u{9f}", "\u{fffd}\u{fffd}\u{fffd}"),
        ("\u{fdd0}\u{ffff}\u{1fffe}", "\u{fffd}\u{fffd}\u{fffd}"),
        ("Größe 42 \u{a0}\u{1f527}", "Größe 42 \u{a0}\u{1f527}"),
    ] {
        event.data.part_id = Some(part.to_owned());
        assert_eq!(subject(&event), expected);
        let data: Value = serde_json::from_slice(&event.to_binary().payload).expect("JSON");
        assert_eq!(data["part_id"], part);
    }
    event.data.part_id = Some("\u{1}".repeat(70_000));
    assert_eq!(subject(&event), "\u{fffd}".repeat(LONGEST_PART_ID));
}

#[test]
fn times_are_utc_with_microseconds() {
    let payload = event(Verdict::Ok).to_binary().payload;
    let data: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(data["captured_at"], "2026-03-01T12:00:00.250000Z");
}

fn json(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).expect("JSON")
}

fn accepts(schema: &Schema, payload: &Value) {
    if let Err(complaint) = schema.check(payload) {
        panic!("{complaint} in {payload}");
    }
}

/// Checks that the payload is refused with another value at `pointer`; null removes it.
fn refuses(schema: &Schema, payload: &Value, pointer: &str, value: Value) {
    let mut changed = payload.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
    let parent = changed.pointer_mut(parent).expect("it is there");
    let fields = parent.as_object_mut().expect("an object");
    if value.is_null() {
        assert!(fields.remove(name).is_some(), "{pointer} is not there");
    } else {
        fields.insert(name.to_owned(), value);
    }
    assert!(schema.check(&changed).is_err(), "{pointer}: {changed}");
}

/// Checks that the payloads together have every field that the schema describes.
fn exhausts(schema: &Schema, payloads: &[Value]) {
    let mut missing = described(schema);
    for payload in payloads {
        let present = present(schema, payload);
        missing.retain(|path| !present.contains(path));
    }
    assert!(missing.is_empty(), "nothing has {missing:?}");
}

#[test]
fn every_verdict_fits_the_published_schema() {
    let schema = Schema::published("verdict");
    assert_eq!(VerdictData::SCHEMA, "urn:flawd:schema:verdict:1");
    let payload = |verdict| json(&event(verdict).to_binary().payload);
    let payloads: Vec<_> = verdicts().into_iter().map(payload).collect();
    payloads
        .iter()
        .for_each(|payload| accepts(&schema, payload));
    exhausts(&schema, &payloads);

    let ok = payload(Verdict::Ok);
    for field in [
        "/seq",
        "/score",
        "/threshold",
        "/captured_at",
        "/latency_ms/total",
    ] {
        refuses(&schema, &ok, field, Value::Null);
    }
    refuses(&schema, &ok, "/verdict", "maybe".into());
    refuses(&schema, &ok, "/reason", "late".into());
    refuses(&schema, &ok, "/seq", 0.into());
    refuses(&schema, &ok, "/mood", "good".into());
    refuses(&schema, &ok, "/model/digest", "sha256:ab".into());
    let undecided = payload(Verdict::NoDecision(Reason::Late));
    refuses(&schema, &undecided, "/reason", Value::Null);
    refuses(&schema, &undecided, "/reason", "tired".into());
}

/// A trigger that comes before a model is there, or before a picture.
#[test]
fn a_verdict_without_a_model_fits_the_published_schema() {
    let mut event = event(Verdict::NoDecision(Reason::EngineBuilding));
    event.data.model = None;
    event.data.threshold = None;
    let schema = Schema::published("verdict");
    accepts(&schema, &json(&event.to_binary().payload));
}

#[test]
fn every_record_fits_the_published_schema() {
    let schema = Schema::published("record");
    assert_eq!(RecordData::SCHEMA, "urn:flawd:schema:record:1");
    let payload = |verdict| {
        let event = event(verdict);
        let record = Event {
            data: RecordData {
                verdict: event.data,
                historical: true,
            },
            id: event.id,
            source: event.source,
            time: event.time,
        };
        json(&record.to_binary().payload)
    };
    let payloads: Vec<_> = verdicts().into_iter().map(payload).collect();
    payloads
        .iter()
        .for_each(|payload| accepts(&schema, payload));
    exhausts(&schema, &payloads);
    refuses(&schema, &payloads[0], "/historical", Value::Null);
    refuses(&schema, &payloads[0], "/seq", Value::Null);
}

#[test]
fn every_disagreement_fits_the_published_schema() {
    let schema = Schema::published("disagreement");
    assert_eq!(DisagreementData::SCHEMA, "urn:flawd:schema:disagreement:1");
    let opinion = |verdict| Opinion {
        verdict,
        score: 0.5,
        threshold: 0.8,
        model: model(),
    };
    let event = |live, shadow| Event {
        id: "0b5c-17-shadow".to_owned(),
        source: "flawd/line-1/top".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        data: DisagreementData {
            camera: "top".to_owned(),
            seq: 17,
            part_id: Some("part-0042".to_owned()),
            live: opinion(live),
            shadow: opinion(shadow),
            evidence: Some(evidence()),
            historical: false,
        },
    };
    let late = Verdict::NoDecision(Reason::Late);
    let payloads = [(Verdict::Ng, late), (late, Verdict::Ok)]
        .map(|(live, shadow)| json(&event(live, shadow).to_binary().payload));
    payloads
        .iter()
        .for_each(|payload| accepts(&schema, payload));
    exhausts(&schema, &payloads);
    refuses(&schema, &payloads[0], "/shadow", Value::Null);
    refuses(&schema, &payloads[0], "/shadow/score", Value::Null);
}

#[test]
fn every_state_fits_the_published_schema() {
    let schema = Schema::published("state");
    let camera = CameraState {
        captured: 12,
        missed: 1,
        unused: 1,
        model: Some(model()),
        triggers_accepted: 7,
        triggers_refused: 2,
        paused: true,
        drift: Some(DriftData {
            alarm: false,
            martingale_log10: -0.5,
            parts: 9,
            causes: vec![DriftCause {
                cause: Cause::Noise,
                quantity: Quantity::Noise,
                now: 5.1,
                usual: 1.0,
                low: 0.8,
                high: 1.4,
                detail: "noise: deviation 5.1 grey levels".to_owned(),
            }],
        }),
        shadow: Some(ShadowState::default()),
        undelivered: Some(Undelivered {
            count: 5,
            latest: Gap {
                count: 3,
                first_seq: 8,
                last_seq: 11,
            },
        }),
        ..CameraState::default()
    };
    let ready = State {
        ready: true,
        reason: None,
        state: Phase::ContinuousExecution,
        version: "0.1.0".to_owned(),
        model: Some(model()),
        clock_synchronised: Some(true),
        cameras: BTreeMap::from([("top".to_owned(), camera)]),
        commands_refused: 3,
        records: Some(RecordsState {
            refused: Some("not authorized".to_owned()),
            failing: Some("no space left on device".to_owned()),
            set_aside: 1,
            ..RecordsState::default()
        }),
        evidence: Some(EvidenceState {
            suspended: Some("no space left on device".to_owned()),
            ..EvidenceState::default()
        }),
        time: Timestamp::UNIX_EPOCH,
    };
    let starting = State {
        ready: false,
        reason: Some("the model is loading".to_owned()),
        state: Phase::Preoperational,
        model: None,
        clock_synchronised: None,
        cameras: BTreeMap::from([("top".to_owned(), CameraState::default())]),
        commands_refused: 0,
        records: None,
        evidence: None,
        ..ready.clone()
    };
    let payloads = [ready, starting].map(|state| json(&state.to_json()));
    payloads
        .iter()
        .for_each(|payload| accepts(&schema, payload));
    exhausts(&schema, &payloads);
    let [ready, starting] = &payloads;
    refuses(&schema, starting, "/reason", Value::Null);
    refuses(&schema, ready, "/reason", "tired".into());
    refuses(&schema, ready, "/state", "asleep".into());
    refuses(&schema, ready, "/cameras/top/captured", (-1).into());
    refuses(&schema, ready, "/records/pending", Value::Null);
}

#[test]
fn every_heartbeat_fits_the_published_schema() {
    let schema = Schema::published("heartbeat");
    let beat = Beat {
        seq: 17,
        age_ms: 0.5,
    };
    let heartbeat = Heartbeat {
        cameras: BTreeMap::from([("top".to_owned(), beat)]),
        time: Timestamp::UNIX_EPOCH,
    };
    let heartbeat = json(&heartbeat.to_json());
    accepts(&schema, &heartbeat);
    exhausts(&schema, std::slice::from_ref(&heartbeat));
    refuses(&schema, &heartbeat, "/time", Value::Null);
}
