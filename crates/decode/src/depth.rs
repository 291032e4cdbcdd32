//! What a file of 16 bits per channel states about its depth: which value is white.
//!
//! Most state nothing, whatever their camera gave. A PNM has its white in the header; a PNG may
//! have a chunk `sBIT`, a TIFF the tag `MaxSampleValue` or `SMaxSampleValue`. That takes precedence
//! over what is known about other pictures.

use std::io::Cursor;

use flawd_core::depth::{DeepImage, Depth, DepthError};
use image::ImageFormat;
use image::codecs::pnm::PnmDecoder;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

use super::Problem;

/// What a file states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Bits that its camera gave.
    pub(super) depth: Depth,
    /// The white of the samples as they were decoded: a PNM's are stretched to all 16 bits.
    pub(super) white: u16,
}

impl Statement {
    /// Makes the statement for samples up to the depth's own white.
    fn plain(depth: Depth) -> Self {
        Self {
            depth,
            white: depth.white(),
        }
    }

    /// Makes the statement for samples that were stretched from the depth to all 16 bits.
    fn stretched(depth: Depth) -> Self {
        Self {
            depth,
            white: Depth::FULL.white(),
        }
    }
}

/// Returns the statement of the file `bytes`, whose samples are those of `image`; `None` if it
/// states only that it has 16 bits.
///
/// # Errors
/// If the samples contradict it, or it is unclear which value is white.
pub(super) fn stated(
    format: ImageFormat,
    bytes: &[u8],
    image: &DeepImage,
) -> Result<Option<Statement>, Problem> {
    match format {
        ImageFormat::Png => Ok(of_png(bytes, image)),
        ImageFormat::Pnm => Ok(of_pnm(bytes)),
        ImageFormat::Tiff => of_tiff(bytes, image),
        _ => Ok(None),
    }
}

/// Returns the depth whose white is exactly this value, except the full one, which says nothing.
fn ending_at(white: u64) -> Option<Depth> {
    let depths = (8..16).filter_map(|bits| Depth::try_from(bits).ok());
    depths.into_iter().find(|it| u64::from(it.white()) == white)
}

fn of_pnm(bytes: &[u8]) -> Option<Statement> {
    let decoder = PnmDecoder::new(Cursor::new(bytes)).ok()?;
    let white = u16::try_from(decoder.header().maximal_sample()).ok()?;
    let bits = (16 - white.leading_zeros()).max(8);
    let depth = Depth::try_from(bits as u8).ok()?;
    (white < u16::MAX).then(|| Statement::stretched(depth))
}

/// By the standard, samples with `sBIT` are stretched to all bits; some writers leave them as they
/// were, which shows in values that stretching cannot give.
fn of_png(bytes: &[u8], image: &DeepImage) -> Option<Statement> {
    let bits = significant_bits(bytes)?;
    let depth = Depth::try_from(bits).ok().filter(|it| *it < Depth::FULL)?;
    let step = 1 << (16 - bits);
    let is_plain =
        image.highest() <= depth.white() && image.samples().iter().any(|sample| sample % step != 0);
    Some(if is_plain {
        Statement::plain(depth)
    } else {
        Statement::stretched(depth)
    })
}

/// Returns the most significant bits of any colour channel that the chunk `sBIT` of a PNG states.
fn significant_bits(png: &[u8]) -> Option<u8> {
    const SIGNATURE: usize = 8;
    const COLOUR_TYPE: usize = 25;
    let channels = match png.get(COLOUR_TYPE)? {
        0 | 4 => 1,
        _ => 3,
    };
    let mut rest = png.get(SIGNATURE..)?;
    loop {
        let (head, tail) = rest.split_at_checked(8)?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        match &head[4..] {
            b"sBIT" => return tail.get(..channels)?.iter().copied().max(),
            // It has to come before.
            b"IDAT" => return None,
            _ => rest = tail.get(length.checked_add(4)?..)?,
        }
    }
}

fn of_tiff(bytes: &[u8], image: &DeepImage) -> Result<Option<Statement>, Problem> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(super::tiff::damaged)?;
    let mut tag = |tag| -> Option<u64> {
        let values = decoder.find_tag_unsigned_vec(tag).ok().flatten()?;
        values.into_iter().max()
    };
    let is_inverted = tag(Tag::PhotometricInterpretation) == Some(0);
    let white = tag(Tag::SMaxSampleValue).or_else(|| tag(Tag::MaxSampleValue));
    let depth = white.and_then(ending_at);
    // The library has swapped black and white, by all 16 bits.
    let lowest = image.samples().iter().min();
    let is_light = lowest.is_some_and(|&lowest| lowest > u16::MAX - DeepImage::SURELY_FULL);
    if is_inverted && (is_light || depth.is_some()) {
        return Err(Problem::Unsupported(
            "a TIFF in which 0 is white, of fewer bits than the 16 that it states: save it with 0 \
             as black"
                .to_owned(),
        ));
    }
    match depth {
        Some(depth) if image.highest() > depth.white() => {
            let highest = image.highest();
            Err(DepthError::Contradicted { highest, depth }.into())
        }
        depth => Ok(depth.map(Statement::plain)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use flawd_core::image::RgbImage;
    use image::{DynamicImage, ImageBuffer};
    use tiff::encoder::TiffEncoder;
    use tiff::encoder::colortype::Gray16;
    use tiff::tags::PhotometricInterpretation;

    use super::*;
    use crate::tests::with_causes;
    use crate::{DecodeError, Samples, from_bytes, samples};

    const TWELVE: [u16; 4] = [0, 1365, 2047, 4095];

    fn bits(bits: u8) -> Option<Depth> {
        Some(Depth::try_from(bits).unwrap())
    }

    fn png(values: &[u16]) -> Vec<u8> {
        let image = ImageBuffer::from_raw(values.len() as u32, 1, values.to_vec()).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageLuma16(image)
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    /// Adds a chunk after the header.
    fn with_sbit(png: &[u8], bits: u8) -> Vec<u8> {
        let (head, rest) = png.split_at(33);
        let chunk = [b'S' | 0x20, b'B', b'I', b'T', bits];
        let crc = !chunk.iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
            })
        });
        [head, &1_u32.to_be_bytes(), &chunk, &crc.to_be_bytes(), rest].concat()
    }

    fn tiff(values: &[u16], white: Option<u16>, photometric: PhotometricInterpretation) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
        let mut image = encoder.new_image::<Gray16>(values.len() as u32, 1).unwrap();
        let tags = image.encoder();
        if let Some(white) = white {
            tags.write_tag(Tag::MaxSampleValue, white).unwrap();
        }
        tags.write_tag(Tag::PhotometricInterpretation, photometric.to_u16())
            .unwrap();
        image.write_data(values).unwrap();
        bytes.into_inner()
    }

    fn black_is_zero(values: &[u16], white: Option<u16>) -> Vec<u8> {
        tiff(values, white, PhotometricInterpretation::BlackIsZero)
    }

    fn pgm(white: u16, values: &[u16]) -> Vec<u8> {
        let header = format!("P5 {} 1 {white}\n", values.len()).into_bytes();
        let samples = values.iter().flat_map(|value| value.to_be_bytes());
        header.into_iter().chain(samples).collect()
    }

    fn read(bytes: &[u8], depth: Option<Depth>) -> Result<RgbImage, DecodeError> {
        from_bytes(Path::new("part.img"), bytes, depth)
    }

    #[track_caller]
    fn levels(bytes: &[u8], depth: Option<Depth>) -> Vec<u8> {
        let image = read(bytes, depth).unwrap();
        image.pixels().chunks_exact(3).map(|it| it[0]).collect()
    }

    fn of(bytes: &[u8]) -> Samples {
        samples(Path::new("part.img"), bytes).unwrap()
    }

    #[test]
    fn twelve_bits_in_sixteen_are_read_by_the_depth_or_refused() {
        for bytes in [
            png(&TWELVE),
            black_is_zero(&TWELVE, None),
            pgm(65535, &TWELVE),
            // A white that is not that of a depth only states the range that was there.
            black_is_zero(&TWELVE, Some(4094)),
            with_sbit(&png(&TWELVE), 16),
        ] {
            assert_eq!(of(&bytes), Samples::Unstated(4095));
            assert_eq!(levels(&bytes, bits(12)), [0, 85, 127, 255]);
            for (depth, part) in [(None, "--depth BITS"), (bits(10), "10 bits end at 1023")] {
                let said = with_causes(&read(&bytes, depth).unwrap_err());
                for part in [part, "part.img", "4095"] {
                    assert!(said.contains(part), "{said}");
                }
            }
        }
    }

    #[test]
    fn what_a_file_says_of_its_white_counts_more_than_what_is_known_of_others() {
        let stretched = TWELVE.map(|value| value << 4 | value >> 8);
        for bytes in [
            black_is_zero(&TWELVE, Some(4095)),
            pgm(4095, &TWELVE),
            with_sbit(&png(&TWELVE), 12),
            with_sbit(&png(&stretched), 12),
        ] {
            assert_eq!(of(&bytes), Samples::Stated(bits(12).unwrap()));
            for depth in [None, bits(10), bits(16)] {
                assert_eq!(levels(&bytes, depth), [0, 85, 127, 255]);
            }
        }
        let said = with_causes(&read(&black_is_zero(&[0, 5000], Some(4095)), None).unwrap_err());
        assert!(said.contains("5000") && said.contains("4095"), "{said}");
    }

    #[test]
    fn values_in_the_high_bits_need_no_depth() {
        let left = TWELVE.map(|value| value << 4);
        assert_eq!(of(&png(&left)), Samples::Unstated(65520));
        assert_eq!(levels(&png(&left), None), [0, 85, 127, 255]);
        assert_eq!(levels(&png(&left), bits(16)), [0, 85, 127, 255]);
    }

    #[test]
    fn where_zero_is_white_fewer_bits_than_sixteen_are_refused() {
        let inverted =
            |values: &[u16], white| tiff(values, white, PhotometricInterpretation::WhiteIsZero);
        assert_eq!(levels(&inverted(&[0, 65535], None), None), [255, 0]);
        for white in [None, Some(4095)] {
            let said = with_causes(&read(&inverted(&TWELVE, white), bits(12)).unwrap_err());
            assert!(said.contains("save it with 0 as black"), "{said}");
        }
    }

    #[test]
    fn all_sixteen_bits_are_scaled_as_the_library_does() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let image = ImageBuffer::from_raw(1 << 16, 1, all.clone()).unwrap();
        let expected = DynamicImage::ImageLuma16(image).into_rgb8().into_raw();
        let deep = DeepImage::new(flawd_core::image::Size::new(1, 1 << 16), all).unwrap();
        assert_eq!(deep.at(None).unwrap().pixels(), expected);
    }

    #[test]
    fn pixels_of_eight_bits_are_not_looked_at() {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(20, 20)
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        let bytes = bytes.into_inner();
        assert_eq!(of(&bytes[..60]), Samples::Eight);
        assert!(samples(Path::new("part.img"), b"no picture").is_err());
    }
}
