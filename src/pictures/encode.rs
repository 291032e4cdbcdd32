//! From pixels to the content of a file, and from that to text.

use std::io::Cursor;

use flawd_core::image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

/// The content of a PNG file with these pixels, without loss.
///
/// # Errors
/// If the picture is larger than a PNG can be.
pub fn png(image: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let side = |length| u32::try_from(length).expect("image files have 32-bit sides");
    PngEncoder::new(&mut bytes).write_image(
        image.pixels(),
        side(image.size().width),
        side(image.size().height),
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes.into_inner())
}

/// The content of a JPEG file that shows these pixels, at a quality of 1 to 100.
///
/// # Errors
/// If a side has more than 65535 pixels, which a JPEG cannot have.
pub fn jpeg(image: &RgbImage, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let side = |length| u32::try_from(length).expect("image files have 32-bit sides");
    JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
        image.pixels(),
        side(image.size().width),
        side(image.size().height),
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// Bytes as text: the standard alphabet of RFC 4648 section 4, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |place: usize| u32::from(chunk.get(place).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648 section 10, and every letter of the alphabet.
    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        let all: Vec<u8> = (0..64_u32)
            .step_by(4)
            .flat_map(|i| {
                (i << 18 | (i + 1) << 12 | (i + 2) << 6 | (i + 3)).to_be_bytes()[1..].to_vec()
            })
            .collect();
        assert_eq!(
            base64(&all),
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        );
    }
}
