//! The source `gstreamer`: network cameras, GigE Vision, CSI, and whatever else GStreamer reads.
//!
//! The operator's text describes a pipeline, and this program adds its sink. A separate thread
//! starts the pipeline and passes on only the newest frame: a pipeline may hang while it starts or
//! stops, and the stage must not. One that delivers nothing for too long is started again, because
//! a camera that disappears from a network does not say so.
//!
//! ```text
//! reader: one thread per pipeline                                capture stage
//! text ─► pipeline ─► appsink ─► form, bytes, time ─link─► picture ─► Frame
//! ```

use std::num::NonZeroUsize;
use std::time::Duration;

use flawd_core::depth::Picture;
use tracing::warn;

use super::reader::{DeviceReader, Frames, ReaderError};
use super::{CameraLost, Source, SourceError};
use crate::line::config::{Overflow, PipelineText};
use crate::line::monitor::counters::Counter;
use crate::line::pipeline::channels::link;
use crate::line::pipeline::part::frame::{Frame, FrameError};
use crate::pictures::decode::Problem;
pub use error::{PipelineError, TextError};
pub use form::{Form, Unreadable};

use stream::{Stream, Taken};

mod error;
mod form;
mod log;
mod stream;
mod text;

/// How long a start may take, with the search for installed elements that GStreamer's first start
/// on a machine begins with.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Checks that a pipeline can be built. Opens no camera.
///
/// # Errors
/// [`TextError`].
pub(super) fn check(text: &PipelineText) -> Result<(), TextError> {
    text::build(text).map(|_| ())
}

/// A running pipeline.
#[derive(Debug)]
pub struct GstreamerSource {
    text: PipelineText,
    reopen_after: Duration,
    reader: DeviceReader<(), Taken, PipelineError>,
    frames: Frames<Taken, PipelineError>,
    /// What the pictures are, from the first one on.
    form: Option<Form>,
    /// Whether the next picture is the first one since a start.
    is_first: bool,
    /// Frames that the reader has displaced, and how many of them have been reported.
    displaced: Counter,
    told: u64,
}

impl GstreamerSource {
    /// Starts the pipeline. It is started again after `reopen_after` without a frame.
    ///
    /// # Errors
    /// [`SourceError::Text`], [`SourceError::Pipeline`].
    pub fn open(text: &PipelineText, reopen_after: Duration) -> Result<Self, SourceError> {
        let displaced = Counter::default();
        let mut reader = DeviceReader::new("gstreamer".to_owned(), START_PATIENCE);
        let frames = start(&mut reader, text, reopen_after, &displaced);
        let frames = frames.map_err(|error| match error {
            PipelineError::Text(problem) => SourceError::Text {
                pipeline: text.shown(),
                problem,
            },
            problem => SourceError::Pipeline {
                pipeline: text.shown(),
                problem: Box::new(problem),
            },
        })?;
        Ok(Self {
            text: text.clone(),
            reopen_after,
            reader,
            frames,
            form: None,
            is_first: true,
            displaced,
            told: 0,
        })
    }

    /// Converts a frame to a picture.
    ///
    /// # Errors
    /// That pictures have changed; a single one that cannot be read is the inner error.
    fn picture(&mut self, taken: Taken) -> Result<Result<Picture, FrameError>, PipelineError> {
        let agreed = self.form.filter(|_| !self.is_first);
        let picture = taken
            .bytes
            .and_then(|bytes| taken.coding.picture(&bytes, agreed));
        let (now, picture) = match picture {
            Ok((form, picture)) => (form, Ok(picture)),
            Err(FrameError::Jpeg(problem @ Problem::NotAgreed { size, .. })) => {
                (form::jpeg(size), Err(FrameError::Jpeg(problem)))
            }
            Err(problem) => return Ok(Err(problem)),
        };
        match self.form {
            Some(before) if before == now => {}
            Some(before) if self.is_first => {
                let pipeline = self.text.shown();
                warn!(pipeline, %before, %now, "A camera delivers other pictures than before");
            }
            Some(before) => return Err(PipelineError::Changed { before, now }),
            None => {}
        }
        (self.form, self.is_first) = (Some(now), false);
        Ok(picture)
    }
}

impl Source for GstreamerSource {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        let taken = match self.frames.recv() {
            Some(taken) => taken?,
            None => return Err(PipelineError::from(ReaderError::Ended).into()),
        };
        let captured = taken.captured;
        match self.picture(taken) {
            Ok(picture) => Ok(Some(Frame::new(None, picture, captured))),
            Err(changed) => {
                // The reader ends with its next frame, and the pipeline with it.
                self.frames = link::link(NonZeroUsize::MIN, Overflow::NewestWins).1;
                Err(changed.into())
            }
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        self.frames = start(
            &mut self.reader,
            &self.text,
            self.reopen_after,
            &self.displaced,
        )?;
        self.is_first = true;
        Ok(())
    }

    fn displaced(&mut self) -> u64 {
        let displaced = self.displaced.get();
        displaced - std::mem::replace(&mut self.told, displaced)
    }
}

/// Starts the pipeline, on the reader's thread.
fn start(
    reader: &mut DeviceReader<(), Taken, PipelineError>,
    text: &PipelineText,
    reopen_after: Duration,
    displaced: &Counter,
) -> Result<Frames<Taken, PipelineError>, PipelineError> {
    let text = text.clone();
    let open = move || {
        let mut stream = Stream::start(&text, reopen_after)?;
        Ok(((), move || stream.next()))
    };
    let ((), frames) = reader.start(open, displaced.clone())?;
    Ok(frames)
}
