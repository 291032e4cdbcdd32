//! From the bytes of a camera's frame to RGB.
//!
//! YUYV and NV12 are converted by nokhwa, which takes them for BT.601 with studio range (16 is
//! black, 235 white): the usual meaning for USB cameras.

use flawd_core::image::{RgbImage, Size};
use nokhwa::{
    Buffer,
    utils::{FrameFormat, nv12_to_rgb, yuyv422_to_rgb},
};

use crate::decode;

/// Converts a frame.
///
/// # Errors
/// What is wrong with the bytes; the next frame may be fine.
pub(super) fn to_rgb(frame: &Buffer) -> Result<RgbImage, String> {
    let resolution = frame.resolution();
    let size = Size::new(resolution.height() as usize, resolution.width() as usize);
    let pixels = match frame.source_frame_format() {
        FrameFormat::MJPEG => {
            return decode::jpeg_frame(frame.buffer(), size)
                .map_err(|problem| format!("the JPEG frame cannot be decoded: {problem}"));
        }
        FrameFormat::YUYV => yuyv422_to_rgb(exactly(frame, size.area() * 2)?, false)
            .map_err(|error| error.to_string())?,
        FrameFormat::NV12 => nv12_to_rgb(resolution, exactly(frame, size.area() * 3 / 2)?, false)
            .map_err(|error| error.to_string())?,
        other => return Err(format!("frames in {other} are not supported")),
    };
    RgbImage::new(size, pixels).map_err(|error| error.to_string())
}

/// The first `length` bytes; drivers may pad at the end, but a short frame is a torn one.
fn exactly(frame: &Buffer, length: usize) -> Result<&[u8], String> {
    let bytes = frame.buffer();
    bytes.get(..length).ok_or_else(|| {
        format!(
            "a frame of {} bytes where {length} were expected",
            bytes.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use nokhwa::utils::Resolution;

    use super::*;

    fn convert(bytes: &[u8], format: FrameFormat) -> Result<RgbImage, String> {
        to_rgb(&Buffer::new(Resolution::new(2, 2), bytes, format))
    }

    #[test]
    fn black_white_and_red_come_out_as_such() {
        // Rows of YUYV: black and white without colour, then pure red twice (BT.601).
        let yuyv = [16, 128, 235, 128, 81, 90, 81, 240];
        let image = convert(&yuyv, FrameFormat::YUYV).unwrap();
        assert_eq!(image.pixels()[..6], [0, 0, 0, 255, 255, 255]);
        assert_eq!(image.pixels()[6..], [255, 0, 0, 255, 0, 0]);
    }

    #[test]
    fn nv12_shares_one_colour_between_four_pixels() {
        let image = convert(&[81, 81, 81, 81, 90, 240], FrameFormat::NV12).unwrap();
        assert_eq!(image.pixels(), [255, 0, 0].repeat(4));
    }

    #[test]
    fn padding_is_ignored_and_a_torn_frame_refused() {
        assert!(convert(&[128; 10], FrameFormat::YUYV).is_ok());
        let problem = convert(&[128; 7], FrameFormat::YUYV).unwrap_err();
        assert_eq!(problem, "a frame of 7 bytes where 8 were expected");
    }

    #[test]
    fn a_broken_jpeg_is_an_error_of_that_frame() {
        let problem = convert(&[0xff, 0xd8, 0xff], FrameFormat::MJPEG).unwrap_err();
        assert!(problem.contains("the JPEG frame"), "{problem}");
    }
}
