//! JPEG files, and camera frames in JPEG: checked first, then decoded.
//!
//! The decoder is lenient: it fills missing data with grey, and a part that was not photographed
//! would get a verdict. Its strict mode checks only once per row of blocks whether data was
//! missing, and never whether too much was left. So the entropy-coded data is walked first: every
//! scan has to have every block, restart markers have to be in order, and nothing may be left over.
//! The walk costs about half as much again as the decoding (real images of 24 to 60 KB, a loaded
//! machine).
//!
//! ```text
//! bytes ─► header: segments, size, tables ─► scan: every block of every scan ─► zune-jpeg ─► RGB
//!               └─ admit(size) before anything is allocated
//! ```

use std::borrow::Cow;

use flawd_core::image::{RgbImage, Size};
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::limit::TooLittle;

mod frame;
mod header;
mod huffman;
mod scan;
mod standard;
#[cfg(test)]
mod tests;

/// Bytes between the last block and the next marker that a camera's frame may have. Logitech's
/// cameras leave 1 to 9 in nearly every frame, and the pictures are whole; files written by
/// programs have none.
const CAMERA_SLACK: usize = 16;

/// Why a JPEG cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// Damage before the picture, or between its scans.
    #[error("it is damaged: {0}; copy or take it again")]
    Header(&'static str),
    /// A kind of JPEG that is not supported.
    #[error(
        "it is {0}, which is not supported: save it as a baseline or progressive JPEG, or as PNG"
    )]
    Unsupported(&'static str),
    /// The end marker is missing.
    #[error("it is cut short, the end of the image is missing: copy or take it again")]
    NoEnd,
    /// Data ends before the last block.
    #[error(
        "a part of the picture is missing: its data ends after {percent} % of it; copy or take it again"
    )]
    EndsEarly {
        /// The share of the scan that was there.
        percent: usize,
    },
    /// Data without a meaning.
    #[error("its data is damaged after {percent} % of the picture: copy or take it again")]
    LostStep {
        /// The share of the scan that was there.
        percent: usize,
    },
    /// More data than blocks.
    #[error(
        "{bytes} bytes are left behind its last block, so data was lost or changed: copy or take it \
         again, or save it again if it looks right"
    )]
    LeftOver {
        /// How much is left.
        bytes: usize,
    },
    /// A restart marker that is not the next one.
    #[error("a part of the picture is missing after {percent} % of it: copy or take it again")]
    RestartOrder {
        /// The share of the scan that was there.
        percent: usize,
    },
    /// Scans that do not follow from each other.
    #[error("it is damaged, a scan is missing or comes twice: copy or take it again")]
    ScanOrder,
    /// A size that the file cannot hold.
    #[error(transparent)]
    TooLittle(#[from] TooLittle),
    /// The decoder's error.
    #[error("it is damaged, or of a kind that is not read: {0}; copy or save it again")]
    Decoder(String),
}

/// Decodes a file's content, with its EXIF orientation.
///
/// # Errors
/// [`JpegError`], or the error of `admit` about the size.
pub(super) fn decode_file<E: From<JpegError>>(
    bytes: &[u8],
    admit: impl FnOnce(Size) -> Result<(), E>,
) -> Result<(RgbImage, Orientation), E> {
    decode(bytes, 0, admit)
}

/// Decodes a camera's frame, whose size was negotiated.
///
/// # Errors
/// [`JpegError`], or the error of `admit` about the size.
pub(super) fn decode_frame<E: From<JpegError>>(
    bytes: &[u8],
    admit: impl FnOnce(Size) -> Result<(), E>,
) -> Result<RgbImage, E> {
    decode(bytes, CAMERA_SLACK, admit).map(|(image, _)| image)
}

fn decode<E: From<JpegError>>(
    bytes: &[u8],
    slack: usize,
    admit: impl FnOnce(Size) -> Result<(), E>,
) -> Result<(RgbImage, Orientation), E> {
    let checked = header::check(bytes, slack, admit)?;
    let picture = &bytes[..checked.end];
    let whole = if checked.needs_tables {
        let (start, rest) = picture.split_at(2);
        Cow::Owned([start, &standard::SEGMENT, rest].concat())
    } else {
        Cow::Borrowed(picture)
    };
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(whole.as_ref()), options);
    let failed = |error: zune_jpeg::errors::DecodeErrors| JpegError::Decoder(error.to_string());
    let pixels = decoder.decode().map_err(failed)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let exif = decoder.exif().map(Vec::as_slice).unwrap_or_default();
    let orientation = Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
    let image = RgbImage::new(Size::new(height, width), pixels)
        .map_err(|error| JpegError::Decoder(error.to_string()))?;
    Ok((image, orientation))
}
