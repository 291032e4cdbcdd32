//! A source of this text, and what it delivers.

use std::sync::Arc;
use std::time::Duration;

use flawd::line::config::{PipelineText, SourceSettings};
use flawd::line::pipeline::capture::{self, CameraLost, Source};
use flawd::line::pipeline::part::frame::Frame;
use flawd_core::image::RgbImage;

/// Longer than any pipeline here takes to deliver a frame on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

pub(crate) fn settings(text: &str, reopen_after: Duration) -> SourceSettings {
    SourceSettings::Gstreamer {
        pipeline: PipelineText::new(text),
        reopen_after,
    }
}

pub(crate) fn open(text: &str) -> Box<dyn Source> {
    open_with(text, PATIENT)
}

pub(crate) fn open_with(text: &str, reopen_after: Duration) -> Box<dyn Source> {
    capture::open(&settings(text, reopen_after)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Why a source of this text cannot be opened.
pub(crate) fn refusal(text: &str) -> String {
    match capture::open(&settings(text, PATIENT)) {
        Ok(_) => panic!("{text} is opened"),
        Err(error) => error.to_string(),
    }
}

/// The next frame; a camera has no last one.
pub(crate) fn next(source: &mut dyn Source) -> Result<Frame, CameraLost> {
    source.next_frame().map(Option::unwrap)
}

pub(crate) fn picture(source: &mut dyn Source) -> Arc<RgbImage> {
    next(source).unwrap().image.unwrap().at(None).unwrap()
}

/// Frames until the camera is lost: how many there were, and why.
pub(crate) fn loss(source: &mut dyn Source) -> (usize, String) {
    let mut frames = 0;
    loop {
        match next(source) {
            Ok(_) => frames += 1,
            Err(lost) => return (frames, lost.to_string()),
        }
    }
}

/// Opens a lost camera again; the last reader may still have it for a moment.
pub(crate) fn reopen(source: &mut dyn Source) {
    while source.reopen().is_err() {
        std::thread::yield_now();
    }
}
