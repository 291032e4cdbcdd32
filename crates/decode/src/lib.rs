//! From an image file to pixels, or an error that names it.
//!
//! JPEG, PNG, BMP, TIFF, WebP and PNM (PGM, PPM, …), told apart by their content. The result is
//! 8-bit RGB, upright:
//!
//! * grey becomes three equal channels;
//! * 16 bits per channel are scaled to 8 by the white that the file states, or that the caller
//!   knows for such pictures ([`Depth`]); without either, by all 16, and refused if that would be
//!   nearly black; floating-point pixels are refused;
//! * an alpha channel is dropped if every pixel is opaque, and refused otherwise: what is behind a
//!   transparent part is not in the file, so any score would be a guess;
//! * the EXIF orientation is applied, so that a model sees what a viewer shows;
//! * a file that is cut short, or has lost data, is refused, even if a decoder would make up the
//!   rest;
//! * the size in the header is compared with the limit, and with the length of the file, before
//!   anything is allocated for it.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use flawd_core::depth::{DeepImage, Depth, DepthError, Picture};
use flawd_core::image::{RgbImage, Size};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

mod bmp;
mod depth;
mod jpeg;
mod limit;
mod pnm;
#[cfg(test)]
mod tests;
mod tiff;
mod webp;

pub use jpeg::JpegError;
pub use limit::{DEFAULT_MEGAPIXELS, TooLittle, set_max_megapixels};

/// Extensions of the files that count as images, in lower case. This is the one list of them.
pub const EXTENSIONS: [&str; 13] = [
    "bmp", "jpeg", "jpg", "png", "tif", "tiff", "jfif", "webp", "pgm", "ppm", "pbm", "pnm", "pam",
];

/// Returns `true` if the file's extension says that it is an image. Its content is not looked at.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Increases whenever a file is read differently, or no longer read: features cached under an older
/// revision are not used.
pub const REVISION: u32 = 3;

/// Why a file cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A folder, a pipe, or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path that was given.
        path: PathBuf,
    },
    /// It has more bytes than any admitted picture.
    #[error(
        "{} has {bytes} bytes, more than a picture of {megapixels} megapixels can have: take it \
         out, or raise --max-megapixels",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The limit.
        megapixels: u64,
    },
    /// Its content is not a picture.
    #[error("cannot decode {}", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Problem,
    },
}

/// Why bytes cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The content is empty.
    #[error("it is empty: copy or take it again")]
    Empty,
    /// It begins like no known format.
    #[error(
        "it is not a JPEG, PNG, BMP, TIFF, WebP or PNM file: save it as one of these, or take it out"
    )]
    UnknownFormat,
    /// A decoder's error.
    #[error("it is damaged, or of a kind that is not read: {0}; copy it again, or save it as PNG")]
    Damaged(String),
    /// A JPEG.
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    /// The decoder would need more memory than a picture within the limit does.
    #[error(
        "decoding it takes more memory than a picture of {limit} megapixels: save it again, or raise \
         --max-megapixels"
    )]
    Memory {
        /// The limit, in megapixels.
        limit: u64,
    },
    /// More pixels than admitted.
    #[error(
        "it has {size} pixels, more than {limit} megapixels: make it smaller, or raise \
         --max-megapixels"
    )]
    TooLarge {
        /// The size in the header.
        size: Size,
        /// The limit, in megapixels.
        limit: u64,
    },
    /// A size that the file cannot hold.
    #[error(transparent)]
    TooLittle(#[from] TooLittle),
    /// Another size than the one negotiated with the camera.
    #[error("a frame of {size} where {agreed} was agreed")]
    NotAgreed {
        /// The size in the header.
        size: Size,
        /// The negotiated size.
        agreed: Size,
    },
    /// A kind of picture that is not supported.
    #[error("it is {0}")]
    Unsupported(String),
    /// The first picture of the file is not the main one.
    #[error(
        "its first picture, of {size}, is a thumbnail of another one in the file: save the full \
         picture as a separate file"
    )]
    Thumbnail {
        /// The size of the first one.
        size: Size,
    },
    /// It has transparent pixels.
    #[error(
        "it has transparent pixels, and what is behind them is not known: save it without an \
         alpha channel"
    )]
    Transparent,
    /// Its samples have more than 8 bits, and it is unknown which value is white.
    #[error(transparent)]
    Depth(#[from] DepthError),
    /// Its pixels are floating-point numbers, whose range is unknown.
    #[error("it has floating-point pixels: save it with 8 or 16 bits a channel")]
    FloatingPoint,
}

/// Reads and decodes a file; `depth` applies to pictures of more than 8 bits that do not state
/// theirs.
///
/// # Errors
/// A [`DecodeError`] that names the file and the cause.
pub fn decode_file(path: &Path, depth: Option<Depth>) -> Result<RgbImage, DecodeError> {
    from_bytes(path, &read(path)?, depth)
}

/// Reads the content of an image file, for callers that need its digest as well.
///
/// # Errors
/// If it cannot be read, is not a regular file, or is longer than any admitted picture.
pub fn read(path: &Path) -> Result<Vec<u8>, DecodeError> {
    let unreadable = |source| DecodeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Checked first, because opening a pipe waits for its other end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(DecodeError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let most = limit::max_file_bytes();
    let too_long = |bytes| DecodeError::TooLong {
        path: path.to_owned(),
        bytes,
        megapixels: limit::max_megapixels(),
    };
    // A sparse file takes no space on the disk, but all of it in memory.
    if length > most {
        return Err(too_long(length));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    // It may have grown meanwhile.
    match bytes.len() as u64 {
        length if length > most => Err(too_long(length)),
        _ => Ok(bytes),
    }
}

/// Decodes the content of a file; `path` is for errors alone, `depth` as for [`decode_file`].
///
/// # Errors
/// A [`DecodeError`] that names the file and the cause.
pub fn from_bytes(
    path: &Path,
    bytes: &[u8],
    depth: Option<Depth>,
) -> Result<RgbImage, DecodeError> {
    let image = read_samples(bytes).and_then(|(picture, _)| Ok(picture.at(depth)?));
    image.map_err(undecodable(path))
}

/// Decodes the content of a file as far as possible without a given depth.
///
/// # Errors
/// As [`from_bytes`], except for an unknown depth.
pub fn picture(path: &Path, bytes: &[u8]) -> Result<Picture, DecodeError> {
    let read = read_samples(bytes).map_err(undecodable(path))?;
    Ok(read.0)
}

/// What samples a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits or fewer.
    Eight,
    /// More, and the file says how many.
    Stated(Depth),
    /// More, the file does not say how many, and this is the highest value.
    Unstated(u16),
}

/// Looks at the samples of a file. Pixels are decoded only if there are more than 8 bits.
///
/// # Errors
/// As [`picture`]; errors in pixels of 8 bits are not found.
pub fn samples(path: &Path, bytes: &[u8]) -> Result<Samples, DecodeError> {
    let format = format(bytes).map_err(undecodable(path))?;
    if format == ImageFormat::Jpeg || !has_16_bits(bytes, format).map_err(undecodable(path))? {
        return Ok(Samples::Eight);
    }
    Ok(match read_samples(bytes).map_err(undecodable(path))? {
        (_, Some(stated)) => Samples::Stated(stated),
        (Picture::Deep(image), None) => Samples::Unstated(image.highest()),
        (Picture::Eight(_), None) => Samples::Eight,
    })
}

fn undecodable(path: &Path) -> impl Fn(Problem) -> DecodeError {
    move |source| DecodeError::Undecodable {
        path: path.to_owned(),
        source,
    }
}

/// Decodes the content of a file with its own channels and bits, upright.
///
/// # Errors
/// As [`from_bytes`], except for transparent pixels.
pub fn as_saved(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DecodeError> {
    let (image, _) = decode(bytes).map_err(undecodable(path))?;
    Ok(image)
}

/// Decodes a JPEG that a camera sent as a frame of the negotiated size.
///
/// # Errors
/// What is wrong with it; another size is reported before anything is decoded.
pub fn jpeg_frame(bytes: &[u8], agreed: Size) -> Result<RgbImage, Problem> {
    jpeg::decode_frame(bytes, |size| {
        if size == agreed {
            Ok(())
        } else {
            Err(Problem::NotAgreed { size, agreed })
        }
    })
}

/// Decodes the first JPEG of a camera that states no size; further ones are to have the same.
///
/// # Errors
/// What is wrong with it; one that is too large is reported before anything is decoded.
pub fn first_jpeg_frame(bytes: &[u8]) -> Result<RgbImage, Problem> {
    jpeg::decode_frame(bytes, limit::admit)
}

/// Reads the picture, and the depth that the file states if it has more than 8 bits.
fn read_samples(bytes: &[u8]) -> Result<(Picture, Option<Depth>), Problem> {
    let (image, format) = decode(bytes)?;
    refuse_transparent(&image)?;
    let Some(deep) = into_deep(&image)? else {
        return Ok((into_rgb(image)?.into(), None));
    };
    Ok(match depth::stated(format, bytes, &deep)? {
        Some(stated) => (deep.with_white(stated.white).into(), Some(stated.depth)),
        None => (Picture::Deep(deep), None),
    })
}

fn decode(bytes: &[u8]) -> Result<(DynamicImage, ImageFormat), Problem> {
    let format = format(bytes)?;
    let (mut image, orientation) = match format {
        ImageFormat::Jpeg => {
            let (image, orientation) = jpeg::decode_file(bytes, limit::admit)?;
            (into_dynamic(image), orientation)
        }
        ImageFormat::Pnm => {
            let decoded = other(bytes, format)?;
            pnm::judge(bytes)?;
            decoded
        }
        _ => other(bytes, format)?,
    };
    image.apply_orientation(orientation);
    if matches!(
        image,
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)
    ) {
        return Err(Problem::FloatingPoint);
    }
    Ok((image, format))
}

fn into_dynamic(image: RgbImage) -> DynamicImage {
    let size = image.size();
    let (width, height) = (size.width as u32, size.height as u32);
    image::RgbImage::from_raw(width, height, image.into_pixels())
        .expect("an image fills its size")
        .into()
}

/// Returns the format that the content shows.
fn format(bytes: &[u8]) -> Result<ImageFormat, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    // BigTIFF, which the library reads and does not recognise.
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        return Ok(ImageFormat::Tiff);
    }
    image::guess_format(bytes)
        .ok()
        .filter(ImageFormat::reading_enabled)
        .ok_or(Problem::UnknownFormat)
}

/// Returns whether a file of another format than JPEG has more than 8 bits per channel.
fn has_16_bits(bytes: &[u8], format: ImageFormat) -> Result<bool, Problem> {
    let colour = opened(bytes, format)?.color_type();
    Ok(colour.bytes_per_pixel() > colour.channel_count())
}

/// Decodes everything but JPEG.
fn other(
    bytes: &[u8],
    format: ImageFormat,
) -> Result<(DynamicImage, image::metadata::Orientation), Problem> {
    let mut decoder = opened(bytes, format)?;
    let (width, height) = decoder.dimensions();
    let size = Size::new(height as usize, width as usize);
    limit::admit(size)?;
    limit::plausible(size, decoder.total_bytes(), bytes.len())?;
    let orientation = decoder.orientation().map_err(failed)?;
    let image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    Ok((image, orientation))
}

/// Returns a decoder that has read the header, after the checks that it does not make itself.
fn opened(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder, Problem> {
    match format {
        ImageFormat::Tiff => tiff::judge(bytes)?,
        ImageFormat::Bmp => bmp::judge(bytes)?,
        ImageFormat::WebP => webp::judge(bytes)?,
        _ => {}
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(limit::max_megapixels() * 16_000_000);
    reader.limits(limits);
    reader.into_decoder().map_err(failed)
}

fn failed(error: image::ImageError) -> Problem {
    match error {
        image::ImageError::Limits(_) => Problem::Memory {
            limit: limit::max_megapixels(),
        },
        error => Problem::Damaged(error.to_string()),
    }
}

fn refuse_transparent(image: &DynamicImage) -> Result<(), Problem> {
    if image.color().has_alpha() && image.to_rgba8().pixels().any(|pixel| pixel[3] < u8::MAX) {
        return Err(Problem::Transparent);
    }
    Ok(())
}

/// Returns the samples of a picture that has more than 8 bits per channel.
fn into_deep(image: &DynamicImage) -> Result<Option<DeepImage>, Problem> {
    let samples = match image {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            image.to_luma16().into_raw()
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => image.to_rgb16().into_raw(),
        _ => return Ok(None),
    };
    let deep = DeepImage::new(size_of_image(image), samples);
    let deep = deep.map_err(|error| Problem::Damaged(error.to_string()))?;
    Ok(Some(deep))
}

fn into_rgb(image: DynamicImage) -> Result<RgbImage, Problem> {
    let size = size_of_image(&image);
    RgbImage::new(size, image.into_rgb8().into_raw())
        .map_err(|error| Problem::Damaged(error.to_string()))
}

fn size_of_image(image: &DynamicImage) -> Size {
    Size::new(image.height() as usize, image.width() as usize)
}
