//! The first stage: takes pictures, at its own pace, on a thread of its own.
//!
//! A [`Source`] only knows how to give the next frame. Pace, counting, what happens when the link
//! is full, and what happens when a camera goes away are the same for all and live here.
//!
//! Why a folder and a synthetic line block by default while a camera drops: the first two can
//! wait, and a replay that skips parts under load would not give the same verdicts twice.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{
    counters::Counters,
    event::{Event, EventSender},
    frame::Frame,
    link::{Closed, Sender},
    progress::Progress,
    shutdown::Shutdown,
};
use crate::config::SourceSettings;

mod folder;
mod pixels;
mod synthetic;
mod v4l2;

pub use folder::FolderSource;
pub use synthetic::SyntheticSource;
pub use v4l2::V4l2Source;

/// Gives one frame after the other.
pub trait Source: Send {
    /// The next frame; `None` after the last one. May wait for the camera, but not for ever.
    ///
    /// # Errors
    /// [`CameraLost`]: no frame will come until [`reopen`](Self::reopen) has succeeded. A single
    /// picture that cannot be read is no error but a [`Frame`] that says so.
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost>;

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
pub enum OpenError {
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
}

/// Opens what the settings name. A camera is opened for real; it starts to stream at once.
///
/// # Errors
/// [`OpenError`].
pub fn open(settings: &SourceSettings) -> Result<Box<dyn Source>, OpenError> {
    Ok(match settings {
        SourceSettings::Folder { path, repeat, .. } => Box::new(FolderSource::open(path, *repeat)?),
        SourceSettings::Synthetic {
            seed,
            parts,
            defect_rate,
            size,
            ..
        } => Box::new(SyntheticSource::new(*size, *seed, *defect_rate, *parts)?),
        SourceSettings::V4l2 { device, options } => Box::new(V4l2Source::open(device, options)?),
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
pub(super) struct Capture {
    /// The camera's number.
    pub(super) camera: usize,
    /// The camera's name.
    pub(super) name: String,
    pub(super) source: Box<dyn Source>,
    /// From one frame to the next, where the source has no pace of its own.
    pub(super) interval: Option<Duration>,
    pub(super) frames: Sender<Frame>,
    pub(super) counters: Counters,
    pub(super) events: EventSender,
    /// Absent for a camera: waiting for its next frame is no work, and has a limit of its own.
    pub(super) progress: Option<Progress>,
    pub(super) shutdown: Shutdown,
}

/// First pause before a lost camera is opened again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A camera that comes back is seen within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Capture {
    /// Captures until the source is exhausted, the pipeline is gone, or a shutdown is requested.
    pub(super) fn run(mut self) {
        let mut due = Instant::now();
        let mut is_first = true;
        loop {
            self.frames.wait_for_room();
            if self.shutdown.wait_until(due) {
                return;
            }
            if let Some(interval) = self.interval {
                // After a wait for room the pace starts anew; nothing is caught up in a burst.
                due = (due + interval).max(Instant::now());
            }
            let working = self.progress.as_ref().map(Progress::begin);
            let next = self.source.next_frame();
            drop(working);
            match next {
                Ok(Some(frame)) => {
                    self.counters.captured.increment();
                    match self.frames.send(frame) {
                        Ok(None) => {}
                        Ok(Some(_displaced)) => self.counters.overrun.increment(),
                        Err(Closed(_)) => return,
                    }
                    if std::mem::take(&mut is_first) {
                        self.events.send(Event::FirstFrame(self.camera));
                    }
                }
                Ok(None) => {
                    info!(camera = self.name, "Source exhausted");
                    self.events.send(Event::Exhausted(self.camera));
                    return;
                }
                Err(lost) => {
                    if !self.find_again(&lost) {
                        return;
                    }
                }
            }
        }
    }

    /// Opens a lost camera again, however long it takes; `false` if a shutdown came before.
    fn find_again(&mut self, lost: &CameraLost) -> bool {
        warn!(camera = self.name, error = %lost, "Camera lost");
        self.events.send(Event::CameraLost(self.camera));
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0_u64;
        while !self.shutdown.wait_until(Instant::now() + pause) {
            attempts += 1;
            match self.source.reopen() {
                Ok(()) => {
                    info!(camera = self.name, attempts, "Camera found again");
                    self.events.send(Event::CameraFound(self.camera));
                    return true;
                }
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
