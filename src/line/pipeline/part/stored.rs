//! The content of a journal entry, and what is sent of it.

use flawd_core::event::{DisagreementData, Event, RecordData, VerdictData};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// A verdict as it was published in real time.
    Verdict(Box<Event<VerdictData>>),
    /// Two models disagreed.
    Disagreement(Box<Event<DisagreementData>>),
}

/// The part that an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRef<'a> {
    /// Name of the camera.
    pub camera: &'a str,
    /// The number of its verdict.
    pub seq: u64,
    /// The line's name for it.
    pub part_id: Option<&'a str>,
}

impl Stored {
    /// Returns the entry's payload.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has string keys and no failing parts")
    }

    /// Returns when it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Verdict(event) => event.time,
            Self::Disagreement(event) => event.time,
        }
    }

    /// Returns the part that it is about.
    pub fn part(&self) -> PartRef<'_> {
        match self {
            Self::Verdict(event) => PartRef {
                camera: &event.data.camera,
                seq: event.data.seq,
                part_id: event.data.part_id.as_deref(),
            },
            Self::Disagreement(event) => PartRef {
                camera: &event.data.camera,
                seq: event.data.seq,
                part_id: event.data.part_id.as_deref(),
            },
        }
    }

    /// Reads an entry's payload.
    ///
    /// # Errors
    /// If it was written by another version, or not by flawd.
    pub fn from_json(payload: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(payload)
    }

    /// Creates the record of a verdict, as it is sent.
    pub fn record(event: Event<VerdictData>, historical: bool) -> Event<RecordData> {
        Event {
            id: event.id,
            source: event.source,
            time: event.time,
            data: RecordData {
                verdict: event.data,
                historical,
            },
        }
    }
}
