//! Why a pipeline cannot be built, or no longer delivers frames.

use std::time::Duration;

use super::form::{Form, Unreadable};
use crate::line::pipeline::capture::reader::ReaderError;

/// Why a pipeline cannot be built from its text. The text or the installation has to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// GStreamer itself does not start.
    #[error("GStreamer does not start: {0}")]
    Library(String),
    /// An element is not installed.
    #[error("GStreamer has no element `{element}`{remedy}")]
    Missing {
        /// Its name.
        element: String,
        /// Where it is, if known.
        remedy: String,
    },
    /// GStreamer cannot read the text.
    #[error("GStreamer cannot read the pipeline: {0}")]
    Syntax(String),
    /// Its end cannot be linked to this program's sink.
    #[error(
        "the pipeline does not end where flawd can take its pictures ({0}): end it with the element \
         that delivers them, such as videoconvert; flawd adds its own sink after it"
    )]
    End(String),
    /// It has a sink for a program.
    #[error("the pipeline has the sink `{0}`: leave it out, flawd adds its own at the end")]
    Sink(String),
}

/// Why a pipeline delivers no frames.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// It cannot be built.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An element reports an error.
    #[error("{element}: {problem}")]
    Element {
        /// Its name, such as `rtspsrc0`.
        element: String,
        /// What it reports, without passwords.
        problem: String,
    },
    /// The camera, or its server, has ended the stream.
    #[error("the stream has ended")]
    Ended,
    /// No frame came for too long.
    #[error("no frame for {0:?}, so the pipeline is started again")]
    Silent(Duration),
    /// Its pictures cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Its pictures have changed.
    #[error("its pictures changed from {before} to {now}")]
    Changed {
        /// What they were.
        before: Form,
        /// What they are now.
        now: Form,
    },
    /// Its thread.
    #[error(transparent)]
    Reader(#[from] ReaderError),
}
