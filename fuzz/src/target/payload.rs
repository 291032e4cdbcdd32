//! What comes from the broker: the payloads of triggers and commands.

use flawd_core::event::{LONGEST_NAME, LONGEST_PART_ID, LONGEST_RECIPE};
use flawd_core::request::{Command, RequestError, TriggerRequest};

use super::{KIB, Limits, Target};

pub(super) const TARGET: Target = Target {
    name: "payload",
    read,
    limits: Limits {
        peak: 16 * KIB,
        peak_per_byte: 32,
        total: 64 * KIB,
        // Each reader quotes a text that is not an object, with every letter escaped.
        total_per_byte: 512,
    },
    longest: 40 * KIB,
    words: &[
        b"\"part_id\":",
        b"\"recipe\":",
        b"\"deadline_ms\":",
        b"\"sent_at\":",
        b"\"camera\":",
        b"\"false_reject_rate\":",
        b"null",
        b"true",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\\u0000",
        b"\\ud800",
        b"1e400",
        b"-0",
        b"2026-01-01T00:00:00Z",
        b"+23:59",
        b".123456789",
    ],
};

/// Most characters of a refusal: it goes into a log line and into an answer.
const LONGEST_PROBLEM: usize = 400;

fn read(input: &[u8]) {
    let within = |text: &Option<String>, most| {
        let length = text.as_ref().map_or(0, |text| text.chars().count());
        assert!(
            length <= most,
            "{length} characters where {most} are allowed"
        );
    };
    let short = |error: RequestError| {
        let length = error.to_string().chars().count();
        assert!(length < LONGEST_PROBLEM, "a refusal of {length} characters");
    };
    match TriggerRequest::parse(input) {
        Ok(request) => {
            within(&request.part_id, LONGEST_PART_ID);
            within(&request.recipe, LONGEST_RECIPE);
        }
        Err(error) => short(error),
    }
    for verb in ["pause", "snapshot", "reload", "selftest", "threshold"] {
        match Command::parse(verb, input) {
            Ok((Command::Pause(which) | Command::Threshold { which, .. }, _)) => {
                within(&which.camera, LONGEST_NAME);
            }
            Ok(_) => {}
            Err(error) => short(error),
        }
    }
}
