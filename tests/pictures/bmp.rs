//! BMP: every number of bits, both directions, packed rows, and headers of all ages.

use super::*;

/// What a header says, besides the size.
#[derive(Clone, Copy)]
struct Header {
    width: i32,
    height: i32,
    bits: u16,
    compression: u32,
    colours: u32,
}

const RGB: Header = Header {
    width: 3,
    height: 2,
    bits: 24,
    compression: 0,
    colours: 0,
};

/// A file with the usual header of 40 bytes; `between` are masks and palette.
fn bmp(header: Header, between: &[u8], pixels: &[u8]) -> Vec<u8> {
    let start = 54 + between.len() as u32;
    let mut bytes = b"BM".to_vec();
    bytes.extend((start + pixels.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(start.to_le_bytes());
    bytes.extend(40_u32.to_le_bytes());
    bytes.extend(header.width.to_le_bytes());
    bytes.extend(header.height.to_le_bytes());
    bytes.extend([1, 0]);
    bytes.extend(header.bits.to_le_bytes());
    bytes.extend(header.compression.to_le_bytes());
    bytes.extend((pixels.len() as u32).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(header.colours.to_le_bytes());
    bytes.extend([0; 4]);
    [&bytes, between, pixels].concat()
}

/// The rows of [`COLOURS`], each with `bytes` of a pixel, padded to four bytes.
fn rows(upwards: bool, pixel: impl Fn([u8; 3]) -> Vec<u8>) -> Vec<u8> {
    let mut rows: Vec<&[[u8; 3]]> = COLOURS.chunks(3).collect();
    if upwards {
        rows.reverse();
    }
    let row = |row: &[[u8; 3]]| {
        let mut bytes: Vec<u8> = row.iter().flat_map(|&colour| pixel(colour)).collect();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    rows.into_iter().flat_map(row).collect()
}

fn bgr([r, g, b]: [u8; 3]) -> Vec<u8> {
    vec![b, g, r]
}

fn palette() -> Vec<u8> {
    COLOURS.iter().flat_map(|&[r, g, b]| [b, g, r, 0]).collect()
}

/// Pixels that are places in [`palette`].
fn indexed(bits: u16, compression: u32, pixels: &[u8]) -> Vec<u8> {
    let colours = if bits == 1 { 2 } else { 6 };
    let header = Header {
        bits,
        compression,
        colours,
        ..RGB
    };
    bmp(header, &palette()[..4 * colours as usize], pixels)
}

/// The colours by masks of 16 bits; each is a whole number of steps in red, green and blue.
fn packed([r, g, b]: [u8; 3], bits_of_green: u16) -> Vec<u8> {
    let [r, g, b] = [r, g, b].map(u16::from);
    let green = g >> (8 - bits_of_green);
    let value = (r >> 3) << (5 + bits_of_green) | green << 5 | b >> 3;
    value.to_le_bytes().to_vec()
}

fn masks(values: [u32; 3]) -> Vec<u8> {
    values.iter().flat_map(|mask| mask.to_le_bytes()).collect()
}

/// With a header of version 5, which can state an alpha channel.
fn version_5(alpha: u8) -> Vec<u8> {
    let pixels = rows(true, |[r, g, b]| vec![b, g, r, alpha]);
    let header = Header {
        bits: 32,
        compression: 3,
        ..RGB
    };
    let mut between = masks([0x00ff_0000, 0x0000_ff00, 0x0000_00ff]);
    between.extend(0xff00_0000_u32.to_le_bytes());
    between.extend(b"BGRs");
    between.resize(84, 0);
    with(bmp(header, &between, &pixels), 14, &124_u32.to_le_bytes())
}

/// The header of OS/2, twelve bytes long.
fn os2() -> Vec<u8> {
    let pixels = rows(true, bgr);
    let mut bytes = b"BM".to_vec();
    bytes.extend((26 + pixels.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(26_u32.to_le_bytes());
    bytes.extend(12_u32.to_le_bytes());
    bytes.extend([3, 0, 2, 0, 1, 0, 24, 0]);
    [bytes, pixels].concat()
}

pub(super) fn cases() -> Vec<Case> {
    let [a, b, c, d, e, _] = COLOURS;
    let plain = bmp(RGB, &[], &rows(true, bgr));
    let of = |header: Header| bmp(header, &[], &rows(true, bgr));
    let five = Exactly(SIZE, vec![a, b, c, d, e, [8, 16, 25]]);
    let deep = |bits, compression, between: &[u8], pixels: &[u8]| {
        let header = Header {
            bits,
            compression,
            ..RGB
        };
        bmp(header, between, pixels)
    };
    vec![
        case(
            "1 bit",
            indexed(1, 0, &[0b1100_0000, 0, 0, 0, 0b0100_0000, 0, 0, 0]),
            Exactly(SIZE, vec![a, b, a, b, b, a]),
        ),
        case(
            "4 bits",
            indexed(4, 0, &[0x34, 0x50, 0, 0, 0x01, 0x20, 0, 0]),
            Colours,
        ),
        case("8 bits", indexed(8, 0, &[3, 4, 5, 0, 0, 1, 2, 0]), Colours),
        case(
            "8 bits, packed",
            indexed(8, 1, &[0, 3, 3, 4, 5, 0, 0, 0, 1, 0, 1, 1, 1, 2, 0, 1]),
            Colours,
        ),
        case(
            "4 bits, packed",
            indexed(4, 2, &[3, 0x01, 0, 0, 3, 0x01, 0, 1]),
            Exactly(SIZE, vec![a, b, a, a, b, a]),
        ),
        case(
            "packed, with a jump",
            indexed(8, 1, &[0, 2, 0, 1, 3, 1, 0, 1]),
            Refused(&["every pixel", "without compression"]),
        ),
        case(
            "packed, a run too long",
            indexed(8, 1, &[200, 1, 0, 1]),
            Refused(&["every pixel", "without compression"]),
        ),
        case(
            "packed, a row too short",
            indexed(8, 1, &[2, 1, 0, 0, 3, 1, 0, 1]),
            Refused(&["every pixel", "without compression"]),
        ),
        case(
            "packed, a row missing",
            indexed(8, 1, &[3, 1, 0, 1]),
            Refused(&["every pixel", "without compression"]),
        ),
        case(
            "packed, cut",
            indexed(8, 1, &[0, 3, 3]),
            Refused(&["damaged"]),
        ),
        case(
            "a place outside the palette, which every reader takes for black",
            indexed(8, 0, &[3, 4, 9, 0, 0, 1, 2, 0]),
            Exactly(SIZE, vec![a, b, c, d, e, [0; 3]]),
        ),
        case(
            "16 bits",
            deep(16, 0, &[], &rows(true, |it| packed(it, 5))),
            five.clone(),
        ),
        case(
            "16 bits, 6 of them green",
            deep(
                16,
                3,
                &masks([0xf800, 0x07e0, 0x001f]),
                &rows(true, |it| packed(it, 6)),
            ),
            Exactly(SIZE, vec![a, b, c, d, e, [8, 20, 25]]),
        ),
        case("24 bits", plain.clone(), Colours),
        case(
            "24 bits, downwards",
            bmp(Header { height: -2, ..RGB }, &[], &rows(false, bgr)),
            Colours,
        ),
        case(
            "32 bits, the fourth byte 0",
            deep(32, 0, &[], &rows(true, |it| [bgr(it), vec![0]].concat())),
            Colours,
        ),
        case(
            "32 bits, the fourth byte 255",
            deep(32, 0, &[], &rows(true, |it| [bgr(it), vec![255]].concat())),
            Colours,
        ),
        case(
            "32 bits, by masks",
            deep(
                32,
                3,
                &masks([0xff, 0xff00, 0x00ff_0000]),
                &rows(true, |it| [&it[..], &[0]].concat()),
            ),
            Colours,
        ),
        case("version 5 with opaque alpha", version_5(255), Colours),
        case(
            "version 5 with alpha",
            version_5(9),
            Refused(&["transparent"]),
        ),
        case("the header of OS/2", os2(), Colours),
        case(
            "a JPEG in it",
            deep(24, 4, &[], &[0xff, 0xd8, 0xff, 0xd9]),
            Refused(&["damaged, or of a kind"]),
        ),
        case(
            "a PNG in it",
            deep(24, 5, &[], b"\x89PNG"),
            Refused(&["damaged, or of a kind"]),
        ),
        case("2 bits", indexed(2, 0, &[0; 8]), Refused(&["damaged"])),
        case("7 bits", indexed(7, 0, &[0; 8]), Refused(&["damaged"])),
        case(
            "a width of 0",
            of(Header { width: 0, ..RGB }),
            Refused(&["damaged"]),
        ),
        case(
            "a height of 0",
            of(Header { height: 0, ..RGB }),
            Refused(&["damaged"]),
        ),
        case(
            "a negative width",
            of(Header { width: -3, ..RGB }),
            Refused(&["damaged"]),
        ),
        case(
            "60000 a side",
            of(Header {
                width: 60_000,
                height: 60_000,
                ..RGB
            }),
            Refused(&["60000x60000", "--max-megapixels"]),
        ),
        case(
            "a size that the file cannot hold",
            of(Header {
                width: 9_000,
                height: 9_000,
                ..RGB
            }),
            Refused(&["9000x9000", "bytes can hold"]),
        ),
        case(
            "the lowest height that there is",
            of(Header {
                height: i32::MIN,
                ..RGB
            }),
            Refused(&["damaged"]),
        ),
        case("cut in its header", cut(&plain, 30), Refused(&["damaged"])),
        case(
            "cut in its pixels",
            cut(&plain, plain.len() - 1),
            Refused(&["damaged"]),
        ),
        case(
            "pixels that begin behind its end",
            with(plain.clone(), 10, &[0xff, 0xff, 0xff, 0x7f]),
            Refused(&["damaged"]),
        ),
        case(
            "bytes behind the end",
            [plain, vec![7; 9]].concat(),
            Colours,
        ),
    ]
}
