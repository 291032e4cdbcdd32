//! The first stage: takes pictures, at its own pace, on its own thread.
//!
//! A [`Source`] only knows how to give the next frame. Pace, counting, and the search for a camera
//! that has gone away are the same for all and live here. A source may hang in its driver for ever,
//! so this thread is not waited for: the next stage watches the time, and a shutdown leaves the
//! thread behind.
//!
//! Why a folder and a synthetic line wait to be asked while a camera does not: the first two can,
//! and a replay that skips parts under load would not give the same verdicts twice.

use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::admit::inbox::Inbox;
use super::channels::shutdown::Shutdown;
use super::part::frame::Frame;
use crate::line::config::SourceSettings;
use crate::line::monitor::counters::Counters;

mod folder;
#[cfg(feature = "v4l2")]
mod pixels;
mod synthetic;
#[cfg(feature = "v4l2")]
mod v4l2;

pub use folder::FolderSource;
pub use synthetic::SyntheticSource;
#[cfg(feature = "v4l2")]
pub use v4l2::V4l2Source;

/// Gives one frame after the other.
pub trait Source: Send {
    /// The next frame; `None` after the last one. May wait for the camera as long as that takes,
    /// for ever if need be: who waits for the frame watches the time.
    ///
    /// # Errors
    /// [`CameraLost`]: no frame will come until [`reopen`](Self::reopen) has succeeded. A single
    /// picture that cannot be read is not an error but a [`Frame`] that says so.
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost>;

    /// Frames that the source gave up for newer ones since this was last asked; they were captured
    /// as well, and are counted. None where a source waits until a frame is taken.
    fn displaced(&mut self) -> u64 {
        0
    }

    /// Opens the camera again. Sources that cannot be lost have nothing to do.
    ///
    /// # Errors
    /// [`CameraLost`]: still not there.
    fn reopen(&mut self) -> Result<(), CameraLost> {
        Ok(())
    }
}

/// The camera gives no frames any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CameraLost(pub String);

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder, or something in it.
    #[error("cannot list the images of the folder {}", path.display())]
    Folder {
        /// Which folder.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder without work.
    #[error("no images in the folder {}; looked for {}", path.display(), extensions)]
    NoImages {
        /// Which folder.
        path: std::path::PathBuf,
        /// Which endings were looked for.
        extensions: String,
    },
    /// The synthetic line.
    #[error("the synthetic line cannot be set up")]
    Synthetic(#[from] crate::synthetic::SyntheticError),
    /// The camera.
    #[error("cannot open the camera {}: {problem}", device.display())]
    Camera {
        /// Its device node.
        device: std::path::PathBuf,
        /// Why not.
        problem: String,
    },
    /// A camera, in a build without that source.
    #[error(
        "this flawd was built without cameras, and {} is one: build it with the feature `v4l2`, \
         which takes libclang", device.display()
    )]
    NotBuilt {
        /// Its device node.
        device: std::path::PathBuf,
    },
}

impl SourceError {
    fn not_built(device: &Path) -> Self {
        Self::NotBuilt {
            device: device.to_owned(),
        }
    }
}

/// Whether this program has the source that the settings name.
///
/// # Errors
/// [`SourceError::NotBuilt`].
pub fn check(settings: &SourceSettings) -> Result<(), SourceError> {
    match settings {
        SourceSettings::V4l2 { device, .. } if !cfg!(feature = "v4l2") => {
            Err(SourceError::not_built(device))
        }
        _ => Ok(()),
    }
}

/// Opens what the settings name. A camera is opened for real; it starts to stream at once.
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
    })
}

/// Time from one frame to the next where the source has no pace of its own.
pub fn interval(settings: &SourceSettings) -> Option<Duration> {
    match settings {
        SourceSettings::Folder { interval, .. } | SourceSettings::Synthetic { interval, .. } => {
            *interval
        }
        SourceSettings::V4l2 { .. } => None,
    }
}

/// The stage: a source, and where its frames go.
pub(crate) struct Capture {
    /// The camera's name.
    pub(crate) name: String,
    pub(crate) source: Box<dyn Source>,
    /// From one frame to the next, where the source has no pace of its own.
    pub(crate) interval: Option<Duration>,
    /// Frames are taken when they are asked for; otherwise as fast as they come, and the newest
    /// wins.
    pub(crate) on_demand: bool,
    pub(crate) inbox: Inbox,
    pub(crate) counters: Counters,
    pub(crate) shutdown: Shutdown,
}

/// First pause before a lost camera is opened again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A camera that comes back is seen within this time.
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
                // After a wait the pace starts again; nothing is caught up in a burst.
                due = (due + interval).max(Instant::now());
            }
            let Some(frame) = self.next_frame() else {
                return;
            };
            self.counters.captured.increment();
            for _ in 0..self.source.displaced() {
                self.counters.captured.increment();
                self.counters.overrun.increment();
            }
            match self.inbox.frame(frame) {
                Ok(None) => {}
                Ok(Some(_)) => self.counters.overrun.increment(),
                Err(_) => self.counters.unused.increment(),
            }
        }
    }

    /// The next frame, however often the camera is lost before; `None` at the end.
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

    /// Opens a lost camera again, however long it takes; `false` if a shutdown came before.
    fn find_again(&mut self) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0_u64;
        while !self.shutdown.wait_until(Instant::now() + pause) {
            attempts += 1;
            match self.source.reopen() {
                Ok(()) => return true,
                // One line a minute or so is enough of the same news.
                Err(error) if attempts.is_multiple_of(60) => {
                    warn!(camera = self.name, attempts, %error, "Camera still lost");
                }
                Err(_) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        false
    }
}

#[cfg(test)]
mod tests;
