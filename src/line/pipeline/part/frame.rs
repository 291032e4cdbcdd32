//! What travels from stage to stage: `Frame → AdmittedPart → Inspection`, and the times it carries.

use std::sync::Arc;
use std::time::Instant;

use flawd_core::anomaly::AnomalyMap;
use flawd_core::depth::{DeepImage, Depth, DepthError, Picture};
use flawd_core::event::VerdictData;
use flawd_core::image::{ImageError, RgbImage};
use flawd_core::preprocess::Geometry;
use flawd_core::quality::Measured;
use flawd_core::verdict::{Reason, Verdict};

use super::model::LoadedModel;
use super::moment::Moment;
use super::reply::Reply;
use super::trigger::{Deadline, Trigger};
use crate::line::camera::CameraIndex;
use crate::line::pipeline::channels::pool::Pooled;
use crate::pictures::decode::{DecodeError, Problem};

/// One picture of one part, as delivered by a source.
#[derive(Debug)]
pub struct Frame {
    /// The source's name for the part, for example the file's name in its folder.
    pub part: Option<Arc<str>>,
    /// The picture, or why there is none: a file that cannot be decoded is still a part that needs
    /// a verdict.
    pub image: Result<Pixels, FrameError>,
    /// When the picture was taken; for a file, when reading it began.
    pub captured: Moment,
    /// When it was decoded and available.
    pub at_hand: Instant,
}

/// Why a frame has no picture that can be judged; the next one may have.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Its file cannot be read or decoded.
    #[error(transparent)]
    File(Box<DecodeError>),
    /// The camera's driver reports it as damaged.
    #[error("the driver says that the frame is damaged")]
    Damaged,
    /// The driver reports more bytes than its buffer holds.
    #[error("a frame of {used} bytes in a buffer of {buffer}")]
    Overlong {
        /// The bytes that it reports.
        used: usize,
        /// The bytes of the buffer.
        buffer: usize,
    },
    /// Bytes are missing.
    #[error("a frame of {given} bytes where {expected} were expected")]
    Short {
        /// The bytes that there are.
        given: usize,
        /// The bytes of a frame of the agreed size and format.
        expected: usize,
    },
    /// It is not a JPEG file of the agreed size.
    #[error("the JPEG frame cannot be decoded: {0}")]
    Jpeg(Problem),
    /// The library that converts colours refuses it.
    #[error("{0}")]
    Colours(String),
    /// It has values above the agreed white.
    #[error("a frame with the value {highest} where {depth} were agreed")]
    AboveWhite {
        /// The highest value.
        highest: u16,
        /// The agreed depth.
        depth: Depth,
    },
    /// Its pixels do not make an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Its depth does not fit the model that is to judge it.
    #[error(transparent)]
    Depth(#[from] DepthError),
}

/// The pixels of a frame: in the form that models take, or of a depth that depends on the model
/// that judges them.
#[derive(Debug, PartialEq)]
pub enum Pixels {
    /// 8 bits per channel; may be shared.
    Ready(Arc<RgbImage>),
    /// More bits, with an unknown white level.
    Deep(DeepImage),
}

impl Pixels {
    /// Returns the picture for a model of this depth.
    ///
    /// # Errors
    /// If it has another depth, or none is known.
    pub fn at(self, depth: Option<Depth>) -> Result<Arc<RgbImage>, DepthError> {
        match self {
            Self::Ready(image) => Ok(image),
            Self::Deep(image) => image.at(depth).map(Arc::new),
        }
    }
}

impl From<Picture> for Pixels {
    fn from(picture: Picture) -> Self {
        match picture {
            Picture::Eight(image) => Self::Ready(Arc::new(image)),
            Picture::Deep(image) => Self::Deep(image),
        }
    }
}

impl Frame {
    /// Creates a frame whose picture is available from now on.
    pub fn new(
        part: Option<Arc<str>>,
        image: Result<impl Into<Picture>, FrameError>,
        captured: Moment,
    ) -> Self {
        let pixels = image.map(|image| Pixels::from(image.into()));
        Self::of(part, pixels, captured)
    }

    /// As [`Self::new`], with a shared picture.
    pub fn shared(
        part: Option<Arc<str>>,
        image: Result<Arc<RgbImage>, FrameError>,
        captured: Moment,
    ) -> Self {
        Self::of(part, image.map(Pixels::Ready), captured)
    }

    fn of(part: Option<Arc<str>>, image: Result<Pixels, FrameError>, captured: Moment) -> Self {
        Self {
            part,
            image,
            captured,
            at_hand: Instant::now(),
        }
    }
}

/// A part that was admitted to inspection: from here on it ends in exactly one verdict.
#[derive(Debug)]
pub(crate) struct AdmittedPart {
    /// Which part this is.
    pub(crate) ticket: Ticket,
    /// The model that judges it.
    pub(crate) model: Arc<LoadedModel>,
    /// The model's input. A part that gets no decision also holds one, so that the tensors of a
    /// camera limit what is on its way to the model.
    pub(crate) tensor: Pooled<Tensor>,
    /// Why it cannot be judged, if so.
    pub(crate) undecided: Option<NoDecision>,
}

/// Which part an inspection is about, and when its steps were taken.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The camera.
    pub(crate) camera: CameraIndex,
    /// The trigger that requested it; `None` in free run.
    pub(crate) trigger: Option<Trigger>,
    /// The source's name for the part.
    pub(crate) part: Option<Arc<str>>,
    /// From the moment that the trigger requested until the picture was taken, in milliseconds.
    pub(crate) match_offset_ms: Option<f64>,
    /// The moment after which the verdict is worthless.
    pub(crate) deadline: Option<Deadline>,
    /// When it must be answered if the model has not started it by then, for the answer to be in
    /// time.
    pub(crate) answer_by: Option<Instant>,
    /// The picture, if it could be read.
    pub(crate) picture: Option<Arc<RgbImage>>,
    /// The geometry that is applied to it.
    pub(crate) geometry: Geometry,
    /// Whether the picture is to be kept, whatever the verdict.
    pub(crate) is_snapshot: bool,
    /// Whether it is judged by the camera's own model, and not by that of a recipe.
    pub(crate) is_standard: bool,
    /// What was measured of the picture, if anything needs that.
    pub(crate) measured: Option<Measured>,
    /// When the picture was taken.
    pub(crate) captured: Moment,
    /// When the frame was available.
    pub(crate) at_hand: Instant,
    /// When preprocessing began.
    pub(crate) begun: Instant,
    /// When preprocessing ended.
    pub(crate) finished: Instant,
}

/// The model's input, `height x width x 3` bytes.
pub(crate) type Tensor = Vec<u8>;

/// Why a part ends without a decision.
#[derive(Debug)]
pub(crate) struct NoDecision {
    /// For the actuator.
    pub(crate) reason: Reason,
    /// Human-readable.
    pub(crate) detail: String,
}

impl NoDecision {
    /// Creates the reason for a deadline that passed before the model was free.
    pub(crate) fn not_free() -> Self {
        Self {
            reason: Reason::Late,
            detail: "the model was not free before the deadline".to_owned(),
        }
    }
}

/// The result of an inspection.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The camera.
    pub camera: CameraIndex,
    /// What subscribers receive; its `seq` is 0 until the record stage has numbered it.
    pub verdict: VerdictData,
    /// When it happened: the picture was taken or, if there is none, was requested.
    pub time: Moment,
    /// The moment after which the verdict is worthless.
    pub deadline: Option<Instant>,
    /// Where the requester wants the answer.
    pub reply: Option<Reply>,
    /// The picture, if any.
    pub picture: Option<Arc<RgbImage>>,
    /// Whether the picture is to be kept, whatever the verdict.
    pub is_snapshot: bool,
    /// Whether it was judged by the camera's own model, and not by that of a recipe.
    pub is_standard: bool,
    /// What was measured of the picture, if anything needs that.
    pub measured: Option<Measured>,
    /// The geometry that was applied to it.
    pub geometry: Geometry,
    /// The anomaly map, if the model produced one.
    pub anomaly_map: Option<AnomalyMap>,
    /// The model that judged it.
    pub model: Option<Arc<LoadedModel>>,
}

impl Inspection {
    /// Revokes a decision that has missed its deadline since it was reached.
    pub fn expire(&mut self, now: Instant) {
        let is_decided = !matches!(self.verdict.verdict, Verdict::NoDecision(_));
        if let Some(deadline) = self.deadline
            && is_decided
            && deadline < now
        {
            let late = now.duration_since(deadline);
            self.verdict.verdict = Verdict::NoDecision(Reason::Late);
            self.verdict.remaining_ms = Some(-late.as_secs_f64() * 1e3);
        }
    }
}

/// The destination of inspections: the record stage, or a measurement.
///
/// `accept` runs on the inference thread, so it must not wait for the network or the disk.
pub trait Sink: Clone + Send {
    /// Accepts the result of one inspection; called once per part.
    fn accept(&mut self, inspection: Inspection);
}
