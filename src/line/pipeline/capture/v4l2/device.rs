//! A V4L2 device as the kernel exposes it: opened, queried, streamed. As thin as possible; its
//! answers are interpreted in [`agreed`](super::agreed) and
//! [`pixels`](crate::line::pipeline::capture::pixels).
//!
//! The calls go through `v4l`, the crate that nokhwa is built on. Its own stream is not used: it
//! panics if a driver does not release its buffers, or answers with a number that the crate does
//! not know.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem, ptr, slice};

use v4l::device::{Device as Node, Handle};
use v4l::v4l_sys::{
    timeval, v4l2_buffer, v4l2_capability, v4l2_fmtdesc, v4l2_format, v4l2_frmsizeenum,
    v4l2_pix_format, v4l2_requestbuffers, v4l2_streamparm,
};
use v4l::v4l2::{self, vidioc};

/// Single-planar capture into buffers that the kernel owns.
const CAPTURE: u32 = 1;
const MMAP: u32 = 1;

const IS_CAPTURE: u32 = 0x0000_0001;
const HAS_STREAMING: u32 = 0x0400_0000;
const HAS_DEVICE_CAPS: u32 = 0x8000_0000;
/// The rate can be set.
const HAS_RATE: u32 = 0x1000;

const POLLIN: i16 = 1;

/// The same number as in nokhwa and `v4l`: one is read while the others are filled.
const BUFFERS: u32 = 4;

/// Maximum sizes of a driver that are listed; some offer hundreds.
const MOST_LISTED: u32 = 24;

/// An open device.
pub(crate) struct Device {
    handle: Arc<Handle>,
}

/// A size that a driver offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferedSize {
    /// Width and height.
    One(u32, u32),
    /// Smallest and largest width and height.
    From((u32, u32), (u32, u32)),
}

impl Device {
    /// Opens a node. May hang in the driver.
    pub(crate) fn open(node: &Path) -> io::Result<Self> {
        let handle = Node::with_path(node)?.handle();
        Ok(Self { handle })
    }

    /// Returns whether pictures can be streamed from it.
    pub(crate) fn can_capture(&self) -> io::Result<bool> {
        let mut capability: v4l2_capability = zeroed();
        self.call(vidioc::VIDIOC_QUERYCAP, &mut capability)?;
        let has = match capability.capabilities & HAS_DEVICE_CAPS {
            0 => capability.capabilities,
            _ => capability.device_caps,
        };
        Ok(has & IS_CAPTURE > 0 && has & HAS_STREAMING > 0)
    }

    /// Requests a format, and returns what the driver makes of it.
    pub(crate) fn set_format(&self, asked: v4l2_pix_format) -> io::Result<v4l2_pix_format> {
        let mut format: v4l2_format = zeroed();
        format.type_ = CAPTURE;
        format.fmt.pix = asked;
        self.call(vidioc::VIDIOC_S_FMT, &mut format)?;
        // SAFETY: for this type of stream the kernel fills this member; it is made of integers.
        Ok(unsafe { format.fmt.pix })
    }

    /// Requests a rate, and returns the time from one frame to the next as a fraction of a second;
    /// `None` if the driver does not report it.
    pub(crate) fn set_rate(&self, rate: u32) -> io::Result<Option<(u32, u32)>> {
        let mut parameters: v4l2_streamparm = zeroed();
        parameters.type_ = CAPTURE;
        if self.call(vidioc::VIDIOC_G_PARM, &mut parameters).is_err() {
            return Ok(None);
        }
        // SAFETY: for this type of stream the kernel fills this member; it is made of integers.
        let capture = unsafe { &mut parameters.parm.capture };
        if capture.capability & HAS_RATE == 0 {
            return Ok(None);
        }
        capture.timeperframe.numerator = 1;
        capture.timeperframe.denominator = rate;
        self.call(vidioc::VIDIOC_S_PARM, &mut parameters)?;
        // SAFETY: as above.
        let interval = unsafe { parameters.parm.capture.timeperframe };
        Ok(Some((interval.numerator, interval.denominator)))
    }

    /// Returns the pixel formats that the driver offers.
    pub(crate) fn formats(&self) -> Vec<[u8; 4]> {
        let describe = |index| {
            let mut description: v4l2_fmtdesc = zeroed();
            (description.index, description.type_) = (index, CAPTURE);
            self.call(vidioc::VIDIOC_ENUM_FMT, &mut description).ok()?;
            Some(description.pixelformat.to_le_bytes())
        };
        (0..MOST_LISTED).map_while(describe).collect()
    }

    /// Returns the sizes that the driver offers in a pixel format.
    pub(crate) fn sizes(&self, code: [u8; 4]) -> Vec<OfferedSize> {
        let describe = |index| {
            let mut size: v4l2_frmsizeenum = zeroed();
            (size.index, size.pixel_format) = (index, u32::from_le_bytes(code));
            self.call(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut size).ok()?;
            // SAFETY: the type says which member the kernel has filled; all are integers.
            Some(unsafe {
                match size.type_ {
                    1 => {
                        let one = size.__bindgen_anon_1.discrete;
                        OfferedSize::One(one.width, one.height)
                    }
                    _ => {
                        let step = size.__bindgen_anon_1.stepwise;
                        let least = (step.min_width, step.min_height);
                        OfferedSize::From(least, (step.max_width, step.max_height))
                    }
                }
            })
        };
        (0..MOST_LISTED).map_while(describe).collect()
    }

    /// Starts streaming.
    pub(crate) fn stream(self) -> io::Result<DeviceStream> {
        let request = self.request_buffers(BUFFERS)?;
        // From here on it is released again, even if a step fails.
        let mut stream = DeviceStream {
            device: self,
            buffers: Vec::new(),
        };
        for index in 0..request {
            let mut buffer = described(index);
            stream.device.call(vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
            // SAFETY: for buffers of this kind the kernel fills the offset.
            let offset = unsafe { buffer.m.offset };
            let length = buffer.length as usize;
            stream
                .buffers
                .push(Mapping::new(&stream.device, length, offset)?);
            stream.queue(index)?;
        }
        let mut kind = CAPTURE;
        stream.device.call(vidioc::VIDIOC_STREAMON, &mut kind)?;
        Ok(stream)
    }

    fn request_buffers(&self, count: u32) -> io::Result<u32> {
        let mut request: v4l2_requestbuffers = zeroed();
        (request.count, request.type_, request.memory) = (count, CAPTURE, MMAP);
        self.call(vidioc::VIDIOC_REQBUFS, &mut request)?;
        Ok(request.count)
    }

    /// Makes one call into the driver. `T` must be the type that belongs to the request.
    fn call<T: Argument>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        loop {
            // SAFETY: the kernel reads and writes the bytes of the argument, whose length is part
            // of the request's number; `T` is of that length wherever this is called, plain data,
            // and outlives the call.
            let outcome =
                unsafe { v4l2::ioctl(self.handle.fd(), request, ptr::from_mut(argument).cast()) };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}

/// Plain data that the kernel fills: integers, and unions of them.
trait Argument {}
impl Argument for u32 {}
impl Argument for v4l2_buffer {}
impl Argument for v4l2_capability {}
impl Argument for v4l2_fmtdesc {}
impl Argument for v4l2_format {}
impl Argument for v4l2_frmsizeenum {}
impl Argument for v4l2_pix_format {}
impl Argument for v4l2_requestbuffers {}
impl Argument for v4l2_streamparm {}

fn zeroed<T: Argument>() -> T {
    // SAFETY: arguments are made of integers, unions of them, and pointers that may be null.
    unsafe { mem::zeroed() }
}

/// Returns an empty format.
pub(crate) fn no_format() -> v4l2_pix_format {
    zeroed()
}

fn described(index: u32) -> v4l2_buffer {
    let mut buffer: v4l2_buffer = zeroed();
    (buffer.index, buffer.type_, buffer.memory) = (index, CAPTURE, MMAP);
    buffer
}

/// A streaming device; the stream ends when this is dropped.
pub(crate) struct DeviceStream {
    device: Device,
    buffers: Vec<Mapping>,
}

/// A buffer that the driver has filled.
pub(crate) struct Filled<'a> {
    /// What the driver reports as written; for a damaged frame, whatever there is.
    pub(crate) bytes: &'a [u8],
    /// The number of bytes reported, which may be more than there is room for.
    pub(crate) used: u32,
    /// `V4L2_BUF_FLAG_…`.
    pub(crate) flags: u32,
    /// The driver's count of frames; wraps.
    pub(crate) sequence: u32,
    /// When the frame was taken, on the clock that the flags name.
    pub(crate) taken: Option<Duration>,
}

impl DeviceStream {
    /// Passes the next frame to `read`, or `None` if there is none within `patience`.
    pub(crate) fn next<T>(
        &mut self,
        patience: Duration,
        read: impl FnOnce(Filled) -> T,
    ) -> io::Result<Option<T>> {
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        match self.device.handle.poll(POLLIN, patience) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut buffer = described(0);
        match self.device.call(vidioc::VIDIOC_DQBUF, &mut buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let place = self.buffers.get(buffer.index as usize);
        let place =
            place.ok_or_else(|| io::Error::other("the driver gave a buffer of no stream"))?;
        let outcome = read(Filled {
            bytes: place.first(buffer.bytesused as usize),
            used: buffer.bytesused,
            flags: buffer.flags,
            sequence: buffer.sequence,
            taken: since_start(buffer.timestamp),
        });
        self.queue(buffer.index)?;
        Ok(Some(outcome))
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        self.device.call(vidioc::VIDIOC_QBUF, &mut described(index))
    }
}

impl Drop for DeviceStream {
    fn drop(&mut self) {
        // A device that is gone refuses all of it, and then there is nothing to release.
        let mut kind = CAPTURE;
        self.device.call(vidioc::VIDIOC_STREAMOFF, &mut kind).ok();
        self.buffers.clear();
        self.device.request_buffers(0).ok();
    }
}

fn since_start(taken: timeval) -> Option<Duration> {
    let seconds = u64::try_from(taken.tv_sec).ok()?;
    let micros = u32::try_from(taken.tv_usec)
        .ok()
        .filter(|&micros| micros < 1_000_000)?;
    Some(Duration::new(seconds, micros * 1000))
}

/// Memory of the driver.
struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory belongs to this value alone, and is unmapped with it, on whatever thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(device: &Device, length: usize, offset: u32) -> io::Result<Self> {
        const READ_WRITE: i32 = 1 | 2;
        const SHARED: i32 = 1;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe {
            v4l2::mmap(
                ptr::null_mut(),
                length,
                READ_WRITE,
                SHARED,
                device.handle.fd(),
                offset.into(),
            )
        }?;
        Ok(Self {
            start: start.cast(),
            length,
        })
    }

    /// Returns the first `length` bytes, or as many as there are.
    fn first(&self, length: usize) -> &[u8] {
        // SAFETY: `length` bytes are mapped until this value is dropped. The driver writes into
        // them only between queueing and dequeueing, and they are read after the latter.
        unsafe { slice::from_raw_parts(self.start, length.min(self.length)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any longer.
        unsafe { v4l2::munmap(self.start.cast(), self.length) }.ok();
    }
}
