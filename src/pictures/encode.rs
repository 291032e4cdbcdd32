//! Encodes pixels as the content of a file, and that as text.

use std::io::Cursor;

use flawd_core::image::{RgbImage, Size};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

/// Returns the content of a PNG file with these pixels, without loss.
///
/// # Errors
/// If the picture exceeds the maximum size of a PNG.
pub fn png(image: &RgbImage) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    write(PngEncoder::new(&mut bytes), image)?;
    Ok(bytes.into_inner())
}

/// Returns the content of a JPEG file that shows these pixels, at a quality of 1 to 100.
///
/// # Errors
/// If a side has more than 65535 pixels, the maximum of a JPEG.
pub fn jpeg(image: &RgbImage, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    write(JpegEncoder::new_with_quality(&mut bytes, quality), image)?;
    Ok(bytes)
}

fn write(encoder: impl ImageEncoder, image: &RgbImage) -> ImageResult<()> {
    let side = |length| u32::try_from(length).expect("image files have 32-bit sides");
    let Size { width, height } = image.size();
    encoder.write_image(
        image.pixels(),
        side(width),
        side(height),
        ExtendedColorType::Rgb8,
    )
}
