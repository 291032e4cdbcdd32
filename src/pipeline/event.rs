//! Everything by which the pipeline may wake the daemon, on one screen.

use std::sync::mpsc;

use serde::Deserialize;

use super::publish::Reply;

/// What happened; cameras are numbered in the order of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A camera gave its first frame.
    FirstFrame(usize),
    /// A camera gives no frames any more; it is opened again and again.
    CameraLost(usize),
    /// A lost camera gives frames again.
    CameraFound(usize),
    /// A source has given its last frame, and all of them are on their way to the model.
    Exhausted(usize),
    /// Somebody asks for something over the broker.
    Command {
        /// What, or why that cannot be known.
        command: Result<Command, String>,
        /// Where the answer goes, besides the log.
        reply: Option<Reply>,
    },
    /// The models have been loaded, or tested, or could not be.
    Models,
    /// A signal asked for another configuration.
    Reload,
    /// A signal asked for the end.
    Stop,
}

/// What may be asked of the daemon on `cmd/<verb>`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Take no parts until further notice.
    Pause(Which),
    /// Go on.
    Resume(Which),
    /// Keep the next picture, whatever its verdict.
    Snapshot(Which),
    /// Read the configuration again, and exchange what has changed.
    Reload,
    /// Score the golden inputs with the models in use.
    SelfTest,
    /// Another threshold from the same calibration.
    Threshold {
        /// Of which cameras.
        which: Which,
        /// The share of good parts that may be rejected, 0 to 1.
        false_reject_rate: f64,
    },
}

/// Which cameras a command is about: one, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The name of the one.
    pub camera: Option<String>,
}

impl Command {
    /// Reads the command `verb` with its payload, which may be empty.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(verb: &str, payload: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Threshold {
            camera: Option<String>,
            false_reject_rate: f64,
        }
        let which = || read(payload);
        Ok(match verb {
            "pause" => Self::Pause(which()?),
            "resume" => Self::Resume(which()?),
            "snapshot" => Self::Snapshot(which()?),
            "reload" => Self::Reload,
            "selftest" => Self::SelfTest,
            "threshold" => {
                let Threshold {
                    camera,
                    false_reject_rate,
                } = read(payload)?;
                Self::Threshold {
                    which: Which { camera },
                    false_reject_rate,
                }
            }
            _ => {
                return Err(format!(
                    "there is no command `{verb}`; there are pause, resume, snapshot, reload, \
                     selftest and threshold"
                ));
            }
        })
    }
}

fn read<T: for<'de> Deserialize<'de>>(payload: &[u8]) -> Result<T, String> {
    let payload = if payload.is_empty() { b"{}" } else { payload };
    serde_json::from_slice(payload)
        .map_err(|error| format!("the payload has to be a JSON object as in docs/mqtt.md: {error}"))
}

/// Where events are sent; clones send to the same daemon.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// Sends an event. A daemon that is past listening does not mind.
    pub fn send(&self, event: Event) {
        self.0.send(event).ok();
    }
}

/// A channel for events.
pub fn channel() -> (EventSender, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    (EventSender(sender), receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_from_verb_and_payload() {
        let top = Which {
            camera: Some("top".to_owned()),
        };
        let cases = [
            ("pause", "", Command::Pause(Which::default())),
            (
                "resume",
                r#"{"camera":"top"}"#,
                Command::Resume(top.clone()),
            ),
            ("reload", "", Command::Reload),
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
            assert_eq!(Command::parse(verb, payload.as_bytes()), Ok(command));
        }
    }

    #[test]
    fn a_command_that_cannot_be_meant_says_what_is_wrong() {
        for (verb, payload, wrong) in [
            ("halt", "", "no command `halt`"),
            ("pause", "now", "JSON object"),
            ("pause", r#"{"kamera":"top"}"#, "kamera"),
            ("threshold", "", "false_reject_rate"),
        ] {
            let problem = Command::parse(verb, payload.as_bytes()).unwrap_err();
            assert!(problem.contains(wrong), "{problem}");
        }
    }
}
