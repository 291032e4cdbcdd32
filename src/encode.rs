//! From pixels to a PNG file's content.

use std::io::Cursor;

use flawd_core::image::RgbImage;
use image::{ExtendedColorType, ImageEncoder, ImageResult, codecs::png::PngEncoder};

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
