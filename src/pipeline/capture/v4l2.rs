//! The source `v4l2`: a camera of the machine, through nokhwa.
//!
//! nokhwa's handle cannot change threads, so a reader opens the camera and passes its frames on.
//! nokhwa waits for a frame without a limit: a camera that stalls holds the reader, and with it
//! the device, until the stall ends or the kernel lets go of it with an error; then a new reader
//! opens the camera.
//!
//! nokhwa knows grey frames only by a code that the kernel does not use (`GRAY` for `GREY`), so a
//! camera that offers nothing else cannot be used; most offer YUYV as well.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use nokhwa::{
    Buffer, Camera,
    utils::{
        CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
    },
};

use super::{CameraLost, OpenError, Source, pixels};
use crate::{
    config::{Overflow, PixelFormat, V4l2},
    pipeline::{
        counters::Counter,
        frame::{Frame, Moment},
        link::{self, Receiver, Sender},
    },
};

/// Opening a camera and setting its format takes milliseconds; one that needs longer hangs.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A camera, streaming.
#[derive(Debug)]
pub struct V4l2Source {
    device: PathBuf,
    options: V4l2,
    frames: Receiver<Result<Buffer, String>>,
    /// Frames that the reader has displaced, and how many of them have been told.
    displaced: Counter,
    told: u64,
}

impl V4l2Source {
    /// Opens the camera and starts the stream.
    ///
    /// # Errors
    /// [`OpenError::Camera`].
    pub fn open(device: &Path, options: &V4l2) -> Result<Self, OpenError> {
        let displaced = Counter::default();
        let frames = start_reader(device, options, displaced.clone()).map_err(|problem| {
            OpenError::Camera {
                device: device.to_owned(),
                problem,
            }
        })?;
        Ok(Self {
            device: device.to_owned(),
            options: options.clone(),
            frames,
            displaced,
            told: 0,
        })
    }
}

impl Source for V4l2Source {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        match self.frames.recv() {
            Some(Ok(buffer)) => {
                let captured = captured_at(&buffer);
                Ok(Some(Frame::new(None, pixels::to_rgb(&buffer), captured)))
            }
            Some(Err(problem)) => Err(CameraLost(problem)),
            None => Err(CameraLost("the reader has ended".to_owned())),
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        let displaced = self.displaced.clone();
        self.frames = start_reader(&self.device, &self.options, displaced).map_err(CameraLost)?;
        Ok(())
    }

    fn displaced(&mut self) -> u64 {
        let displaced = self.displaced.get();
        displaced - std::mem::replace(&mut self.told, displaced)
    }
}

/// Starts a reader and waits until it has opened the camera.
fn start_reader(
    device: &Path,
    options: &V4l2,
    displaced: Counter,
) -> Result<Receiver<Result<Buffer, String>>, String> {
    let index = device_index(device)?;
    let format = requested_format(options);
    let (sender, receiver) = link::link(NonZeroUsize::MIN, Overflow::NewestWins);
    let (opened_sender, opened) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name(format!("v4l2-{index}"))
        .spawn(move || match open(index, format) {
            Ok(mut camera) => {
                opened_sender.send(Ok(())).ok();
                let next_frame = || camera.frame().map_err(|error| error.to_string());
                read(next_frame, &sender, &displaced);
            }
            Err(problem) => {
                opened_sender.send(Err(problem)).ok();
            }
        })
        .map_err(|error| error.to_string())?;
    opened
        .recv_timeout(OPEN_TIMEOUT)
        .map_err(|_| format!("no answer for {OPEN_TIMEOUT:?}"))??;
    Ok(receiver)
}

/// Opens the camera; on the reader's thread, because nokhwa's handle cannot change threads.
fn open(index: u32, format: CameraFormat) -> Result<Camera, String> {
    let formats = [format.format()];
    let request = RequestedFormat::with_formats(RequestedFormatType::Exact(format), &formats);
    let mut camera = Camera::new(CameraIndex::Index(index), request).map_err(|error| {
        format!("{error}; asked for {format}; `v4l2-ctl --list-formats-ext` shows what it offers")
    })?;
    camera.open_stream().map_err(|error| error.to_string())?;
    Ok(camera)
}

/// Passes frames on until the camera fails or nobody wants them any more; what nobody has taken
/// before the next one came is counted.
fn read<T>(
    mut next_frame: impl FnMut() -> Result<T, String>,
    frames: &Sender<Result<T, String>>,
    displaced: &Counter,
) {
    loop {
        let frame = next_frame();
        let has_failed = frame.is_err();
        match frames.send(frame) {
            Ok(None) => {}
            Ok(Some(_)) => displaced.increment(),
            Err(_) => return,
        }
        if has_failed {
            return;
        }
    }
}

/// nokhwa counts devices; people name them, often by a link such as `/dev/v4l/by-id/…`.
fn device_index(device: &Path) -> Result<u32, String> {
    let node = fs::canonicalize(device).map_err(|error| error.to_string())?;
    node.to_str()
        .and_then(|node| node.strip_prefix("/dev/video"))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("{} is no /dev/video<number>", node.display()))
}

fn requested_format(options: &V4l2) -> CameraFormat {
    let format = match options.format {
        PixelFormat::Mjpeg => FrameFormat::MJPEG,
        PixelFormat::Yuyv => FrameFormat::YUYV,
        PixelFormat::Nv12 => FrameFormat::NV12,
    };
    let resolution = Resolution::new(options.width, options.height);
    CameraFormat::new(resolution, format, options.rate)
}

/// The kernel's time of the frame where the driver gives one, else now.
fn captured_at(buffer: &Buffer) -> Moment {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let age = match (since_epoch, buffer.capture_timestamp()) {
        (Ok(now), Some(taken)) => now.saturating_sub(taken),
        _ => Duration::ZERO,
    };
    Moment::before_now(age)
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
    fn a_frame_that_nobody_has_taken_is_counted_when_the_next_one_comes() {
        let (sender, receiver) = link::link(NonZeroUsize::MIN, Overflow::NewestWins);
        let displaced = Counter::default();
        let mut given = (1..=5).map(Ok).chain([Err("unplugged".to_owned())]);
        read(|| given.next().unwrap(), &sender, &displaced);
        // The camera's end takes the place of the last frame.
        assert_eq!(receiver.recv(), Some(Err("unplugged".to_owned())));
        assert_eq!(displaced.get(), 5);
    }

    #[test]
    fn a_file_that_is_no_camera_is_refused() {
        let problem = device_index(Path::new("/dev/null")).unwrap_err();
        assert!(problem.contains("/dev/null"), "{problem}");
    }
}
