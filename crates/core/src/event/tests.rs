//! Messages, both ways, and the published schemas.

use serde_json::Value;

use super::schema::Schema;
use super::*;
use crate::verdict::Reason;

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
                infer: judged.then_some(41.5),
                total: 60.0,
                ..LatencyMs::default()
            },
            model: Some(model()),
            recipe: Some("left-hand".to_owned()),
            triggered_at: Some(time),
            match_offset_ms: judged.then_some(-3.5),
            regions: vec![Region {
                x: 3,
                y: 4,
                width: 5,
                height: 6,
                score: 1.5,
            }],
            evidence: judged.then(|| EvidenceData {
                path: "top/2026-03-01/000000000017-ng.png".to_owned(),
                sha256: Digest::new([3; 32]),
            }),
        },
    }
}

fn model() -> ModelData {
    ModelData {
        name: "flange".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::new([0xab; 32]),
        provider: "cpu".to_owned(),
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

#[test]
fn times_are_utc_with_microseconds() {
    let payload = event(Verdict::Ok).to_binary().payload;
    let data: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(data["captured_at"], "2026-03-01T12:00:00.250000Z");
}

#[test]
fn every_verdict_fits_the_published_schema() {
    let schema = Schema::open(include_str!("../../../../docs/schema/verdict.schema.json"));
    assert_eq!(schema.id(), VerdictData::SCHEMA);
    for verdict in verdicts() {
        schema.accepts(&event(verdict).to_binary().payload);
    }
    let ok = event(Verdict::Ok).to_binary().payload;
    schema.refuses(&ok, "seq", Value::Null);
    schema.refuses(&ok, "verdict", "maybe".into());
    schema.refuses(&ok, "reason", "late".into());
    schema.refuses(&ok, "score", Value::Null);
    let undecided = event(Verdict::NoDecision(Reason::Late)).to_binary().payload;
    schema.refuses(&undecided, "reason", Value::Null);
    schema.refuses(&undecided, "reason", "tired".into());
}

#[test]
fn every_state_fits_the_published_schema() {
    let schema = Schema::open(include_str!("../../../../docs/schema/state.schema.json"));
    let camera = CameraState {
        captured: 12,
        unused: 3,
        model: Some(model()),
        triggers_refused: 2,
        paused: true,
        drift: Some(DriftData {
            alarm: true,
            martingale_log10: 2.5,
            parts: 321,
        }),
        shadow: Some(ShadowState {
            agreed: 5,
            disagreed: 1,
            skipped: 0,
        }),
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
        records: Some(RecordsState {
            pending: 3,
            refused: Some("not authorized".to_owned()),
            ..RecordsState::default()
        }),
        evidence: Some(EvidenceState {
            files: 2,
            suspended: Some("the disk is full".to_owned()),
            ..EvidenceState::default()
        }),
        time: Timestamp::UNIX_EPOCH,
    };
    schema.accepts(&ready.to_json());
    let starting = State {
        ready: false,
        reason: Some("the model is loading".to_owned()),
        state: Phase::Preoperational,
        model: None,
        clock_synchronised: None,
        cameras: BTreeMap::new(),
        ..ready.clone()
    };
    schema.accepts(&starting.to_json());
    schema.refuses(&starting.to_json(), "reason", Value::Null);
    schema.refuses(&ready.to_json(), "state", "asleep".into());
}

#[test]
fn every_heartbeat_fits_the_published_schema() {
    let schema = Schema::open(include_str!(
        "../../../../docs/schema/heartbeat.schema.json"
    ));
    let beat = Beat {
        seq: 17,
        age_ms: 0.5,
    };
    let heartbeat = Heartbeat {
        cameras: BTreeMap::from([("top".to_owned(), beat)]),
        time: Timestamp::UNIX_EPOCH,
    };
    schema.accepts(&heartbeat.to_json());
    schema.refuses(&heartbeat.to_json(), "time", Value::Null);
}

#[test]
fn every_record_fits_the_published_schema_and_reads_back() {
    let schema = Schema::open(include_str!("../../../../docs/schema/record.schema.json"));
    assert_eq!(schema.id(), RecordData::SCHEMA);
    for verdict in verdicts() {
        let event = event(verdict);
        let record = Event {
            id: event.id,
            source: event.source,
            time: event.time,
            data: RecordData {
                verdict: event.data,
                historical: true,
            },
        };
        let payload = record.to_binary().payload;
        schema.accepts(&payload);
        schema.refuses(&payload, "historical", Value::Null);
        let read: RecordData = serde_json::from_slice(&payload).expect("it reads back");
        assert_eq!(read, record.data);
    }
}

#[test]
fn every_disagreement_fits_the_published_schema() {
    let schema = Schema::open(include_str!(
        "../../../../docs/schema/disagreement.schema.json"
    ));
    assert_eq!(schema.id(), DisagreementData::SCHEMA);
    let opinion = |verdict, score| Opinion {
        verdict,
        score,
        threshold: 0.8,
        model: model(),
    };
    let verdict = event(Verdict::Ok);
    let disagreement = Event {
        id: "0b5c-17-shadow".to_owned(),
        source: verdict.source,
        time: verdict.time,
        data: DisagreementData {
            camera: "top".to_owned(),
            seq: 17,
            part_id: verdict.data.part_id,
            live: opinion(Verdict::Ok, 0.5),
            shadow: opinion(Verdict::Ng, 0.9),
            evidence: verdict.data.evidence,
            historical: false,
        },
    };
    let payload = disagreement.to_binary().payload;
    schema.accepts(&payload);
    schema.refuses(&payload, "shadow", Value::Null);
}
