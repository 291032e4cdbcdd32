//! The first stage: takes pictures, at its own pace, on its own thread.
//!
//! A [`Source`] only delivers the next frame. Pace, counting, and the search for a lost camera are
//! the same for all and are implemented here. A source may hang in its driver forever, so this
//! thread is not waited for: the next stage watches the time, and a shutdown leaves the thread
//! behind.
//!
//! A folder and a synthetic line wait for requests while a camera does not, because the first two
//! can, and a replay that skips parts under load would not give the same verdicts twice.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::admit::inbox::Inbox;
use super::channels::backoff::Backoff;
use super::channels::shutdown::Shutdown;
use super::part::frame::Frame;
#[cfg(not(feature = "gstreamer"))]
use crate::line::config::PipelineText;
use crate::line::config::SourceSettings;
use crate::line::monitor::counters::Counters;

mod folder;
#[cfg(feature = "gstreamer")]
mod gstreamer;
#[cfg(feature = "v4l2")]
mod pixels;
#[cfg(any(feature = "v4l2", feature = "gstreamer"))]
mod reader;
mod synthetic;
#[cfg(feature = "v4l2")]
mod v4l2;

pub use folder::FolderSource;
#[cfg(feature = "gstreamer")]
pub use gstreamer::{Form, GstreamerSource, PipelineError, TextError, Unreadable};
#[cfg(any(feature = "v4l2", feature = "gstreamer"))]
pub use reader::ReaderError;
pub use synthetic::SyntheticSource;
#[cfg(feature = "v4l2")]
pub use v4l2::{AgreeError, DeviceError, V4l2Source};

/// Delivers one frame after the other.
pub trait Source: Send {
    /// Returns the next frame; `None` after the last one. May wait for the camera as long as it
    /// takes, even forever: the caller watches the time.
    ///
    /// # Errors
    /// [`CameraLost`]: no frame will come until [`reopen`](Self::reopen) has succeeded. A single
    /// picture that cannot be read is not an error but a [`Frame`] that says so.
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost>;

    /// Returns the number of frames that the source discarded for newer ones since the last call;
    /// they were captured as well, and are counted. 0 if a source waits until a frame is taken.
    fn displaced(&mut self) -> u64 {
        0
    }

    /// Returns the number of frames that the camera took since the last call, and that its driver
    /// did not deliver, as far as this is known.
    fn missed(&mut self) -> u64 {
        0
    }

    /// Reopens the camera. Sources that cannot be lost have nothing to do.
    ///
    /// # Errors
    /// [`CameraLost`]: still not there.
    fn reopen(&mut self) -> Result<(), CameraLost> {
        Ok(())
    }
}

/// Why a camera delivers no frames until it is reopened, or cannot be reopened.
#[derive(Debug, thiserror::Error)]
pub enum CameraLost {
    /// The loss that is configured for a synthetic line begins.
    #[error("the configured loss begins")]
    LossBegins,
    /// It is not over.
    #[error("the configured loss is not over")]
    LossNotOver,
    /// The watched folder is gone, or another one is in its place.
    #[error("the folder {} is gone, or another one is in its place", .0.display())]
    FolderGone(PathBuf),
    /// The watched folder cannot be listed or watched again.
    #[error(transparent)]
    NotBack(io::Error),
    /// The device no longer delivers frames, or cannot be opened.
    #[cfg(feature = "v4l2")]
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The pipeline no longer delivers frames, or cannot be started.
    #[cfg(feature = "gstreamer")]
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder, or something in it, cannot be read.
    #[error("cannot list the images of the folder {}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder without images.
    #[error("no images in the folder {}; looked for {}", path.display(), extensions)]
    NoImages {
        /// Which folder.
        path: PathBuf,
        /// The file extensions that were searched for.
        extensions: String,
    },
    /// The synthetic line.
    #[error("the synthetic line cannot be set up")]
    Synthetic(#[from] crate::synthetic::SyntheticError),
    /// The camera cannot be opened.
    #[cfg(feature = "v4l2")]
    #[error("cannot open the camera {}: {problem}", device.display())]
    Camera {
        /// Its device node.
        device: PathBuf,
        /// The cause.
        problem: Box<DeviceError>,
    },
    /// A camera is configured, in a build without that source.
    #[error(
        "this flawd was built without cameras, and {} is one: build it with the feature `v4l2`, \
         which takes libclang", device.display()
    )]
    NotBuilt {
        /// Its device node.
        device: PathBuf,
    },
    /// The pipeline cannot be built from its text.
    #[cfg(feature = "gstreamer")]
    #[error("the pipeline `{pipeline}` cannot be built: {problem}")]
    Text {
        /// Its text, without passwords.
        pipeline: String,
        /// The cause.
        problem: TextError,
    },
    /// The pipeline delivers nothing.
    #[cfg(feature = "gstreamer")]
    #[error("the pipeline `{pipeline}` cannot be started: {problem}")]
    Pipeline {
        /// Its text, without passwords.
        pipeline: String,
        /// The cause.
        problem: Box<PipelineError>,
    },
    /// A pipeline is configured, in a build without that source.
    #[error(
        "this flawd was built without GStreamer, and `{pipeline}` is a pipeline: build it with the \
         feature `gstreamer`, which takes GStreamer's development files"
    )]
    NoGstreamer {
        /// Its text, without passwords.
        pipeline: String,
    },
}

impl SourceError {
    /// Returns whether the configuration, or what is installed, has to change.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NotBuilt { .. } | Self::NoGstreamer { .. } => true,
            #[cfg(feature = "gstreamer")]
            Self::Text { .. } => true,
            _ => false,
        }
    }

    fn not_built(device: &Path) -> Self {
        Self::NotBuilt {
            device: device.to_owned(),
        }
    }

    #[cfg(not(feature = "gstreamer"))]
    fn no_gstreamer(pipeline: &PipelineText) -> Self {
        Self::NoGstreamer {
            pipeline: pipeline.shown(),
        }
    }
}

/// Checks whether this program has the source that the settings name, and a pipeline's elements.
///
/// # Errors
/// Those that [are permanent](SourceError::is_permanent).
pub fn check(settings: &SourceSettings) -> Result<(), SourceError> {
    match settings {
        SourceSettings::V4l2 { device, .. } if !cfg!(feature = "v4l2") => {
            Err(SourceError::not_built(device))
        }
        #[cfg(feature = "gstreamer")]
        SourceSettings::Gstreamer { pipeline, .. } => {
            gstreamer::check(pipeline).map_err(|problem| SourceError::Text {
                pipeline: pipeline.shown(),
                problem,
            })
        }
        #[cfg(not(feature = "gstreamer"))]
        SourceSettings::Gstreamer { pipeline, .. } => Err(SourceError::no_gstreamer(pipeline)),
        _ => Ok(()),
    }
}

/// Opens the source that the settings name. A camera is really opened, and starts to stream at
/// once.
///
/// # Errors
/// [`SourceError`].
pub fn open(settings: &SourceSettings) -> Result<Box<dyn Source>, SourceError> {
    Ok(match settings {
        SourceSettings::Folder {
            path, watch: true, ..
        } => Box::new(FolderSource::watch(path)?),
        SourceSettings::Folder { path, repeat, .. } => Box::new(FolderSource::open(path, *repeat)?),
        SourceSettings::Synthetic {
            seed,
            parts,
            defect_rate,
            size,
            faults,
            ..
        } => {
            let line = SyntheticSource::new(*size, *seed, *defect_rate, *parts)?;
            Box::new(line.with_faults(*faults))
        }
        #[cfg(feature = "v4l2")]
        SourceSettings::V4l2 { device, options } => Box::new(V4l2Source::open(device, options)?),
        #[cfg(not(feature = "v4l2"))]
        SourceSettings::V4l2 { device, .. } => return Err(SourceError::not_built(device)),
        #[cfg(feature = "gstreamer")]
        SourceSettings::Gstreamer {
            pipeline,
            reopen_after,
        } => Box::new(GstreamerSource::open(pipeline, *reopen_after)?),
        #[cfg(not(feature = "gstreamer"))]
        SourceSettings::Gstreamer { pipeline, .. } => {
            return Err(SourceError::no_gstreamer(pipeline));
        }
    })
}

/// Returns the time from one frame to the next if the source has no pace of its own.
pub fn interval(settings: &SourceSettings) -> Option<Duration> {
    match settings {
        SourceSettings::Folder { interval, .. } | SourceSettings::Synthetic { interval, .. } => {
            *interval
        }
        SourceSettings::V4l2 { .. } | SourceSettings::Gstreamer { .. } => None,
    }
}

/// The stage: a source, and the destination of its frames.
pub(crate) struct Capture {
    /// The camera's name.
    pub(crate) name: String,
    pub(crate) source: Box<dyn Source>,
    /// Time from one frame to the next, if the source has no pace of its own.
    pub(crate) interval: Option<Duration>,
    /// Whether frames are taken on request; otherwise as fast as they come, and the newest wins.
    pub(crate) on_demand: bool,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Counters,
    pub(crate) shutdown: Shutdown,
}

/// First pause before a lost camera is reopened; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A camera that comes back is detected within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Capture {
    /// Captures until the source is exhausted or the pipeline is to end.
    pub(crate) fn run(mut self) {
        let mut due = Instant::now();
        loop {
            if self.on_demand && !self.inbox.wait_until_wanted() {
                return;
            }
            if self.shutdown.wait_until(due) {
                return;
            }
            if let Some(interval) = self.interval {
                // After a wait the pace starts again; no burst of frames catches up.
                due = (due + interval).max(Instant::now());
            }
            let Some(frame) = self.next_frame() else {
                return;
            };
            self.counters.captured.increment();
            let (displaced, missed) = (self.source.displaced(), self.source.missed());
            self.counters.captured.add(displaced + missed);
            self.counters.overrun.add(displaced);
            self.counters.missed.add(missed);
            match self.inbox.frame(frame) {
                Ok(None) => {}
                Ok(Some(_)) => self.counters.overrun.increment(),
                Err(_) => self.counters.unused.increment(),
            }
        }
    }

    /// Returns the next frame, however often the camera is lost before; `None` at the end.
    fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.source.next_frame() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {
                    info!(camera = self.name, "Source exhausted");
                    self.inbox.exhausted();
                    return None;
                }
                Err(lost) => {
                    self.inbox.camera_lost(lost.to_string());
                    if !self.find_again() {
                        return None;
                    }
                }
            }
        }
    }

    /// Reopens a lost camera, however long it takes; returns `false` if a shutdown came first.
    fn find_again(&mut self) -> bool {
        let mut backoff = Backoff::steady(FIRST_PAUSE, LONGEST_PAUSE);
        let mut attempts = 0_u64;
        while !self.shutdown.wait_until(Instant::now() + backoff.fail()) {
            attempts += 1;
            match self.source.reopen() {
                Ok(()) => return true,
                // About one line per minute is enough for the same message.
                Err(error) if attempts.is_multiple_of(60) => {
                    warn!(camera = self.name, attempts, %error, "Camera still lost");
                }
                Err(_) => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
