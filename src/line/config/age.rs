//! Ages of files: durations in which days and weeks are allowed, a day being 24 hours.
//!
//! The other durations of the configuration stop at hours, because a day may have 23 or 25. That
//! does not matter for how long a picture is kept, and `"720h"` is hard to read.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use jiff::{Span, SpanRelativeTo};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes the duration in hours and smaller units.
pub(crate) fn serialize<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    compact::required::serialize(age, serializer)
}

/// Reads a duration such as `"30d"`, `"2w 1d"` or `"36h"`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: Span = text.parse().map_err(D::Error::custom)?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(D::Error::custom)?;
    Duration::try_from(age)
        .map_err(|_| D::Error::custom(format!("`{text}` is negative; an age is not")))
}
