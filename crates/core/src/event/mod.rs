//! What goes over the wire: the payloads of the MQTT topics.
//!
//! A verdict travels as a CloudEvents 1.0 event, on MQTT 5 in binary mode (the attributes are
//! user properties, the payload is the data alone) and on MQTT 3.1.1 in structured mode (one JSON
//! object holds both). The state is plain JSON, the status one word. Changes are additive: a
//! subscriber ignores fields that it does not know. The JSON Schemas are in `docs/schema`.

mod envelope;
mod format;
mod station;
#[cfg(test)]
mod tests;
mod verdict;

pub use envelope::{
    BINARY_CONTENT_TYPE, BinaryMessage, Event, EventData, SPEC_VERSION, STRUCTURED_CONTENT_TYPE,
};
pub use station::{
    Beat, CameraState, DriftCause, DriftData, EvidenceState, Gap, Heartbeat, Phase, RecordsState,
    ShadowState, State, Status, Undelivered,
};
pub use verdict::{
    DisagreementData, EvidenceData, LatencyMs, ModelData, Opinion, RecordData, VerdictData,
};

/// Most characters of a part's id, and of the attribute `subject`.
pub const LONGEST_PART_ID: usize = 1024;

/// Most characters of the recipe that a trigger asks for: no configured name is longer.
pub const LONGEST_RECIPE: usize = 256;

/// Most characters of a name in topics, which also names a folder of evidence: file systems allow
/// 255 bytes.
pub const LONGEST_NAME: usize = 128;

/// Returns whether this is a control character or a noncharacter: CloudEvents forbids them, and a
/// broker ends the connection over one in a topic or a property, every time the message is sent
/// again.
pub fn is_unfit(letter: char) -> bool {
    let number = u32::from(letter);
    letter.is_control() || matches!(number, 0xfdd0..=0xfdef) || number & 0xfffe == 0xfffe
}
