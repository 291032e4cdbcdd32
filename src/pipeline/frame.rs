//! What travels from stage to stage: `Frame → Prepared → Inspection`, and the times it carries.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flawd_core::{anomaly::AnomalyMap, event::VerdictData, image::RgbImage, verdict::Reason};
use jiff::{SignedDuration, Timestamp};

use super::pool::Pooled;

/// A moment on both clocks: the wall's for people, the monotonic one for every difference.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For messages and logs; may jump.
    pub wall: Timestamp,
    /// For ages and latencies.
    pub monotonic: Instant,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            monotonic: Instant::now(),
        }
    }

    /// This moment, less `age`.
    pub fn before_now(age: Duration) -> Self {
        let now = Self::now();
        let signed = SignedDuration::try_from(age).unwrap_or(SignedDuration::ZERO);
        Self {
            wall: now.wall.checked_sub(signed).unwrap_or(now.wall),
            monotonic: now.monotonic.checked_sub(age).unwrap_or(now.monotonic),
        }
    }
}

/// One picture of one part, as a source gives it.
#[derive(Debug)]
pub struct Frame {
    /// What the source calls the part, for example the file's name in its folder.
    pub part: Option<Arc<str>>,
    /// The picture, or why there is none: a file that cannot be decoded is still a part that
    /// wants a verdict.
    pub image: Result<RgbImage, String>,
    /// When the picture was taken; for a file, when reading it began.
    pub captured: Moment,
    /// When it was decoded and at hand.
    pub at_hand: Instant,
}

impl Frame {
    /// A picture that is at hand from now on.
    pub fn new(part: Option<Arc<str>>, image: Result<RgbImage, String>, captured: Moment) -> Self {
        Self {
            part,
            image,
            captured,
            at_hand: Instant::now(),
        }
    }
}

/// A frame that was admitted to inspection: from here on it ends in exactly one verdict.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Which inspection this is.
    pub(super) ticket: Ticket,
    /// The model's input, or why there is none.
    pub(super) input: Result<Pooled<Tensor>, Flaw>,
}

/// What an inspection is called and when its steps were taken.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The camera's number.
    pub(super) camera: usize,
    /// The inspection's number in its camera, from 1, without gaps.
    pub(super) seq: u64,
    /// What the source calls the part.
    pub(super) part: Option<Arc<str>>,
    /// When the picture was taken.
    pub(super) captured: Moment,
    /// When the frame was at hand.
    pub(super) at_hand: Instant,
    /// When preprocessing began.
    pub(super) begun: Instant,
    /// When preprocessing ended.
    pub(super) finished: Instant,
}

/// The model's input, `height x width x 3` bytes.
pub(super) type Tensor = Box<[u8]>;

/// Why a frame ends without a decision.
#[derive(Debug)]
pub(super) struct Flaw {
    /// For the actuator.
    pub(super) reason: Reason,
    /// For people.
    pub(super) detail: String,
}

/// The end of an inspection.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The camera's number, in the order of the configuration.
    pub camera: usize,
    /// What subscribers are told.
    pub verdict: VerdictData,
    /// When the picture was taken.
    pub captured: Moment,
    /// The moment after which nobody wants to know any more.
    pub deadline: Option<Instant>,
    /// Where the part is unusual, if the model got that far.
    pub anomaly_map: Option<AnomalyMap>,
}

/// Where inspections end: the broker, or a measurement.
///
/// `accept` runs on the inference thread, so it must not wait for anything.
pub trait Sink: Send {
    /// Takes the end of one inspection; called once for each, in the order of `seq`.
    fn accept(&mut self, inspection: Inspection);
}
