//! Which pictures of GStreamer's are read, from its caps to pixels; and what to do about others.

use std::fmt;

use flawd_core::depth::{DeepImage, Picture};
use flawd_core::image::{RgbImage, Size};
use gst_video::{VideoFormat, VideoFrameExt, VideoFrameRef, VideoInfo, VideoInterlaceMode};

use crate::line::pipeline::part::frame::FrameError;
use crate::pictures::decode;

/// Why the pictures of a pipeline cannot be read, and how its end has to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it delivers {given}, which flawd does not read: {remedy}")]
pub struct Unreadable {
    /// What it delivers.
    given: String,
    /// How to change that.
    remedy: &'static str,
}

/// What the pictures of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// GStreamer's name of the format, or `JPEG`.
    pub format: &'static str,
    /// Their size.
    pub size: Size,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { height, width } = self.size;
        write!(f, "{} {width}x{height}", self.format)
    }
}

/// The formats that are read without a conversion, in the order in which a converter that has the
/// choice takes them.
const FORMATS: [(VideoFormat, &str, Samples); 9] = [
    (VideoFormat::Rgb, "RGB", Samples::Colour([0, 1, 2], 3)),
    (VideoFormat::Bgr, "BGR", Samples::Colour([2, 1, 0], 3)),
    (VideoFormat::Rgbx, "RGBx", Samples::Colour([0, 1, 2], 4)),
    (VideoFormat::Bgrx, "BGRx", Samples::Colour([2, 1, 0], 4)),
    (VideoFormat::Xrgb, "xRGB", Samples::Colour([1, 2, 3], 4)),
    (VideoFormat::Xbgr, "xBGR", Samples::Colour([3, 2, 1], 4)),
    (VideoFormat::Gray8, "GRAY8", Samples::Grey),
    (
        VideoFormat::Gray16Le,
        "GRAY16_LE",
        Samples::Deep(u16::from_le_bytes),
    ),
    (
        VideoFormat::Gray16Be,
        "GRAY16_BE",
        Samples::Deep(u16::from_be_bytes),
    ),
];

const JPEG: &str = "JPEG";

/// The bytes of a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Samples {
    /// Where red, green and blue are, and how many bytes there are in all.
    Colour([usize; 3], usize),
    Grey,
    /// Two bytes; how many of the bits count is unknown.
    Deep(fn([u8; 2]) -> u16),
}

impl Samples {
    fn bytes(self) -> usize {
        match self {
            Self::Colour(_, bytes) => bytes,
            Self::Grey => 1,
            Self::Deep(_) => 2,
        }
    }
}

/// Returns the caps of everything that is read.
pub(super) fn readable() -> gst::Caps {
    let formats = FORMATS.map(|(format, ..)| format);
    let mut caps = gst_video::VideoCapsBuilder::new()
        .format_list(formats)
        .build();
    let jpeg = gst::Structure::new_empty("image/jpeg");
    caps.make_mut().append_structure(jpeg);
    caps
}

/// How the buffers of a stream are read.
#[derive(Clone, Debug)]
pub(super) enum Coding {
    Jpeg,
    Raw(Box<VideoInfo>, &'static str, Samples),
}

impl Coding {
    /// Finds how buffers with these caps are read.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn new(caps: &gst::CapsRef) -> Result<Self, Unreadable> {
        let structure = caps.structure(0);
        if structure.is_some_and(|it| it.name() == "image/jpeg") {
            return Ok(Self::Jpeg);
        }
        let info = VideoInfo::from_caps(caps).ok();
        let known = info.as_ref().and_then(|info| {
            let known = FORMATS.iter().find(|(format, ..)| *format == info.format());
            known.filter(|_| has_plain_memory(caps))
        });
        match (info, known) {
            (Some(info), Some(&(_, name, samples))) if is_whole(&info) => {
                Ok(Self::Raw(Box::new(info), name, samples))
            }
            _ => Err(Unreadable::of(caps)),
        }
    }

    /// Copies what a buffer holds: a JPEG, or rows without padding.
    pub(super) fn copy(&self, buffer: &gst::BufferRef) -> Result<Vec<u8>, FrameError> {
        if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
            return Err(FrameError::Damaged);
        }
        let short = |expected| FrameError::Short {
            given: buffer.size(),
            expected,
        };
        match self {
            Self::Jpeg => match buffer.map_readable() {
                Ok(bytes) => Ok(bytes.to_vec()),
                Err(_) => Err(short(buffer.size())),
            },
            Self::Raw(info, _, samples) => {
                let frame = VideoFrameRef::from_buffer_ref_readable(buffer, info);
                let frame = frame.map_err(|_| short(info.size()))?;
                let bytes = frame.plane_data(0).map_err(|_| short(info.size()))?;
                let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(0);
                let row = info.width() as usize * samples.bytes();
                rows(bytes, stride, row, info.height() as usize)
            }
        }
    }

    /// Converts copied bytes to a picture. A JPEG must have the size of the `agreed` form, if there
    /// is one.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(super) fn picture(
        &self,
        bytes: &[u8],
        agreed: Option<Form>,
    ) -> Result<(Form, Picture), FrameError> {
        let Self::Raw(info, format, samples) = self else {
            let image = match agreed.filter(|form| form.format == JPEG) {
                Some(form) => decode::jpeg_frame(bytes, form.size),
                None => decode::first_jpeg_frame(bytes),
            };
            let image = image.map_err(FrameError::Jpeg)?;
            return Ok((jpeg(image.size()), image.into()));
        };
        let size = Size::new(info.height() as usize, info.width() as usize);
        let pixels = match *samples {
            Samples::Colour(places, width) => {
                let pixels = bytes.chunks_exact(width);
                pixels
                    .flat_map(|pixel| places.map(|place| pixel[place]))
                    .collect()
            }
            Samples::Grey => bytes.iter().flat_map(|&value| [value; 3]).collect(),
            Samples::Deep(from_bytes) => {
                let samples = bytes.chunks_exact(2).map(|it| from_bytes([it[0], it[1]]));
                let image = DeepImage::new(size, samples.collect())?;
                return Ok((Form { format, size }, Picture::Deep(image)));
            }
        };
        Ok((Form { format, size }, RgbImage::new(size, pixels)?.into()))
    }
}

/// Returns the form of JPEG pictures.
pub(super) fn jpeg(size: Size) -> Form {
    Form { format: JPEG, size }
}

/// Returns whether pictures are taken at one moment each, and lie in one buffer.
fn is_whole(info: &VideoInfo) -> bool {
    info.interlace_mode() == VideoInterlaceMode::Progressive
        && info.width() > 0
        && info.height() > 0
}

fn has_plain_memory(caps: &gst::CapsRef) -> bool {
    let features = caps.features(0);
    features.is_none_or(|it| it.is_empty() || it.contains("memory:SystemMemory"))
}

/// Returns rows without padding; the last one need not have any.
fn rows(bytes: &[u8], stride: usize, row: usize, rows: usize) -> Result<Vec<u8>, FrameError> {
    let least = stride.saturating_mul(rows - 1).saturating_add(row);
    if stride < row || bytes.len() < least {
        return Err(FrameError::Short {
            given: bytes.len(),
            expected: least.max(row.saturating_mul(rows)),
        });
    }
    let padded = bytes.chunks(stride).take(rows);
    Ok(padded.flat_map(|padded| &padded[..row]).copied().collect())
}

impl Unreadable {
    /// Describes caps that are not read.
    pub(super) fn of(caps: &gst::CapsRef) -> Self {
        let Some(structure) = caps.structure(0) else {
            return Self {
                given: "nothing that can be described".to_owned(),
                remedy: "end the pipeline with `! videoconvert`",
            };
        };
        let name = structure.name().as_str();
        let memory = caps.features(0).filter(|_| !has_plain_memory(caps));
        let memory = memory.map(|it| format!("({it})")).unwrap_or_default();
        let format = structure.get::<&str>("format").unwrap_or_default();
        let mode = structure.get::<&str>("interlace-mode").unwrap_or_default();
        let is_interlaced = !["", "progressive"].contains(&mode);
        let mode = if is_interlaced { mode } else { "" };
        let words = [&format!("{name}{memory}"), format, mode];
        let given: Vec<_> = words.into_iter().filter(|it| !it.is_empty()).collect();
        let remedy = match name {
            "video/x-raw" if !memory.is_empty() => {
                "copy the pictures to the system's memory at the end of the pipeline, on a Jetson \
                 with `! nvvidconv ! video/x-raw,format=BGRx`"
            }
            "video/x-raw" if is_interlaced => {
                "end the pipeline with `! deinterlace ! videoconvert`, or let the camera send \
                 whole pictures"
            }
            "video/x-raw" => "end the pipeline with `! videoconvert`",
            "video/x-bayer" => "end the pipeline with `! bayer2rgb ! videoconvert`",
            "multipart/x-mixed-replace" => "end the pipeline with `! multipartdemux ! image/jpeg`",
            _ if name.starts_with("audio/") => "take the camera's pictures, and not its sound",
            _ => "decode it at the end of the pipeline, `! decodebin ! videoconvert`",
        };
        Self {
            given: given.join(" "),
            remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use flawd_core::depth::Depth;
    use gst_video::{VideoFrameFlags, VideoMeta};

    use super::*;

    /// A pixel differs from all others; what is between rows is not of the picture.
    fn padded(info: &VideoInfo, bytes: usize, stride: usize) -> gst::Buffer {
        let (row, rows) = (info.width() as usize * bytes, info.height() as usize);
        let mut all = vec![0xee; stride * rows];
        for (number, line) in all.chunks_mut(stride).enumerate() {
            for (place, value) in line[..row].iter_mut().enumerate() {
                *value = (number * row + place) as u8;
            }
        }
        let mut buffer = gst::Buffer::from_mut_slice(all);
        VideoMeta::add_full(
            buffer.get_mut().unwrap(),
            VideoFrameFlags::empty(),
            info.format(),
            info.width(),
            info.height(),
            &[0],
            &[stride as i32],
        )
        .unwrap();
        buffer
    }

    fn coding(format: VideoFormat, width: u32, height: u32) -> (VideoInfo, Coding) {
        gst::init().unwrap();
        let info = VideoInfo::builder(format, width, height).build().unwrap();
        let coding = Coding::new(&info.to_caps().unwrap()).unwrap();
        (info, coding)
    }

    #[test]
    fn padding_changes_no_pixel_of_any_format() {
        for (format, name, samples) in FORMATS {
            let (info, coding) = coding(format, 5, 3);
            let row = 5 * samples.bytes();
            let expected: Vec<_> = (0..3 * row).map(|it| it as u8).collect();
            for stride in [row, row + 1, row + 16] {
                let buffer = padded(&info, samples.bytes(), stride);
                assert_eq!(coding.copy(&buffer).unwrap(), expected, "{name} {stride}");
            }
            let (form, picture) = coding.picture(&expected, None).unwrap();
            let image = picture.at(Some(Depth::FULL)).unwrap();
            assert_eq!(image.size(), Size::new(3, 5));
            assert_eq!(form.to_string(), format!("{name} 5x3"));
        }
    }

    #[test]
    fn colours_are_where_the_format_has_them() {
        for (format, pixel) in [
            (VideoFormat::Rgb, vec![1, 2, 3]),
            (VideoFormat::Bgr, vec![3, 2, 1]),
            (VideoFormat::Rgbx, vec![1, 2, 3, 9]),
            (VideoFormat::Bgrx, vec![3, 2, 1, 9]),
            (VideoFormat::Xrgb, vec![9, 1, 2, 3]),
            (VideoFormat::Xbgr, vec![9, 3, 2, 1]),
        ] {
            let (_, coding) = coding(format, 1, 1);
            let image = coding.picture(&pixel, None).unwrap().1.at(None).unwrap();
            assert_eq!(image.pixels(), [1, 2, 3], "{format:?}");
        }
        for (format, bytes) in [
            (VideoFormat::Gray16Le, [0x34, 0x12]),
            (VideoFormat::Gray16Be, [0x12, 0x34]),
        ] {
            let (_, coding) = coding(format, 1, 1);
            let (_, picture) = coding.picture(&bytes, None).unwrap();
            assert!(matches!(&picture, Picture::Deep(it) if it.samples() == [0x1234]));
        }
    }

    #[test]
    fn a_buffer_that_is_marked_as_damaged_or_too_short_is_no_picture() {
        let (info, coding) = coding(VideoFormat::Rgb, 8, 4);
        let mut damaged = padded(&info, 3, 24);
        damaged
            .get_mut()
            .unwrap()
            .set_flags(gst::BufferFlags::CORRUPTED);
        let refused = coding.copy(&damaged);
        assert!(matches!(refused, Err(FrameError::Damaged)), "{refused:?}");
        let short = gst::Buffer::from_mut_slice(vec![0_u8; 8 * 4 * 3 - 1]);
        let refused = coding.copy(&short);
        assert!(
            matches!(refused, Err(FrameError::Short { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn pictures_in_the_memory_of_a_processor_are_refused_with_the_way_out() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("video/x-raw")
            .features(["memory:NVMM"])
            .field("format", "NV12")
            .field("width", 64)
            .field("height", 48)
            .build();
        let refused = Coding::new(&caps).unwrap_err().to_string();
        assert!(
            refused.contains("video/x-raw(memory:NVMM) NV12"),
            "{refused}"
        );
        assert!(refused.contains("nvvidconv"), "{refused}");
        let sound = gst::Caps::builder("audio/x-raw").build();
        let refused = Coding::new(&sound).unwrap_err().to_string();
        assert!(refused.contains("audio/x-raw"), "{refused}");
    }
}
