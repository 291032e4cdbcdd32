//! PNG: every kind of pixel, every chunk that says something about them, and every damage.

use super::*;

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &body, &crc(&body).to_be_bytes()].concat()
}

/// A zlib stream that stores its bytes as they are.
pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    let length = bytes.len() as u16;
    let head = [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
    ]
    .concat();
    [&head[..], bytes, &(b << 16 | a).to_be_bytes()].concat()
}

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

fn header(width: u32, height: u32, [bits, colour, interlace]: [u8; 3]) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(
        b"IHDR",
        &[&sides[..], &[bits, colour, 0, 0, interlace]].concat(),
    )
}

fn end() -> Vec<u8> {
    chunk(b"IEND", &[])
}

/// A file of these chunks behind the header.
fn file(header: Vec<u8>, chunks: &[Vec<u8>]) -> Vec<u8> {
    [SIGNATURE, &header, &chunks.concat(), &end()].concat()
}

/// A picture of three by two with these bits, colour type and rows.
fn png(bits: u8, colour: u8, before: &[Vec<u8>], samples: &[u8]) -> Vec<u8> {
    let data = chunk(b"IDAT", &zlib(&each_row(0, samples)));
    file(header(3, 2, [bits, colour, 0]), &[before, &[data]].concat())
}

fn plain() -> Vec<u8> {
    png(8, 2, &[], &rgb())
}

fn with_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    png(8, 2, &[chunk(kind, data)], &rgb())
}

/// A file whose picture has this stream.
fn with_stream(stream: &[u8]) -> Vec<u8> {
    file(header(3, 2, [8, 2, 0]), &[chunk(b"IDAT", stream)])
}

fn with_alpha(pixels: &[[u8; 3]], alpha: u8) -> Vec<u8> {
    let pixels = pixels.iter();
    pixels.flat_map(|&[r, g, b]| [r, g, b, alpha]).collect()
}

/// Where the chunk of this kind begins.
fn at(png: &[u8], kind: &[u8; 4]) -> usize {
    let found = png.windows(4).position(|it| it == kind);
    found.expect("it has such a chunk") - 4
}

/// The colours as a palette.
fn palette() -> Vec<u8> {
    chunk(b"PLTE", &rgb())
}

/// One pixel each of the passes that a picture of three by two has.
fn interlaced() -> Vec<u8> {
    let [a, b, c, d, e, f] = COLOURS;
    let passes = [
        [&[0][..], &a].concat(),
        [&[0][..], &c].concat(),
        [&[0][..], &b].concat(),
        [&[0][..], &d, &e, &f].concat(),
    ];
    let data = chunk(b"IDAT", &zlib(&passes.concat()));
    file(header(3, 2, [8, 2, 1]), &[data])
}

/// `fcTL` of a frame with this number.
fn frame_control(number: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for value in [number, 3, 2, 0, 0] {
        data.extend(value.to_be_bytes());
    }
    data.extend([0, 1, 0, 10, 0, 0]);
    chunk(b"fcTL", &data)
}

/// An animation of two pictures; the first is the file's own if `is_first`.
fn animated(is_first: bool) -> Vec<u8> {
    let control = chunk(b"acTL", &[0, 0, 0, 2 - u8::from(!is_first), 0, 0, 0, 0]);
    let data = chunk(b"IDAT", &zlib(&each_row(0, &rgb())));
    let black = zlib(&each_row(0, &[0; 18]));
    let (own, second) = if is_first {
        (vec![frame_control(0)], 1_u32)
    } else {
        (vec![], 0)
    };
    let further = chunk(b"fdAT", &[&(second + 1).to_be_bytes()[..], &black].concat());
    let chunks = [
        vec![control],
        own,
        vec![data, frame_control(second), further],
    ]
    .concat();
    file(header(3, 2, [8, 2, 0]), &chunks)
}

/// A TIFF directory that says how the picture is turned.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let head = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    [&head[..], &[orientation, 0, 0, 0, 0, 0, 0]].concat()
}

pub(super) fn cases() -> Vec<Case> {
    let [a, b, c, d, e, f] = COLOURS;
    let indices = [0, 1, 2, 3, 4, 5];
    let plain_stream = zlib(&each_row(0, &rgb()));
    let data = || chunk(b"IDAT", &plain_stream);
    let rgb_header = || header(3, 2, [8, 2, 0]);
    let two_bits = Grey([0, 85, 170, 255, 0, 85]);
    let bent = |at_kind: &[u8; 4]| {
        let png = with_chunk(b"tEXt", b"a\0b");
        let place = at(&png, at_kind) + 8;
        let byte = png[place] ^ 1;
        with(png, place, &[byte])
    };
    vec![
        case(
            "grey, 1 bit",
            png(1, 0, &[], &[0b0100_0000, 0b1100_0000]),
            Grey([0, 255, 0, 255, 255, 0]),
        ),
        case(
            "grey, 2 bits",
            png(2, 0, &[], &[0b0001_1000, 0b1100_0100]),
            two_bits,
        ),
        case(
            "grey, 4 bits",
            png(4, 0, &[], &[0x01, 0x20, 0xfe, 0x50]),
            Grey([0, 17, 34, 255, 238, 85]),
        ),
        case("grey", png(8, 0, &[], &GREYS), Grey(GREYS)),
        case("grey, 16 bits", png(16, 0, &[], &deep(&GREYS)), Grey(GREYS)),
        case(
            "grey and opaque alpha",
            png(8, 4, &[], &GREYS.map(|it| [it, 255]).concat()),
            Grey(GREYS),
        ),
        case(
            "grey and alpha",
            png(8, 4, &[], &GREYS.map(|it| [it, 254]).concat()),
            Refused(&["transparent", "without an alpha"]),
        ),
        case(
            "grey and opaque alpha, 16 bits",
            png(16, 4, &[], &GREYS.map(|it| [it, it, 255, 255]).concat()),
            Grey(GREYS),
        ),
        case("colours", plain(), Colours),
        case("colours, 16 bits", png(16, 2, &[], &deep(&rgb())), Colours),
        case(
            "colours, 12 of 16 bits",
            png(16, 2, &[], &[0x0f; 36]),
            Refused(&["16 bits", "3855", "--depth"]),
        ),
        case(
            "colours and opaque alpha",
            png(8, 6, &[], &with_alpha(&COLOURS, 255)),
            Colours,
        ),
        case(
            "colours and alpha",
            png(8, 6, &[], &with_alpha(&COLOURS, 0)),
            Refused(&["transparent"]),
        ),
        case(
            "colours and opaque alpha, 16 bits",
            png(16, 6, &[], &deep(&with_alpha(&COLOURS, 255))),
            Colours,
        ),
        case(
            "palette, 1 bit",
            png(1, 3, &[palette()], &[0b0100_0000, 0b1100_0000]),
            Exactly(SIZE, vec![a, b, a, b, b, a]),
        ),
        case(
            "palette, 2 bits",
            png(2, 3, &[palette()], &[0b0001_1000, 0b1100_0100]),
            Exactly(SIZE, vec![a, b, c, d, a, b]),
        ),
        case(
            "palette, 4 bits",
            png(4, 3, &[palette()], &[0x01, 0x20, 0x34, 0x50]),
            Colours,
        ),
        case("palette", png(8, 3, &[palette()], &indices), Colours),
        case(
            "palette with opaque tRNS",
            png(8, 3, &[palette(), chunk(b"tRNS", &[255, 255])], &indices),
            Colours,
        ),
        case(
            "palette with tRNS",
            png(8, 3, &[palette(), chunk(b"tRNS", &[255, 0])], &indices),
            Refused(&["transparent"]),
        ),
        case(
            "palette whose transparent entry is not used",
            png(
                8,
                3,
                &[palette(), chunk(b"tRNS", &[255, 0])],
                &[0, 0, 2, 3, 4, 5],
            ),
            Exactly(SIZE, vec![a, a, c, d, e, f]),
        ),
        case(
            "palette too short, which every reader takes for black",
            png(8, 3, &[chunk(b"PLTE", &rgb()[..6])], &indices),
            Exactly(SIZE, vec![a, b, d, d, d, d]),
        ),
        case(
            "palette missing",
            png(8, 3, &[], &indices),
            Refused(&["damaged"]),
        ),
        case(
            "a colour that is transparent",
            png(8, 2, &[chunk(b"tRNS", &[0, 10, 0, 20, 0, 30])], &rgb()),
            Refused(&["transparent"]),
        ),
        case(
            "a transparent colour that is not there",
            png(8, 2, &[chunk(b"tRNS", &[0, 1, 0, 1, 0, 1])], &rgb()),
            Colours,
        ),
        case(
            "a grey that is transparent",
            png(8, 0, &[chunk(b"tRNS", &[0, 85])], &GREYS),
            Refused(&["transparent"]),
        ),
        case(
            "gAMA of a screen",
            with_chunk(b"gAMA", &45455_u32.to_be_bytes()),
            Colours,
        ),
        case(
            "gAMA of linear light",
            with_chunk(b"gAMA", &100_000_u32.to_be_bytes()),
            Colours,
        ),
        case("sRGB", with_chunk(b"sRGB", &[0]), Colours),
        case(
            "iCCP",
            with_chunk(
                b"iCCP",
                &[&b"profile\0\0"[..], &zlib(b"no profile")].concat(),
            ),
            Colours,
        ),
        case("iCCP that is none", with_chunk(b"iCCP", b"no\0"), Colours),
        case("background", with_chunk(b"bKGD", &[0; 6]), Colours),
        case(
            "pixels that are not square",
            with_chunk(b"pHYs", &[0, 0, 0, 2, 0, 0, 0, 1, 0]),
            Colours,
        ),
        case("text", with_chunk(b"tEXt", b"Comment\0a part"), Colours),
        case(
            "an unknown chunk that may be left out",
            with_chunk(b"abCd", b"?"),
            Colours,
        ),
        case(
            "an unknown chunk that may not",
            with_chunk(b"ABCD", b"?"),
            Refused(&["damaged, or of a kind"]),
        ),
        case(
            "orientation 6 in eXIf",
            with_chunk(b"eXIf", &exif(6)),
            Exactly(Size::new(3, 2), vec![d, a, e, b, f, c]),
        ),
        case("interlaced", interlaced(), Colours),
        case(
            "an animation that begins with the picture",
            animated(true),
            Colours,
        ),
        case("an animation beside the picture", animated(false), Colours),
        case(
            "IDAT in pieces, one empty",
            file(
                rgb_header(),
                &[
                    chunk(b"IDAT", &plain_stream[..9]),
                    chunk(b"IDAT", &[]),
                    chunk(b"IDAT", &plain_stream[9..]),
                ],
            ),
            Colours,
        ),
        case(
            "filters of all kinds",
            with_stream(&zlib(
                &[
                    &[1][..],
                    &a,
                    &[1, 255, 0],
                    &[0, 1, 255],
                    &[2],
                    &[1, 0, 0],
                    &[255, 0, 255],
                    &[10, 20, 31],
                ]
                .concat(),
            )),
            Exactly(
                SIZE,
                vec![
                    a,
                    [0, 255, 0],
                    [0, 0, 255],
                    [0, 0, 0],
                    [255, 255, 255],
                    [10, 20, 30],
                ],
            ),
        ),
        case(
            "a filter that does not exist",
            with_stream(&zlib(&each_row(5, &rgb()))),
            Refused(&["damaged"]),
        ),
        case("signature alone", SIGNATURE.to_vec(), Refused(&["damaged"])),
        case("cut in IHDR", cut(&plain(), 20), Refused(&["damaged"])),
        case("cut behind IHDR", cut(&plain(), 33), Refused(&["damaged"])),
        case(
            "cut in PLTE",
            cut(&png(8, 3, &[palette()], &indices), 40),
            Refused(&["damaged"]),
        ),
        case(
            "cut in iCCP",
            cut(&with_chunk(b"iCCP", &[7; 40]), 60),
            Refused(&["damaged"]),
        ),
        case(
            "cut in IDAT",
            cut(&plain(), at(&plain(), b"IDAT") + 20),
            Refused(&["damaged"]),
        ),
        case(
            "cut in the checksum of IDAT",
            cut(&plain(), at(&plain(), b"IEND") - 1),
            Refused(&["damaged"]),
        ),
        case(
            "IDAT missing",
            file(rgb_header(), &[]),
            Refused(&["damaged"]),
        ),
        case(
            "IEND missing",
            cut(&plain(), at(&plain(), b"IEND")),
            Refused(&["damaged"]),
        ),
        case(
            "IHDR missing",
            [SIGNATURE, &data(), &end()].concat(),
            Refused(&["damaged"]),
        ),
        case(
            "IHDR twice",
            [SIGNATURE, &rgb_header(), &rgb_header(), &data(), &end()].concat(),
            Refused(&["damaged"]),
        ),
        case(
            "wrong checksum of IHDR",
            bent(b"IHDR"),
            Refused(&["damaged"]),
        ),
        case(
            "wrong checksum of IDAT",
            bent(b"IDAT"),
            Refused(&["damaged"]),
        ),
        case("wrong checksum of a text", bent(b"tEXt"), Colours),
        case(
            "a stream that ends early",
            with_stream(&zlib(&each_row(0, &rgb())[..15])),
            Refused(&["damaged"]),
        ),
        case(
            "a stream that is none",
            with_stream(&[0x55; 40]),
            Refused(&["damaged"]),
        ),
        case(
            "more data than pixels",
            with_stream(&zlib(&[each_row(0, &rgb()), vec![7; 30]].concat())),
            Colours,
        ),
        case(
            "a width of 0",
            file(header(0, 2, [8, 2, 0]), &[data()]),
            Refused(&["damaged"]),
        ),
        case(
            "a height of 0",
            file(header(3, 0, [8, 2, 0]), &[data()]),
            Refused(&["damaged"]),
        ),
        case(
            "60000 a side",
            file(header(60_000, 60_000, [8, 2, 0]), &[data()]),
            Refused(&["60000x60000", "100 megapixels", "--max-megapixels"]),
        ),
        case(
            "the largest size that there is",
            file(
                header(i32::MAX as u32, i32::MAX as u32, [16, 6, 0]),
                &[data()],
            ),
            Refused(&["--max-megapixels"]),
        ),
        case(
            "a size that the file cannot hold",
            file(header(9_000, 9_000, [8, 2, 0]), &[data()]),
            Refused(&["9000x9000", "bytes can hold"]),
        ),
        case("3 bits", png(3, 0, &[], &GREYS), Refused(&["damaged"])),
        case(
            "a colour type that does not exist",
            png(8, 5, &[], &rgb()),
            Refused(&["damaged"]),
        ),
        case(
            "a length of 4 GB",
            with(plain(), 33, &[0xff; 4]),
            Refused(&["damaged"]),
        ),
        case(
            "bytes behind the end",
            [plain(), b"more".to_vec()].concat(),
            Colours,
        ),
        case(
            "two pictures",
            [plain(), png(8, 0, &[], &GREYS)].concat(),
            Colours,
        ),
    ]
}
