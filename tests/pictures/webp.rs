//! WebP: both packings, alpha, animations, and damage.

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};

use super::png::exif;
use super::*;

/// Eight by eight pixels of one colour, as libwebp packs them with loss.
const WITH_LOSS: [u8; 50] = [
    208, 1, 0, 157, 1, 42, 8, 0, 8, 0, 0, 192, 18, 37, 160, 2, 116, 186, 1, 248, 0, 3, 176, 0, 254,
    241, 220, 143, 253, 140, 223, 163, 55, 232, 205, 253, 128, 63, 253, 93, 183, 214, 193, 253, 93,
    183, 253, 89, 64, 0,
];

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_le_bytes();
    let padding = vec![0; data.len() % 2];
    [&kind[..], &length, data, &padding].concat()
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let content = [b"WEBP".to_vec(), chunks.concat()].concat();
    chunk(b"RIFF", &content)
}

/// The chunk of a picture without loss.
fn without_loss(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image: DynamicImage = image.into();
    image
        .write_to(&mut bytes, ImageFormat::WebP)
        .expect("it can be written");
    bytes.into_inner()[12..].to_vec()
}

fn opaque() -> Vec<u8> {
    without_loss(RgbImage::from_raw(3, 2, rgb()).expect("six pixels"))
}

fn with_alpha(alpha: u8) -> Vec<u8> {
    let pixels = COLOURS.iter().flat_map(|&[r, g, b]| [r, g, b, alpha]);
    without_loss(RgbaImage::from_raw(3, 2, pixels.collect()).expect("six pixels"))
}

/// The header of files that have more than a picture.
fn extended(flags: u8, width: u8, height: u8) -> Vec<u8> {
    chunk(
        b"VP8X",
        &[flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0],
    )
}

/// A frame of an animation that fills it.
fn frame(picture: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 100, 0, 0, 0];
    chunk(b"ANMF", &[&head[..], picture].concat())
}

pub(super) fn cases() -> Vec<Case> {
    const ANIMATED: u8 = 2;
    const EXIF: u8 = 8;
    let [a, b, c, d, e, f] = COLOURS;
    let plain = file(&[opaque()]);
    let black = || without_loss(RgbImage::new(3, 2));
    let control = || chunk(b"ANIM", &[0; 6]);
    let lossy = file(&[chunk(b"VP8 ", &WITH_LOSS)]);
    vec![
        case(
            "with loss",
            lossy.clone(),
            Quarters(Size::new(8, 8), [[200, 60, 40]; 4]),
        ),
        case("without loss", plain.clone(), Colours),
        case("opaque alpha", file(&[with_alpha(255)]), Colours),
        case("alpha", file(&[with_alpha(9)]), Refused(&["transparent"])),
        case(
            "with a header for more",
            file(&[extended(0, 3, 2), opaque()]),
            Colours,
        ),
        case(
            "orientation 6",
            file(&[extended(EXIF, 3, 2), opaque(), chunk(b"EXIF", &exif(6))]),
            Exactly(Size::new(3, 2), vec![d, a, e, b, f, c]),
        ),
        case(
            "an animation",
            file(&[
                extended(ANIMATED, 3, 2),
                control(),
                frame(&opaque()),
                frame(&black()),
            ]),
            Refused(&["animation", "separate file"]),
        ),
        case(
            "an animation without pictures",
            file(&[extended(ANIMATED, 3, 2), control()]),
            Refused(&["animation", "separate file"]),
        ),
        case(
            "an unknown chunk",
            file(&[extended(0, 3, 2), opaque(), chunk(b"abcd", b"?")]),
            Colours,
        ),
        case(
            "another size in its header",
            file(&[extended(0, 4, 2), opaque()]),
            Refused(&["damaged"]),
        ),
        case(
            "a huge size in its header",
            file(&[
                chunk(b"VP8X", &[0, 0, 0, 0, 255, 255, 255, 255, 255, 255]),
                opaque(),
            ]),
            Refused(&["damaged"]),
        ),
        case("no picture", file(&[]), Refused(&["damaged"])),
        case("cut in its header", cut(&plain, 18), Refused(&["damaged"])),
        case(
            "cut in its picture",
            cut(&plain, plain.len() - 6),
            Refused(&["damaged"]),
        ),
        case(
            "with loss, cut",
            cut(&lossy, lossy.len() - 20),
            Refused(&["damaged"]),
        ),
        case(
            "a stream that is none",
            file(&[chunk(b"VP8L", &[0x2f, 2, 0x40, 0, 0, 0xff, 0xff])]),
            Refused(&["damaged"]),
        ),
        case(
            "bytes behind the end",
            [plain, vec![7; 9]].concat(),
            Colours,
        ),
    ]
}
