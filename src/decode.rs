//! From an image file to pixels.
//!
//! JPEG, PNG, BMP and TIFF, told apart by their content. What comes out is 8-bit RGB, upright:
//!
//! * grey becomes three equal channels;
//! * 16 bits a channel are scaled to 8, floating-point pixels are refused;
//! * an alpha channel is dropped where every pixel is opaque, and refused otherwise: what is
//!   behind a transparent part is not in the file, so any score would be about a guess;
//! * the EXIF orientation is applied, so that a model sees what a viewer shows;
//! * a file that is cut short is refused, also where a decoder would make up the rest.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use flawd_core::image::{RgbImage, Size};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

/// Extensions of the files that count as images, in lower case.
pub const EXTENSIONS: [&str; 7] = ["bmp", "jpeg", "jpg", "png", "tif", "tiff", "jfif"];

/// True if the file's extension says that it is an image. Its content is not looked at.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Why a file gives no image.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its content is no image of a known format, or is damaged.
    #[error("cannot decode {}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// The end is missing.
    #[error("{} is cut short: the end of the image is missing", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
    },
    /// It has transparent pixels.
    #[error(
        "{} has transparent pixels, and what is behind them is not known: save it without an \
         alpha channel",
        path.display()
    )]
    Transparent {
        /// The file.
        path: PathBuf,
    },
    /// Its pixels are floating-point numbers, whose range is not known.
    #[error("{} has floating-point pixels: save it with 8 or 16 bits a channel", path.display())]
    FloatingPoint {
        /// The file.
        path: PathBuf,
    },
}

/// Reads and decodes a file.
///
/// # Errors
/// A [`DecodeError`] that names the file and the cause.
pub fn decode_file(path: &Path) -> Result<RgbImage, DecodeError> {
    from_bytes(path, &read(path)?)
}

/// Reads a file that is to be decoded.
///
/// # Errors
/// [`DecodeError::Unreadable`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DecodeError> {
    fs::read(path).map_err(|source| DecodeError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Decodes the content of a file; `path` is for errors alone.
///
/// # Errors
/// A [`DecodeError`] that names the file and the cause.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let image = as_saved(path, bytes)?;
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel[3] < u8::MAX) {
        return Err(DecodeError::Transparent {
            path: path.to_owned(),
        });
    }
    let image = image.into_rgb8();
    let size = Size::new(image.height() as usize, image.width() as usize);
    Ok(RgbImage::new(size, image.into_raw()).expect("a decoded image fills its size"))
}

/// Decodes the content of a file with the channels and the bits that it has, upright.
///
/// # Errors
/// As [`from_bytes`], but transparent pixels are none.
pub(crate) fn as_saved(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DecodeError> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .expect("bytes in memory can be read");
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let image = upright(reader).map_err(|source| DecodeError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    if is_jpeg && !jpeg_has_an_end(bytes) {
        return Err(DecodeError::CutShort {
            path: path.to_owned(),
        });
    }
    if matches!(
        image,
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)
    ) {
        return Err(DecodeError::FloatingPoint {
            path: path.to_owned(),
        });
    }
    Ok(image)
}

fn upright(reader: ImageReader<Cursor<&[u8]>>) -> image::ImageResult<DynamicImage> {
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    // A header may state any size; 512 MiB are the library's own limit.
    let mut limits = Limits::default();
    limits.reserve(decoder.total_bytes())?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// True if an end-of-image marker follows the first scan.
///
/// The decoder is lenient and fills up with grey what is missing, which would be a picture of a
/// part that nobody took. Within a scan a byte 0xff is followed by 0x00 or a restart marker, so
/// that 0xff 0xd9 is nothing but the end; before it, a thumbnail may have an end of its own.
fn jpeg_has_an_end(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, tail @ ..] = rest {
        rest = match (*marker, tail) {
            (START_OF_SCAN, scan) => return scan.windows(2).any(|pair| pair == [0xff, 0xd9]),
            // A fill byte before a marker.
            (0xff, _) => &rest[1..],
            (_, [high, low, ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                tail.get(length..).unwrap_or_default()
            }
            _ => return false,
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder};

    use super::*;
    use crate::failure::with_causes;

    fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
        from_bytes(Path::new("part.img"), bytes)
    }

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image
            .write_to(&mut bytes, format)
            .expect("it can be encoded");
        bytes.into_inner()
    }

    /// A picture with something in it, so that its encoding is long enough to be cut.
    fn picture() -> DynamicImage {
        DynamicImage::ImageRgb8(image::RgbImage::from_fn(40, 24, |x, y| {
            image::Rgb([(x * 6) as u8, (y * 10) as u8, (x * y) as u8])
        }))
    }

    #[test]
    fn a_header_that_states_any_size_takes_no_memory() {
        let mut bytes = encode(&picture(), ImageFormat::Bmp);
        // Width and height.
        for place in [18, 22] {
            bytes[place..place + 4].copy_from_slice(&60_000_u32.to_le_bytes());
        }
        let error = decode(&bytes).expect_err("ten gigabytes of pixels");
        assert!(with_causes(&error).contains("limit"), "{error}");
    }

    #[test]
    fn lossless_formats_give_the_pixels_that_were_saved() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
            let decoded = decode(&encode(&picture(), format)).expect("a whole file");
            assert_eq!(decoded.size(), Size::new(24, 40));
            assert_eq!(decoded.pixels(), picture().as_bytes(), "{format:?}");
        }
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let grey =
            DynamicImage::ImageLuma8(image::GrayImage::from_raw(2, 1, vec![7, 200]).unwrap());
        let decoded = decode(&encode(&grey, ImageFormat::Png)).expect("a whole file");
        assert_eq!(decoded.pixels(), [7, 7, 7, 200, 200, 200]);
    }

    #[test]
    fn sixteen_bits_are_scaled_to_eight() {
        let raw = vec![0, 0x8080, 0xffff];
        let deep = DynamicImage::ImageRgb16(image::ImageBuffer::from_raw(1, 1, raw).unwrap());
        let decoded = decode(&encode(&deep, ImageFormat::Png)).expect("a whole file");
        assert_eq!(decoded.pixels(), [0, 0x80, 0xff]);
    }

    #[test]
    fn alpha_is_dropped_where_it_says_nothing_and_refused_where_it_does() {
        let with_alpha = |alpha| {
            let raw = vec![1, 2, 3, 255, 4, 5, 6, alpha];
            let image = image::RgbaImage::from_raw(2, 1, raw).unwrap();
            encode(&DynamicImage::ImageRgba8(image), ImageFormat::Png)
        };
        let opaque = decode(&with_alpha(255)).expect("opaque");
        assert_eq!(opaque.pixels(), [1, 2, 3, 4, 5, 6]);
        let error = decode(&with_alpha(254)).expect_err("not opaque");
        assert!(matches!(error, DecodeError::Transparent { .. }), "{error}");
        assert!(error.to_string().contains("part.img"), "{error}");
    }

    #[test]
    fn the_exif_orientation_is_applied() {
        // A big-endian TIFF header and one entry: orientation (0x0112), SHORT, one value, 6,
        // which says: turn a quarter clockwise.
        let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
        encoder
            .set_exif_metadata(exif.to_vec())
            .expect("JPEG has EXIF");
        // Black on the left, white on the right, in blocks that JPEG keeps apart.
        let pixels: Vec<u8> = (0..8 * 32)
            .flat_map(|i| [if i % 32 < 16 { 0 } else { 255 }; 3])
            .collect();
        encoder
            .encode(&pixels, 32, 8, ExtendedColorType::Rgb8)
            .expect("it can be encoded");
        let decoded = decode(&bytes).expect("a whole file");
        assert_eq!(decoded.size(), Size::new(32, 8));
        assert!(decoded.pixels()[0] < 8, "black is on top now");
        assert!(
            decoded.pixels()[decoded.pixels().len() - 1] > 247,
            "white is below"
        );
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_an_error() {
        for format in [
            ImageFormat::Jpeg,
            ImageFormat::Png,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
        ] {
            let whole = encode(&picture(), format);
            assert!(decode(&whole).is_ok(), "{format:?}");
            // A PNG's last 12 bytes hold no pixels but say that it ends.
            let cuts = [
                0,
                1,
                3,
                20,
                whole.len() / 2,
                whole.len() - 64,
                whole.len() - 1,
            ];
            for cut in cuts {
                let outcome = decode(&whole[..cut]);
                let harmless = format == ImageFormat::Png && cut == whole.len() - 1;
                assert!(
                    outcome.is_err() || harmless,
                    "{format:?} at {cut} of {}",
                    whole.len()
                );
            }
        }
    }

    #[test]
    fn images_are_known_by_their_extension() {
        assert!(is_image(Path::new("a/b.JPG")) && is_image(Path::new("c.tiff")));
        assert!(!is_image(Path::new("notes.txt")) && !is_image(Path::new("png")));
    }
}
