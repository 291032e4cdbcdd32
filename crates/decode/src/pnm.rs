//! The check of a PNM before it is decoded: no sample may be above the white that it states.
//!
//! Others are damaged, and the decoder would wrap their samples round to some other level.

use std::io::{Cursor, Read};

use image::ImageDecoder;
use image::codecs::pnm::{PnmDecoder, PnmSubtype, SampleEncoding};

use super::Problem;

/// Looks at all samples of a PNM; what cannot be parsed is left to the decoder.
///
/// # Errors
/// If one is above white.
pub(super) fn judge(bytes: &[u8]) -> Result<(), Problem> {
    match highest(bytes) {
        Some((white, highest)) if highest > white => Err(Problem::Damaged(format!(
            "it has the value {highest}, and its header says that white is {white}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the white of a PNM, and its highest sample.
fn highest(bytes: &[u8]) -> Option<(u32, u32)> {
    let decoder = PnmDecoder::new(Cursor::new(bytes)).ok()?;
    let samples = decoder.total_bytes();
    let (mut rest, header) = decoder.into_inner();
    let white = header.maximal_sample();
    let is_text = match header.subtype() {
        PnmSubtype::Bitmap(_) => return None,
        PnmSubtype::Graymap(coding) | PnmSubtype::Pixmap(coding) => coding == SampleEncoding::Ascii,
        PnmSubtype::ArbitraryMap => false,
    };
    let highest = if is_text {
        let mut text = String::new();
        rest.read_to_string(&mut text).ok()?;
        let numbers = text.split_ascii_whitespace();
        let count = if white < 256 { samples } else { samples / 2 };
        let values = numbers.filter_map(|it| it.parse().ok());
        values.take(count as usize).max()?
    } else {
        // All values of one or two bytes are allowed.
        if matches!(white, 255 | 65535) {
            return None;
        }
        let mut data = Vec::new();
        rest.take(samples).read_to_end(&mut data).ok()?;
        if white < 256 {
            data.into_iter().max()?.into()
        } else {
            let words = data.chunks_exact(2);
            words
                .map(|it| u16::from_be_bytes([it[0], it[1]]))
                .max()?
                .into()
        }
    };
    Some((white, highest))
}
