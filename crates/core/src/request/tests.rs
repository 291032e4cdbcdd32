//! Requests of all kinds, against the parser and the published schema.

use flawd_testing::schema::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn fits(payload: &Value) -> Result<(), String> {
    Schema::published("trigger").check(payload)
}

fn read(payload: &Value) -> Result<TriggerRequest, RequestError> {
    TriggerRequest::parse(payload.to_string().as_bytes())
}

#[test]
fn an_array_is_no_request_although_its_members_are_in_order() {
    for payload in [
        json!(["SN-1", "left", 300, "2026-03-01T12:00:00Z"]),
        json!([]),
        json!("SN-1"),
        json!(7),
        json!(null),
    ] {
        let error = read(&payload).unwrap_err();
        assert!(error.to_string().contains("JSON object"), "{error}");
    }
}

#[test]
fn a_field_that_is_there_has_one_value_of_its_kind() {
    for payload in [
        r#"{"part_id":"a","part_id":"b"}"#,
        r#"{"sent_at":"2026-03-01T12:00:00Z","sent_at":"2020-03-01T12:00:00Z"}"#,
        r#"{"part_id":null}"#,
        r#"{"deadline_ms":null}"#,
        r#"{"deadline_ms":1e400}"#,
        r#"{"deadline_ms":NaN}"#,
        r#"{"part_id":"\ud800"}"#,
        r#"{"part_id":"a"}{"part_id":"b"}"#,
        r#"{"part_id":"a"} x"#,
        r#"{"batch":3}"#,
    ] {
        assert!(
            TriggerRequest::parse(payload.as_bytes()).is_err(),
            "{payload}"
        );
    }
    assert!(TriggerRequest::parse(b"{\"part_id\":\"\xff\"}").is_err());
    let deep = format!(r#"{{"part_id":{}{}}}"#, "[".repeat(9000), "]".repeat(9000));
    assert!(TriggerRequest::parse(deep.as_bytes()).is_err());
}

#[test]
fn what_is_too_long_is_refused_in_few_words() {
    let long = "x".repeat(20_000);
    for payload in [
        json!({ "part_id": long }),
        json!({ "recipe": long }),
        json!({ "sent_at": long }),
        json!({ "deadline_ms": long }),
        json!({ long.clone(): 1 }),
        json!({ "part_id": long.repeat(100) }),
    ] {
        let error = read(&payload).unwrap_err();
        assert!(error.to_string().chars().count() <= SHOWN + 1, "{error}");
    }
}

#[test]
fn the_longest_request_that_fits_is_taken() {
    let escaped = |count: usize| "\\ud83d\\ude00".repeat(count);
    let payload = format!(
        r#"{{"part_id":"{}","recipe":"{}","deadline_ms":3599999.9999,"sent_at":"{}"}}"#,
        escaped(LONGEST_PART_ID),
        escaped(LONGEST_RECIPE),
        "2026-03-01T12:00:00.123456789+01:00",
    );
    let read = TriggerRequest::parse(payload.as_bytes()).unwrap();
    assert_eq!(read.recipe, Some("😀".repeat(LONGEST_RECIPE)));
    assert_eq!(TriggerRequest::parse(b""), Ok(TriggerRequest::default()));
}

#[test]
fn a_time_is_one_of_rfc_3339() {
    for (time, is_one) in [
        ("2026-03-01T12:00:00Z", true),
        ("2026-03-01t12:00:00.5z", true),
        ("2026-03-01T12:00:00.123456789+05:30", true),
        ("2026-03-01T23:59:60Z", true),
        ("2026-03-02T00:59:60+01:00", true),
        ("1960-03-01T23:59:60Z", true),
        ("2026-03-01T12:00:60Z", false),
        ("2026-03-01T23:59:60+01:00", false),
        ("2026-03-01T12:00:00.1234567890Z", false),
        ("2026-03-01T12:00:00.Z", false),
        ("2026-03-01T12:00:00", false),
        ("2026-03-01 12:00:00Z", false),
        ("2026-03-01T12:00Z", false),
        ("20260301T120000Z", false),
        ("2026-03-01T12:00:00Z[UTC]", false),
        ("2026-03-01T12:00:00+01", false),
        ("2026-13-01T12:00:00Z", false),
        ("+002026-03-01T12:00:00Z", false),
        ("", false),
    ] {
        let payload = json!({ "sent_at": time });
        assert_eq!(read(&payload).is_ok(), is_one, "{time}");
        assert_eq!(fits(&payload).is_ok(), is_one, "{time}");
    }
}

/// Values that a client may send under the name of a field.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,8}".prop_map(Value::from),
        (LONGEST_RECIPE - 1..LONGEST_RECIPE + 2).prop_map(|it| Value::from("é".repeat(it))),
        (LONGEST_PART_ID - 1..LONGEST_PART_ID + 2).prop_map(|it| Value::from("é".repeat(it))),
        any::<f64>().prop_map(Value::from),
        (-1.0..4e6).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just(0.0), Just(5e-324), Just(-0.0), Just(3_600_000.0)].prop_map(Value::from),
        prop_oneof![Just(3_599_999.999_999_999_f64), Just(1e-12)].prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{0,11})?\
         (Z|z|[+-][0-2][0-9]:?[0-5][0-9]|)"
            .prop_map(Value::from),
    ]
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::sample::select(vec!["part_id", "recipe", "deadline_ms", "sent_at"])
            .prop_map(str::to_owned),
        1 => "[a-z_]{0,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// The parser and the published schema agree on every payload.
    #[test]
    fn a_trigger_is_read_if_and_only_if_it_fits_its_schema(
        members in prop::collection::vec((field(), value()), 0..3),
    ) {
        let payload = Value::Object(members.into_iter().collect());
        let (read, fits) = (read(&payload), fits(&payload));
        prop_assert_eq!(read.is_ok(), fits.is_ok(), "{}: {:?}, {:?}", payload, read, fits);
    }

    /// No bytes cause a panic, and every refusal is short.
    #[test]
    fn any_bytes_are_read_or_refused_in_few_words(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Err(error) = TriggerRequest::parse(&bytes) {
            prop_assert!(error.to_string().chars().count() <= SHOWN + 1);
        }
    }
}
