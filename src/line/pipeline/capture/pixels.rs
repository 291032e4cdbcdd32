//! Converts the bytes of a camera's frame to RGB: a function of the agreed layout, the bytes, and
//! the driver's flags for them.
//!
//! A frame is a picture only if the driver reports it as intact and complete: a gap in a buffer
//! holds what an earlier frame has left in it, another part.
//!
//! YUYV and NV12 are converted by nokhwa, which treats them as BT.601 with studio range (16 is
//! black, 235 white): the usual meaning for USB cameras. For grey with 10 or 12 bits the white
//! level is known; with 16 it is not, because cameras of fewer bits use that format too, and the
//! model sets it.

use std::borrow::Cow;

use flawd_core::depth::{DeepImage, Depth, Picture};
use flawd_core::image::{RgbImage, Size};
use nokhwa::utils::{Resolution, nv12_to_rgb, yuyv422_to_rgb};

use crate::line::config::PixelFormat;
use crate::line::pipeline::part::frame::FrameError;
use crate::pictures::decode;

/// The memory layout of a camera's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    format: PixelFormat,
    size: Size,
    /// Bytes from one row to the next.
    stride: usize,
}

/// Why frames cannot have a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The format has no pictures of this size.
    #[error("a picture of {0} cannot be had in this format")]
    Size(Size),
    /// A row has more bytes than there are from one row to the next.
    #[error("rows of {stride} bytes do not hold {row}")]
    Stride {
        /// Bytes from one row to the next.
        stride: usize,
        /// Bytes of a row.
        row: usize,
    },
}

/// A frame as delivered by the driver.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    /// The bytes that the driver reports as written, up to the size of the buffer.
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes that it reports.
    pub(crate) used: usize,
    /// Whether it reports the frame as damaged.
    pub(crate) is_damaged: bool,
}

impl Layout {
    /// Creates the layout of pictures of `size` with `stride` bytes from row to row; 0 if the
    /// driver does not set it, as for compressed frames.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub(crate) fn new(format: PixelFormat, size: Size, stride: usize) -> Result<Self, LayoutError> {
        let is_odd = |side: usize| !side.is_multiple_of(2);
        let needs_even = match format {
            PixelFormat::Yuyv => is_odd(size.width),
            PixelFormat::Nv12 => is_odd(size.width) || is_odd(size.height),
            _ => false,
        };
        if size.area() == 0 || needs_even {
            return Err(LayoutError::Size(size));
        }
        let row = size.width.saturating_mul(bytes_of(format));
        match stride {
            0 => Ok(Self {
                format,
                size,
                stride: row,
            }),
            _ if stride < row => Err(LayoutError::Stride { stride, row }),
            _ => Ok(Self {
                format,
                size,
                stride,
            }),
        }
    }

    /// Converts a frame to a picture.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(crate) fn picture(&self, frame: &RawFrame) -> Result<Picture, FrameError> {
        if frame.is_damaged {
            return Err(FrameError::Damaged);
        }
        if frame.used > frame.bytes.len() {
            return Err(FrameError::Overlong {
                used: frame.used,
                buffer: frame.bytes.len(),
            });
        }
        let rows = self.size.height;
        let resolution = Resolution::new(self.size.width as u32, rows as u32);
        let refused = |error: nokhwa::NokhwaError| FrameError::Colours(error.to_string());
        let pixels = match self.format {
            PixelFormat::Mjpeg => {
                return decode::jpeg_frame(&frame.bytes, self.size)
                    .map(Picture::from)
                    .map_err(FrameError::Jpeg);
            }
            PixelFormat::Yuyv => {
                yuyv422_to_rgb(&self.rows(&frame.bytes, rows)?, false).map_err(refused)?
            }
            PixelFormat::Nv12 => {
                let rows = rows + rows / 2;
                nv12_to_rgb(resolution, &self.rows(&frame.bytes, rows)?, false).map_err(refused)?
            }
            PixelFormat::Grey => {
                let grey = self.rows(&frame.bytes, rows)?;
                grey.iter().flat_map(|&value| [value; 3]).collect()
            }
            PixelFormat::Y10 => return self.deep(&frame.bytes, Some(10)),
            PixelFormat::Y12 => return self.deep(&frame.bytes, Some(12)),
            PixelFormat::Y16 => return self.deep(&frame.bytes, None),
        };
        Ok(RgbImage::new(self.size, pixels)?.into())
    }

    /// Converts grey of more than 8 bits; the format sets how many, if it does.
    fn deep(&self, bytes: &[u8], bits: Option<u8>) -> Result<Picture, FrameError> {
        let bytes = self.rows(bytes, self.size.height)?;
        let samples = bytes.chunks_exact(2);
        let samples = samples.map(|it| u16::from_le_bytes([it[0], it[1]]));
        let image = DeepImage::new(self.size, samples.collect())?;
        let Some(depth) = bits.and_then(|bits| Depth::try_from(bits).ok()) else {
            return Ok(Picture::Deep(image));
        };
        match image.highest() {
            highest if highest > depth.white() => Err(FrameError::AboveWhite { highest, depth }),
            _ => Ok(image.with_white(depth.white()).into()),
        }
    }

    /// Returns the rows without padding.
    fn rows<'a>(&self, bytes: &'a [u8], rows: usize) -> Result<Cow<'a, [u8]>, FrameError> {
        let row = self.size.width * bytes_of(self.format);
        // The last row need not be padded.
        let least = self.stride.saturating_mul(rows - 1).saturating_add(row);
        if bytes.len() < least {
            return Err(FrameError::Short {
                given: bytes.len(),
                expected: least,
            });
        }
        if self.stride == row {
            return Ok(Cow::Borrowed(&bytes[..least]));
        }
        let rows = bytes.chunks(self.stride).take(rows);
        Ok(Cow::Owned(
            rows.flat_map(|padded| &padded[..row]).copied().collect(),
        ))
    }
}

/// Returns the bytes of one pixel in a row; in NV12, of its brightness.
fn bytes_of(format: PixelFormat) -> usize {
    match format {
        PixelFormat::Mjpeg | PixelFormat::Nv12 | PixelFormat::Grey => 1,
        PixelFormat::Yuyv | PixelFormat::Y10 | PixelFormat::Y12 | PixelFormat::Y16 => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWO: Size = Size::new(2, 2);

    fn frame(bytes: &[u8]) -> RawFrame {
        RawFrame {
            bytes: bytes.to_vec(),
            used: bytes.len(),
            is_damaged: false,
        }
    }

    fn convert(bytes: &[u8], format: PixelFormat) -> Result<RgbImage, FrameError> {
        let layout = Layout::new(format, TWO, 0).unwrap();
        Ok(layout.picture(&frame(bytes))?.at(None)?)
    }

    #[test]
    fn black_white_and_red_come_out_as_such() {
        // Rows of YUYV: black and white without colour, then pure red twice (BT.601).
        let yuyv = [16, 128, 235, 128, 81, 90, 81, 240];
        let image = convert(&yuyv, PixelFormat::Yuyv).unwrap();
        assert_eq!(image.pixels()[..6], [0, 0, 0, 255, 255, 255]);
        assert_eq!(image.pixels()[6..], [255, 0, 0, 255, 0, 0]);
    }

    #[test]
    fn nv12_shares_one_colour_between_four_pixels() {
        let image = convert(&[81, 81, 81, 81, 90, 240], PixelFormat::Nv12).unwrap();
        assert_eq!(image.pixels(), [255, 0, 0].repeat(4));
    }

    #[test]
    fn the_white_of_grey_is_that_of_its_bits() {
        let grey = convert(&[0, 7, 200, 255], PixelFormat::Grey).unwrap();
        assert_eq!(grey.pixels(), [[0; 3], [7; 3], [200; 3], [255; 3]].concat());
        let samples = |values: [u16; 4]| values.map(u16::to_le_bytes).concat();
        for (format, most) in [
            (PixelFormat::Y10, 0x3ff),
            (PixelFormat::Y12, 0xfff),
            (PixelFormat::Y16, 0xffff),
        ] {
            let image = convert(&samples([0, most / 2, most, 1]), format).unwrap();
            assert_eq!(
                image.pixels(),
                [[0; 3], [127; 3], [255; 3], [0; 3]].concat()
            );
        }
        let problem = convert(&samples([0, 0, 0, 0x400]), PixelFormat::Y10).unwrap_err();
        assert!(problem.to_string().contains("1024"), "{problem}");
    }

    /// Cameras of 10 and 12 bits also send Y16: the model determines which it is.
    #[test]
    fn a_camera_of_sixteen_bits_leaves_it_to_the_model_which_value_is_white() {
        let bytes = [0, 2047, 4095, 1].map(u16::to_le_bytes).concat();
        let layout = Layout::new(PixelFormat::Y16, TWO, 0).unwrap();
        let at = |depth| layout.picture(&frame(&bytes)).unwrap().at(depth);
        let twelve = at(Some(Depth::holding(4095))).unwrap();
        assert_eq!(
            twelve.pixels(),
            [[0; 3], [127; 3], [255; 3], [0; 3]].concat()
        );
        assert!(at(None).is_err(), "nearly black");
        assert!(at(Some(Depth::holding(1023))).is_err(), "above white");
    }

    #[test]
    fn what_follows_the_picture_is_ignored_and_a_torn_frame_refused() {
        assert!(convert(&[128; 10], PixelFormat::Yuyv).is_ok());
        let problem = convert(&[128; 7], PixelFormat::Yuyv).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "a frame of 7 bytes where 8 were expected"
        );
    }

    /// The length of a buffer proves nothing: it is always that of a whole frame.
    #[test]
    fn a_frame_that_the_driver_calls_damaged_or_that_is_too_long_is_refused() {
        let layout = Layout::new(PixelFormat::Yuyv, TWO, 0).unwrap();
        let damaged = RawFrame {
            is_damaged: true,
            ..frame(&[128; 8])
        };
        let refused = layout.picture(&damaged);
        assert!(matches!(refused, Err(FrameError::Damaged)), "{refused:?}");
        let long = RawFrame {
            used: 9,
            ..frame(&[128; 8])
        };
        let refused = layout.picture(&long);
        let is_named = matches!(refused, Err(FrameError::Overlong { used: 9, buffer: 8 }));
        assert!(is_named, "{refused:?}");
    }

    #[test]
    fn a_broken_jpeg_is_an_error_of_that_frame() {
        let problem = convert(&[0xff, 0xd8, 0xff], PixelFormat::Mjpeg).unwrap_err();
        assert!(matches!(problem, FrameError::Jpeg(_)), "{problem}");
    }

    fn any_format() -> impl Strategy<Value = PixelFormat> {
        use PixelFormat::{Grey, Mjpeg, Nv12, Y10, Y12, Y16, Yuyv};
        proptest::sample::select(vec![Mjpeg, Yuyv, Nv12, Grey, Y10, Y12, Y16])
    }

    proptest! {
        /// Whatever a driver answers: a picture of the agreed size, or an error.
        #[test]
        fn no_answer_of_a_driver_makes_a_panic(
            format in any_format(),
            size in (0..20_usize, 0..20_usize),
            stride in 0..60_usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            used in 0..2000_usize,
            is_damaged in any::<bool>(),
        ) {
            let size = Size::new(size.0, size.1);
            let frame = RawFrame { bytes, used, is_damaged };
            if let Ok(layout) = Layout::new(format, size, stride)
                && let Ok(picture) = layout.picture(&frame)
            {
                let image = picture.at(Some(Depth::FULL)).unwrap();
                prop_assert!(image.size() == size && !is_damaged && used <= frame.bytes.len());
            }
        }

        /// Padding changes no pixel, even if it holds data.
        #[test]
        fn padded_rows_give_the_same_picture(
            format in any_format().prop_filter("it has rows", |&format| format != PixelFormat::Mjpeg),
            size in (1..8_usize, 1..8_usize),
            padding in 1..9_usize,
            noise in any::<u8>(),
        ) {
            let size = Size::new(size.0 * 2, size.1 * 2);
            let row = size.width * bytes_of(format);
            let rows = if format == PixelFormat::Nv12 { size.height / 2 * 3 } else { size.height };
            // High bytes stay 0, so that every depth accepts them.
            let tight: Vec<u8> = (0..rows * row)
                .map(|i| if i % 2 == 1 && bytes_of(format) == 2 && format != PixelFormat::Yuyv { 0 } else { (i * 7) as u8 })
                .collect();
            let padded: Vec<u8> = tight
                .chunks(row)
                .flat_map(|row| [row, &vec![noise; padding]].concat())
                .collect();
            let expected = Layout::new(format, size, 0).unwrap().picture(&frame(&tight)).unwrap();
            let layout = Layout::new(format, size, row + padding).unwrap();
            prop_assert_eq!(layout.picture(&frame(&padded)).unwrap(), expected.clone());
            // The last row need not be padded, and not a byte of it may be missing.
            let least = padded.len() - padding;
            prop_assert_eq!(layout.picture(&frame(&padded[..least])).unwrap(), expected);
            prop_assert!(layout.picture(&frame(&padded[..least - 1])).is_err());
        }
    }
}
