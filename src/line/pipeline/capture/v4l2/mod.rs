//! The source `v4l2`: a camera attached to the machine.
//!
//! A separate thread opens the camera and passes on only the newest frame: a driver may hang, and
//! the stage must not. It waits for a frame without a limit, so that a camera with its own trigger
//! may be silent; the next stage watches for overdue frames.
//!
//! ```text
//! reader: one thread per device                          capture stage
//! device ─► agreed ─► buffer, length, flags, time ─link─► pixels ─► Frame
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::pixels::{Layout, RawFrame};
use super::reader::{DeviceReader, Frames, ReaderError};
use super::{CameraLost, Source, SourceError};
use crate::line::config::V4l2;
use crate::line::monitor::counters::Counter;
use crate::line::pipeline::part::frame::Frame;
use crate::line::pipeline::part::moment::Moment;
pub use error::{AgreeError, DeviceError};

use device::{Device, Filled};

mod agreed;
mod device;
mod error;
#[cfg(test)]
mod vivid;

/// Opening a camera and setting its format takes milliseconds; one that needs longer hangs.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long one wait for the driver lasts. Not critical: a frame ends the wait.
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// A larger step of the driver's count is a new start: at 1000 frames per second, this is a minute
/// without one.
const MOST_MISSED: u32 = 60_000;

/// An older time stamp is invalid: frames are read as they come.
const OLDEST: Duration = Duration::from_secs(60);

/// The reader of a camera: what it agrees on, and what it then delivers.
type Reader = DeviceReader<Layout, (RawFrame, Moment), DeviceError>;

/// What the reader delivers: each frame with its moment, or why there are no more.
type Delivered = Frames<(RawFrame, Moment), DeviceError>;

/// A streaming camera.
#[derive(Debug)]
pub struct V4l2Source {
    device: PathBuf,
    options: V4l2,
    reader: Reader,
    layout: Layout,
    frames: Delivered,
    counts: Counts,
    /// How many of them have been reported.
    told: (u64, u64),
}

/// Frames that the reader saw and did not pass on, or did not even see.
#[derive(Clone, Debug, Default)]
struct Counts {
    displaced: Counter,
    missed: Counter,
}

impl V4l2Source {
    /// Opens the camera and starts the stream.
    ///
    /// # Errors
    /// [`SourceError::Camera`].
    pub fn open(device: &Path, options: &V4l2) -> Result<Self, SourceError> {
        let counts = Counts::default();
        let mut reader = DeviceReader::new("v4l2".to_owned(), OPEN_PATIENCE);
        let (layout, frames) =
            start(&mut reader, device, options, &counts).map_err(|error| SourceError::Camera {
                device: device.to_owned(),
                problem: Box::new(error),
            })?;
        Ok(Self {
            device: device.to_owned(),
            options: options.clone(),
            reader,
            layout,
            frames,
            counts,
            told: (0, 0),
        })
    }
}

impl Source for V4l2Source {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        match self.frames.recv() {
            Some(Ok((frame, captured))) => {
                let picture = self.layout.picture(&frame);
                Ok(Some(Frame::new(None, picture, captured)))
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(DeviceError::from(ReaderError::Ended).into()),
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        (self.layout, self.frames) =
            start(&mut self.reader, &self.device, &self.options, &self.counts)?;
        Ok(())
    }

    fn displaced(&mut self) -> u64 {
        let displaced = self.counts.displaced.get();
        displaced - std::mem::replace(&mut self.told.0, displaced)
    }

    fn missed(&mut self) -> u64 {
        let missed = self.counts.missed.get();
        missed - std::mem::replace(&mut self.told.1, missed)
    }
}

/// Opens the camera and streams, on the reader's thread.
fn start(
    reader: &mut Reader,
    device: &Path,
    options: &V4l2,
    counts: &Counts,
) -> Result<(Layout, Delivered), DeviceError> {
    let (device, options, missed) = (device.to_owned(), options.clone(), counts.missed.clone());
    let open = move || {
        // A device is often named by a link such as `/dev/v4l/by-id/…`.
        let node = fs::canonicalize(&device)?;
        let device = Device::open(&node)?;
        let layout = agreed::agree(&device, &options)?;
        let mut stream = device.stream()?;
        let mut last = None;
        let next = move || {
            let frame = stream.next(READ_PATIENCE, |filled| {
                if let Some(last) = last.replace(filled.sequence) {
                    missed.add(missed_between(last, filled.sequence));
                }
                (raw(&filled), captured(&filled))
            })?;
            Ok(frame)
        };
        Ok((layout, next))
    };
    reader.start(open, counts.displaced.clone())
}

fn raw(filled: &Filled) -> RawFrame {
    /// `V4L2_BUF_FLAG_ERROR`: the content of the buffer is damaged.
    const IS_DAMAGED: u32 = 0x40;
    RawFrame {
        bytes: filled.bytes.to_vec(),
        used: filled.used as usize,
        is_damaged: filled.flags & IS_DAMAGED > 0,
    }
}

/// Returns how many frames the driver has counted between two that it delivered; 0 if it does not
/// count, or counts from the start again.
fn missed_between(last: u32, sequence: u32) -> u64 {
    match sequence.wrapping_sub(last) {
        steps @ 1..=MOST_MISSED => u64::from(steps - 1),
        _ => 0,
    }
}

/// Returns when the frame was taken. The driver reports it on the monotonic clock, so that setting
/// the other one changes no age; if it reports nothing, the current time is used.
fn captured(filled: &Filled) -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(
        now.tv_sec.try_into().unwrap_or(0),
        now.tv_nsec.try_into().unwrap_or(0),
    );
    Moment::before_now(age(filled.flags, filled.taken, now))
}

fn age(flags: u32, taken: Option<Duration>, now: Duration) -> Duration {
    /// `V4L2_BUF_FLAG_TIMESTAMP_MASK` and `…_MONOTONIC`.
    const CLOCK: u32 = 0xe000;
    const MONOTONIC: u32 = 0x2000;
    let taken = taken.filter(|_| flags & CLOCK == MONOTONIC);
    let age = taken.and_then(|taken| now.checked_sub(taken));
    age.filter(|&age| age < OLDEST).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_named_in_the_error() {
        let device = Path::new("/nonexistent/video7");
        let problem = V4l2Source::open(device, &V4l2::default())
            .unwrap_err()
            .to_string();
        assert!(problem.contains("/nonexistent/video7"), "{problem}");
    }

    #[test]
    fn a_file_that_is_no_camera_is_refused() {
        let problem = V4l2Source::open(Path::new("/dev/null"), &V4l2::default()).unwrap_err();
        assert!(problem.to_string().contains("/dev/null"), "{problem}");
    }

    #[test]
    fn a_gap_in_the_drivers_count_is_the_number_of_frames_that_it_did_not_deliver() {
        assert_eq!(missed_between(7, 8), 0);
        assert_eq!(missed_between(7, 11), 3);
        assert_eq!(missed_between(u32::MAX - 1, 1), 2);
        // A driver that does not count, and one that starts again.
        assert_eq!(missed_between(0, 0), 0);
        assert_eq!(missed_between(500, 0), 0);
    }

    #[test]
    fn the_age_of_a_frame_is_told_by_the_monotonic_clock_alone() {
        let seconds = Duration::from_secs;
        let (now, taken) = (seconds(100), Some(seconds(98)));
        assert_eq!(age(0x2000, taken, now), seconds(2));
        // Another clock, none, a future time, and an impossible one.
        assert_eq!(age(0x4000, taken, now), Duration::ZERO);
        assert_eq!(age(0x2000, None, now), Duration::ZERO);
        assert_eq!(age(0x2000, Some(seconds(101)), now), Duration::ZERO);
        assert_eq!(age(0x2000, Some(Duration::ZERO), now), Duration::ZERO);
    }
}
