//! The check of a TIFF before it is decoded: it has to be one picture of supported pixels.
//!
//! A TIFF may hold several pictures, a thumbnail first, and pixels of any kind. What cannot be read
//! correctly is refused here, with a message that says what it is and how to save it.

use std::io::Cursor;

use flawd_core::image::Size;
use tiff::decoder::Decoder;
use tiff::tags::{SampleFormat, Tag};
use tiff::{ColorType, TiffResult};

use super::Problem;

mod directory;

/// Most pictures in one file that are looked at; a camera's thumbnails and a pyramid have fewer.
const MOST_PAGES: usize = 32;

/// Bit of `NewSubfileType`: a smaller version of another picture in the file.
const IS_REDUCED: u32 = 1;

/// Looks at the directories of a TIFF; pixels are not touched.
///
/// # Errors
/// [`Problem`] if the first picture is not the main one, or not of a kind that can be read.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Problem> {
    directory::check(bytes)?;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?;
    let (first, is_reduced) = page(&mut decoder).map_err(damaged)?;
    if let Some(what) = unreadable(&mut decoder) {
        return Err(Problem::Unsupported(what));
    }
    if let Some((there, needed)) = too_few_bytes(&mut decoder, first) {
        return Err(Problem::Damaged(format!(
            "its strips have {there} bytes of {needed}"
        )));
    }
    if is_reduced {
        return Err(Problem::Thumbnail { size: first });
    }
    for _ in 0..MOST_PAGES {
        // An unreadable directory after the picture does not affect the picture.
        if !decoder.more_images() || decoder.next_image().is_err() {
            return Ok(());
        }
        match page(&mut decoder) {
            Ok((other, false)) if other.area() > first.area() => {
                return Err(Problem::Thumbnail { size: first });
            }
            Ok((other, false)) if other == first => {
                return Err(Problem::Unsupported(
                    "a TIFF with several pictures of one size: save the one that is meant as a separate file"
                        .to_owned(),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn damaged(error: tiff::TiffError) -> Problem {
    Problem::Damaged(error.to_string())
}

fn page(decoder: &mut Decoder<Cursor<&[u8]>>) -> TiffResult<(Size, bool)> {
    let (width, height) = decoder.dimensions()?;
    let kind: Option<u32> = decoder.find_tag_unsigned(Tag::NewSubfileType)?;
    let size = Size::new(height as usize, width as usize);
    Ok((size, kind.unwrap_or(0) & IS_REDUCED > 0))
}

/// Returns the bytes that the directory gives the pixels and the bytes that they take, if the first
/// are fewer; the decoder would go on with what follows. Packed pixels mark their own end.
fn too_few_bytes(decoder: &mut Decoder<Cursor<&[u8]>>, size: Size) -> Option<(u64, u64)> {
    const UNPACKED: u64 = 1;
    let mut tag = |tag| -> Option<Vec<u64>> { decoder.find_tag_unsigned_vec(tag).ok().flatten() };
    if tag(Tag::Compression).unwrap_or_default() != [UNPACKED] {
        return None;
    }
    let bits: u64 = match tag(Tag::BitsPerSample).unwrap_or_else(|| vec![1]) {
        one if one.len() == 1 => {
            let samples = tag(Tag::SamplesPerPixel).unwrap_or_else(|| vec![1]);
            one[0].saturating_mul(*samples.first()?)
        }
        each => each.iter().sum(),
    };
    let lengths = tag(Tag::StripByteCounts)?;
    let there = lengths
        .iter()
        .fold(0, |sum: u64, &length| sum.saturating_add(length));
    let row = (size.width as u64).saturating_mul(bits).div_ceil(8);
    let needed = row.saturating_mul(size.height as u64);
    (there < needed).then_some((there, needed))
}

/// Returns what pixels these are, if they cannot be read.
fn unreadable(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<String> {
    let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat);
    for format in formats.ok().flatten().unwrap_or_default() {
        match SampleFormat::from_u16(format) {
            Some(SampleFormat::Uint | SampleFormat::Void) => {}
            Some(SampleFormat::IEEEFP) => {
                return Some(
                    "a TIFF with floating-point pixels, whose range is not known: save it with 8 \
                     or 16 bits a channel"
                        .to_owned(),
                );
            }
            _ => {
                return Some(
                    "a TIFF with signed pixels: save it with 8 or 16 bits a channel, unsigned"
                        .to_owned(),
                );
            }
        }
    }
    const PALETTE: u32 = 3;
    let meaning = decoder.find_tag_unsigned(Tag::PhotometricInterpretation);
    if meaning.ok().flatten() == Some(PALETTE) {
        return Some("a TIFF with a palette: save it in RGB or grey".to_owned());
    }
    match decoder.colortype().ok()? {
        ColorType::Gray(1 | 8 | 16)
        | ColorType::GrayA(8 | 16)
        | ColorType::RGB(8 | 16)
        | ColorType::RGBA(8 | 16)
        | ColorType::CMYK(8 | 16) => None,
        ColorType::YCbCr(_) => Some(
            "a TIFF in YCbCr, as for a JPEG in it: save it in RGB, or as a JPEG file".to_owned(),
        ),
        ColorType::Gray(bits)
        | ColorType::GrayA(bits)
        | ColorType::RGB(bits)
        | ColorType::RGBA(bits)
        | ColorType::CMYK(bits) => Some(format!(
            "a TIFF with {bits} bits a channel: save it with 8 or 16"
        )),
        other => Some(format!(
            "a TIFF with pixels of the kind {other:?}: save it in RGB or grey"
        )),
    }
}
