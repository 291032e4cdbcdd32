//! How values are written in payloads.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Formats as RFC 3339 in UTC with microseconds: all of one length, so that logs line up and sort.
pub(super) fn microseconds(time: Timestamp) -> String {
    format!("{time:.6}")
}

pub(super) fn serialize_microseconds<S: Serializer>(
    time: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&microseconds(*time))
}

pub(super) fn optional_microseconds<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize_microseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("messages have string keys and no failing parts")
}
