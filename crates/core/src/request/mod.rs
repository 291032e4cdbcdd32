//! Requests from outside, read strictly: the payloads of triggers and commands.
//!
//! Any client that the broker allows to publish can write these. So each is one JSON object of
//! bounded size with the fields of its schema, each at most once and of the right type; anything
//! else is refused, with a reason short enough for a log line. This module knows neither topics nor
//! cameras.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::event::{LONGEST_NAME, LONGEST_PART_ID, LONGEST_RECIPE};

mod command;

pub use command::{CameraSelector, Command};

/// Why a request is refused, in text that is short enough for a log line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The payload is longer than any request that fits its schema.
    #[error("the payload has {length} bytes; at most {LONGEST_PAYLOAD} are allowed")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// The payload does not fit its schema.
    #[error(
        "{}",
        brief(&format!("the payload has to be a JSON object as in docs/mqtt.md: {problem}"))
    )]
    Malformed {
        /// What is wrong, in the words of the JSON library.
        problem: String,
    },
    /// There is no such command.
    #[error(
        "there is no command `{}`; there are pause, resume, snapshot, reload, selftest and \
         threshold",
        brief(verb)
    )]
    UnknownCommand {
        /// The last level of its topic.
        verb: String,
    },
    /// A new threshold without its rate.
    #[error("`false_reject_rate` is missing; it is a share, 0 to 1")]
    NoRate,
}

/// Most bytes of a payload. The longest trigger that fits its schema, with every character escaped,
/// has some 16,000.
const LONGEST_PAYLOAD: usize = 32 * 1024;

/// Most characters of foreign text in a log line or an answer.
const SHOWN: usize = 200;

/// Every deadline is shorter than this, in milliseconds.
const LONGEST_DEADLINE_MS: f64 = 3_600_000.0;

/// The payload of a trigger; every field is optional.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerRequest {
    /// The line's name for the part; at most [`LONGEST_PART_ID`] characters.
    #[serde(deserialize_with = "text::<_, LONGEST_PART_ID>")]
    pub part_id: Option<String>,
    /// Which of the camera's models is to judge it; at most [`LONGEST_RECIPE`] characters.
    #[serde(deserialize_with = "text::<_, LONGEST_RECIPE>")]
    pub recipe: Option<String>,
    /// How long from now the verdict is useful; less than an hour.
    #[serde(rename = "deadline_ms", deserialize_with = "milliseconds")]
    pub deadline: Option<Duration>,
    /// When it was sent, by the sender's clock.
    #[serde(deserialize_with = "time")]
    pub sent_at: Option<Timestamp>,
}

impl TriggerRequest {
    /// Reads a payload, which may be empty.
    ///
    /// # Errors
    /// [`RequestError::TooLong`] or [`RequestError::Malformed`].
    pub fn parse(payload: &[u8]) -> Result<Self, RequestError> {
        object(payload)
    }
}

/// Reads a payload that is one object, or empty, which is the same as one without members.
///
/// # Errors
/// [`RequestError::TooLong`] or [`RequestError::Malformed`].
fn object<T: DeserializeOwned + Default>(payload: &[u8]) -> Result<T, RequestError> {
    if payload.is_empty() {
        return Ok(T::default());
    }
    if payload.len() > LONGEST_PAYLOAD {
        let length = payload.len();
        return Err(RequestError::TooLong { length });
    }
    let Object(read) = serde_json::from_slice(payload).map_err(|error| {
        let problem = error.to_string();
        RequestError::Malformed { problem }
    })?;
    Ok(read)
}

/// Shortens foreign text to fit a log line.
pub fn brief(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A struct that is read from an object only: serde alone also accepts an array of its fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        let members = deserializer.deserialize_map(Members(PhantomData))?;
        Ok(Self(members))
    }
}

/// Reads a field that, if present, has a value: `null` is not one.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads the name of something that is configured.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    text::<D, LONGEST_NAME>(deserializer)
}

fn text<'de, D: Deserializer<'de>, const LONGEST: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let length = text.chars().count();
    if length > LONGEST {
        let problem = format!("a text of {length} characters; at most {LONGEST} are allowed");
        return Err(D::Error::custom(problem));
    }
    Ok(Some(text))
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let ms = f64::deserialize(deserializer)?;
    if ms > 0.0 && ms < LONGEST_DEADLINE_MS {
        return Ok(Some(Duration::from_secs_f64(ms / 1e3)));
    }
    Err(D::Error::custom(format!("`deadline_ms` cannot be {ms}")))
}

/// Reads a time in RFC 3339 form, which is stricter than the library.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let moment = Some(&text).filter(|text| is_rfc_3339(text));
    let moment = moment.and_then(|text| text.parse::<Timestamp>().ok());
    let is_leap_second = text.get(17..19) == Some("60");
    let moment = moment.filter(|moment| !is_leap_second || is_last_minute(*moment));
    let problem = || format!("{:?} is not a time of RFC 3339", brief(&text));
    moment.map(Some).ok_or_else(|| D::Error::custom(problem()))
}

/// Returns whether this is in the last minute of a day of UTC, the only one that may have a 61st second
/// (RFC 3339, section 5.6). A leap second itself is read as the second before it.
fn is_last_minute(moment: Timestamp) -> bool {
    const MINUTES_A_DAY: i64 = 24 * 60;
    moment.as_second().div_euclid(60).rem_euclid(MINUTES_A_DAY) == MINUTES_A_DAY - 1
}

/// Returns whether this has the form `2026-03-01T12:00:00.25Z`, or with an offset such as `+01:00`,
/// and at most nine digits of a fraction; the numbers may be out of range.
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((seconds, rest)) = bytes.split_at_checked("2026-03-01T12:00:00".len()) else {
        return false;
    };
    let (fraction, offset) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|it| it.is_ascii_digit()).count();
            let (fraction, offset) = rest.split_at(digits);
            (Some(fraction), offset)
        }
        rest => (None, rest),
    };
    has_form(seconds, b"0000-00-00T00:00:00")
        && fraction.is_none_or(|digits| (1..=9).contains(&digits.len()))
        && [&b"Z"[..], b"+00:00", b"-00:00"]
            .iter()
            .any(|form| has_form(offset, form))
}

/// Returns whether the text has digits where the form has zeros, and the same letters elsewhere.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    let fits = |(text, form): (&u8, &u8)| match form {
        b'0' => text.is_ascii_digit(),
        letter => text.eq_ignore_ascii_case(letter),
    };
    text.len() == form.len() && text.iter().zip(form).all(fits)
}

#[cfg(test)]
mod tests;
