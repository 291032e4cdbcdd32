//! The commands that the daemon takes.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{RequestError, given, name, object, time};

/// A command that the daemon takes on `cmd/<verb>`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take no parts until further notice.
    Pause(CameraSelector),
    /// Continue.
    Resume(CameraSelector),
    /// Keep the next picture, whatever its verdict.
    Snapshot(CameraSelector),
    /// Read the configuration again, and apply what has changed.
    Reload,
    /// Score the golden inputs with the models in use.
    SelfTest,
    /// Another threshold from the same calibration.
    Threshold {
        /// For which cameras.
        which: CameraSelector,
        /// The share of good parts that may be rejected, 0 to 1.
        false_reject_rate: f64,
    },
}

/// Which cameras a command is about: one, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraSelector {
    /// The name of the camera, if it is one.
    pub camera: Option<String>,
}

impl Command {
    /// What may follow `cmd/`.
    pub const VERBS: [&str; 6] = [
        "pause",
        "resume",
        "snapshot",
        "reload",
        "selftest",
        "threshold",
    ];

    /// Reads the command `verb` with its payload, which may be empty; and when it was sent, if its
    /// payload says so.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn parse(verb: &str, payload: &[u8]) -> Result<(Self, Option<Timestamp>), RequestError> {
        match verb {
            "pause" => read(payload, |ForSome { camera, sent_at }| {
                Ok((Self::Pause(CameraSelector { camera }), sent_at))
            }),
            "resume" => read(payload, |ForSome { camera, sent_at }| {
                Ok((Self::Resume(CameraSelector { camera }), sent_at))
            }),
            "snapshot" => read(payload, |ForSome { camera, sent_at }| {
                Ok((Self::Snapshot(CameraSelector { camera }), sent_at))
            }),
            "reload" => read(payload, |ForAll { sent_at }| Ok((Self::Reload, sent_at))),
            "selftest" => read(payload, |ForAll { sent_at }| Ok((Self::SelfTest, sent_at))),
            "threshold" => read(payload, |it: Threshold| {
                let command = Self::Threshold {
                    which: CameraSelector { camera: it.camera },
                    false_reject_rate: it.false_reject_rate.ok_or(RequestError::NoRate)?,
                };
                Ok((command, it.sent_at))
            }),
            verb => Err(RequestError::UnknownCommand {
                verb: verb.to_owned(),
            }),
        }
    }
}

/// The payload of a command about one camera, or all.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForSome {
    #[serde(deserialize_with = "name")]
    camera: Option<String>,
    #[serde(deserialize_with = "time")]
    sent_at: Option<Timestamp>,
}

/// The payload of a command about the daemon.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForAll {
    #[serde(deserialize_with = "time")]
    sent_at: Option<Timestamp>,
}

/// The payload of `threshold`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Threshold {
    #[serde(deserialize_with = "name")]
    camera: Option<String>,
    #[serde(deserialize_with = "given")]
    false_reject_rate: Option<f64>,
    #[serde(deserialize_with = "time")]
    sent_at: Option<Timestamp>,
}

fn read<T: DeserializeOwned + Default>(
    payload: &[u8],
    command: impl FnOnce(T) -> Result<(Command, Option<Timestamp>), RequestError>,
) -> Result<(Command, Option<Timestamp>), RequestError> {
    command(object(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_from_verb_and_payload() {
        let top = CameraSelector {
            camera: Some("top".to_owned()),
        };
        let cases = [
            ("pause", "", Command::Pause(CameraSelector::default())),
            (
                "resume",
                r#"{"camera":"top"}"#,
                Command::Resume(top.clone()),
            ),
            ("reload", "", Command::Reload),
            ("selftest", "{}", Command::SelfTest),
            (
                "threshold",
                r#"{"camera":"top","false_reject_rate":0.02}"#,
                Command::Threshold {
                    which: top,
                    false_reject_rate: 0.02,
                },
            ),
        ];
        for (verb, payload, command) in cases {
            let read = Command::parse(verb, payload.as_bytes());
            assert_eq!(read, Ok((command, None)));
        }
    }

    #[test]
    fn every_command_may_say_when_it_was_sent() {
        let time = "2026-03-01T12:00:00+01:00";
        for verb in Command::VERBS {
            let rate = match verb {
                "threshold" => r#""false_reject_rate":0.02,"#,
                _ => "",
            };
            let payload = format!(r#"{{{rate}"sent_at":"{time}"}}"#);
            let (_, sent_at) = Command::parse(verb, payload.as_bytes()).unwrap();
            assert_eq!(sent_at, Some(time.parse().unwrap()), "{verb}");
        }
    }

    #[test]
    fn a_command_that_cannot_be_meant_says_what_is_wrong() {
        for (verb, payload, wrong) in [
            ("halt", "", "no command `halt`"),
            ("pause", "now", "JSON object"),
            ("pause", r#"{"kamera":"top"}"#, "kamera"),
            ("threshold", "", "false_reject_rate"),
            ("reload", r#"{"now":true}"#, "now"),
            ("selftest", r#"{"sent_at":"noon"}"#, "JSON object"),
            ("pause", "[\"top\"]", "JSON object"),
            ("pause", r#"{"camera":null}"#, "null"),
            ("pause", r#"{"camera":"top","camera":"side"}"#, "duplicate"),
            (
                "reload",
                r#"{"sent_at":"2026-03-01T12:00:00Z","sent_at":"2020-03-01T12:00:00Z"}"#,
                "duplicate",
            ),
            (
                "threshold",
                r#"{"false_reject_rate":1e999}"#,
                "out of range",
            ),
        ] {
            let error = Command::parse(verb, payload.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn however_long_a_command_is_its_refusal_is_short() {
        let long = "x".repeat(30_000);
        for (verb, payload) in [
            ("pause", format!(r#"{{"camera":"{long}"}}"#)),
            ("reload", format!(r#"{{"{long}":1}}"#)),
            ("selftest", long.repeat(3)),
            (long.as_str(), String::new()),
        ] {
            let error = Command::parse(verb, payload.as_bytes()).unwrap_err();
            assert!(error.to_string().chars().count() < 400, "{error}");
        }
    }
}
