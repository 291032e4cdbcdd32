//! What is requested from a driver, and whether its answer matches.

use flawd_core::image::Size;
use v4l::v4l_sys::v4l2_pix_format;

use super::device::{Device, OfferedSize, no_format};
use super::error::{AgreeError, DeviceError, FormatMismatch};
use crate::line::config::{PixelFormat, V4l2};
use crate::line::pipeline::capture::pixels::Layout;

/// A non-interlaced picture; drivers of interlaced cameras answer otherwise.
const PROGRESSIVE: u32 = 1;

/// Returns the code of a pixel format.
fn code(format: PixelFormat) -> [u8; 4] {
    *match format {
        PixelFormat::Mjpeg => b"MJPG",
        PixelFormat::Yuyv => b"YUYV",
        PixelFormat::Nv12 => b"NV12",
        PixelFormat::Grey => b"GREY",
        PixelFormat::Y10 => b"Y10 ",
        PixelFormat::Y12 => b"Y12 ",
        PixelFormat::Y16 => b"Y16 ",
    }
}

/// Sets up a device as the configuration says.
///
/// # Errors
/// [`AgreeError`], or the system's error for a call.
pub(crate) fn agree(device: &Device, options: &V4l2) -> Result<Layout, DeviceError> {
    if !device.can_capture()? {
        return Err(AgreeError::NoPictures.into());
    }
    let asked = v4l2_pix_format {
        width: options.width,
        height: options.height,
        pixelformat: u32::from_le_bytes(code(options.format)),
        field: PROGRESSIVE,
        ..no_format()
    };
    let given = device.set_format(asked)?;
    let layout = layout(options, &given).map_err(|mismatch| AgreeError::Format {
        mismatch,
        offer: offer(device, options),
    })?;
    match device.set_rate(options.rate)? {
        Some(interval) if !is_rate(options.rate, interval) => {
            let (numerator, denominator) = interval;
            let error = AgreeError::Rate {
                asked: options.rate,
                given: f64::from(denominator) / f64::from(numerator.max(1)),
            };
            Err(error.into())
        }
        // A driver that does not report a rate gets it from elsewhere: a trigger, or a control.
        _ => Ok(layout),
    }
}

/// Returns the memory layout of the frames.
fn layout(options: &V4l2, given: &v4l2_pix_format) -> Result<Layout, FormatMismatch> {
    let is_asked = given.pixelformat == u32::from_le_bytes(code(options.format))
        && (given.width, given.height) == (options.width, options.height);
    if !is_asked {
        let described = |code, width: u32, height: u32| format!("{} {width}x{height}", text(code));
        return Err(FormatMismatch::Other {
            asked: described(code(options.format), options.width, options.height),
            given: described(given.pixelformat.to_le_bytes(), given.width, given.height),
        });
    }
    if given.field != PROGRESSIVE {
        return Err(FormatMismatch::Interlaced);
    }
    let size = Size::new(given.height as usize, given.width as usize);
    Ok(Layout::new(
        options.format,
        size,
        given.bytesperline as usize,
    )?)
}

/// Returns whether frames come at the requested rate, within one per cent: television's 30 is
/// 29.97.
fn is_rate(asked: u32, (numerator, denominator): (u32, u32)) -> bool {
    let (asked, given) = (
        u64::from(asked) * u64::from(numerator),
        u64::from(denominator),
    );
    numerator > 0 && asked.abs_diff(given) * 100 <= asked
}

/// Describes what a device offers, human-readable.
fn offer(device: &Device, options: &V4l2) -> String {
    let formats: Vec<_> = device.formats().into_iter().map(text).collect();
    let sizes = device
        .sizes(code(options.format))
        .into_iter()
        .map(|size| match size {
            OfferedSize::One(width, height) => format!("{width}x{height}"),
            OfferedSize::From((w, h), (most_w, most_h)) => {
                format!("from {w}x{h} to {most_w}x{most_h}")
            }
        });
    let sizes: Vec<_> = sizes.collect();
    let sizes = if sizes.is_empty() {
        String::new()
    } else {
        format!(" ({} in {})", sizes.join(", "), text(code(options.format)))
    };
    format!(
        "it offers {}{sizes}; `v4l2-ctl --list-formats-ext` shows all",
        formats.join(", ")
    )
}

fn text(code: [u8; 4]) -> String {
    code.escape_ascii().to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(format: PixelFormat) -> V4l2 {
        V4l2 {
            format,
            width: 640,
            height: 480,
            ..V4l2::default()
        }
    }

    fn given(format: PixelFormat) -> v4l2_pix_format {
        v4l2_pix_format {
            width: 640,
            height: 480,
            pixelformat: u32::from_le_bytes(code(format)),
            field: PROGRESSIVE,
            bytesperline: 1344,
            ..no_format()
        }
    }

    #[test]
    fn what_the_driver_changes_is_named_and_refused() {
        let options = options(PixelFormat::Yuyv);
        assert!(layout(&options, &given(PixelFormat::Yuyv)).is_ok());
        let mut other = given(PixelFormat::Yuyv);
        other.height = 360;
        let problem = layout(&options, &other).unwrap_err().to_string();
        assert!(problem.contains("YUYV 640x360"), "{problem}");
        let problem = layout(&options, &given(PixelFormat::Y10)).unwrap_err();
        let problem = problem.to_string();
        assert!(problem.contains("it gives Y10 640x480"), "{problem}");
        let mut interlaced = given(PixelFormat::Yuyv);
        interlaced.field = 4;
        let problem = layout(&options, &interlaced).unwrap_err();
        assert_eq!(problem, FormatMismatch::Interlaced);
    }

    #[test]
    fn a_rate_may_be_a_fraction_beside_the_asked_one() {
        for interval in [(1, 30), (1001, 30000), (333_333, 10_000_000), (2, 60)] {
            assert!(is_rate(30, interval), "{interval:?}");
        }
        for interval in [(1, 25), (1, 15), (0, 0), (0, 30), (1, 0), (u32::MAX, 1)] {
            assert!(!is_rate(30, interval), "{interval:?}");
        }
    }
}
