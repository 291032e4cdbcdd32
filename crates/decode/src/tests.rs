//! Files of every format: read correctly, or refused with a message.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::*;

/// An error with its causes, as printed.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    from_bytes(Path::new("part.img"), bytes, None)
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
    let said = with_causes(&error);
    assert!(
        said.contains("60000x60000") && said.contains("--max-megapixels"),
        "{said}"
    );
}

#[test]
fn lossless_formats_give_the_pixels_that_were_saved() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
        ImageFormat::Pnm,
    ] {
        let decoded = decode(&encode(&picture(), format)).expect("a whole file");
        assert_eq!(decoded.size(), Size::new(24, 40));
        assert_eq!(decoded.pixels(), picture().as_bytes(), "{format:?}");
    }
}

#[test]
fn grey_becomes_three_equal_channels() {
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_raw(2, 1, vec![7, 200]).unwrap());
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
    let said = with_causes(&error);
    assert!(
        said.contains("part.img") && said.contains("transparent"),
        "{said}"
    );
}

#[test]
fn the_exif_orientation_is_applied() {
    // A big-endian TIFF header and one entry: orientation (0x0112), SHORT, one value, 6, which
    // means: turn a quarter clockwise.
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
        ImageFormat::WebP,
        ImageFormat::Pnm,
    ] {
        let whole = encode(&picture(), format);
        assert!(decode(&whole).is_ok(), "{format:?}");
        // A PNG's last 12 bytes hold no pixels but mark its end.
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
            // The last byte of a PNG, and of a WebP of odd length, belongs to nothing.
            let is_padding =
                matches!(format, ImageFormat::Png | ImageFormat::WebP) && cut == whole.len() - 1;
            match decode(&whole[..cut]) {
                Ok(image) => assert!(
                    is_padding && image == decode(&whole).unwrap(),
                    "{format:?} at {cut}"
                ),
                Err(error) => assert!(error.to_string().contains("part.img")),
            }
        }
    }
}

#[test]
fn images_are_known_by_their_extension() {
    assert!(is_image(Path::new("a/b.JPG")) && is_image(Path::new("c.tiff")));
    assert!(!is_image(Path::new("notes.txt")) && !is_image(Path::new("png")));
}

#[test]
fn the_values_of_a_pnm_are_relative_to_its_white() {
    let grey = |header: &str, samples: &[u8]| {
        let bytes = [header.as_bytes(), samples].concat();
        let image = decode(&bytes).expect("a whole file");
        image
            .pixels()
            .chunks_exact(3)
            .map(|p| p[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(grey("P5 3 1 15\n", &[0, 5, 15]), [0, 85, 255]);
    assert_eq!(grey("P5 3 1 255\n", &[0, 85, 255]), [0, 85, 255]);
    assert_eq!(grey("P5 3 1 1\n", &[0, 1, 1]), [0, 255, 255]);
    assert_eq!(grey("P5 2 1 4095\n", &[0x0f, 0xff, 0x05, 0x55]), [255, 85]);
    assert_eq!(grey("P4 2 1\n", &[0b0100_0000]), [255, 0]);
    assert_eq!(
        grey(
            "P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n",
            &[0, 1]
        ),
        [0, 255]
    );
}

#[test]
fn a_file_that_is_none_is_refused_before_it_is_opened() {
    let error = decode_file(Path::new("/dev/zero"), None).expect_err("it never ends");
    assert!(matches!(error, DecodeError::NotAFile { .. }), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("long.png");
    let file = fs::File::create(&long).expect("it can be made");
    // Sparse: takes no space.
    file.set_len(6 << 30).expect("it can be long");
    let error = decode_file(&long, None).expect_err("six gigabytes");
    assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
}
