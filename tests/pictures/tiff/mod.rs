//! TIFF: layouts, packings, byte orders, kinds of pixels, several pictures in a file, and damage.

use super::png::zlib;
use super::*;
use packing::*;
use write::*;

mod packing;
mod write;

fn colours() -> Page {
    Page::new(2, &[8, 8, 8], &rgb())
}

fn grey() -> Page {
    Page::new(1, &[8], &GREYS)
}

/// Samples of 16 bits in the order of little-endian files.
fn words(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn wide(levels: &[u8]) -> Vec<u16> {
    levels.iter().map(|&level| u16::from(level) * 257).collect()
}

fn planes() -> Page {
    let plane = |channel: usize| COLOURS.iter().map(|colour| colour[channel]).collect();
    colours()
        .tag(PLANAR, &[2])
        .pieces(&[plane(0), plane(1), plane(2)])
}

fn with_fourth(fourth: u8) -> Vec<u8> {
    COLOURS
        .iter()
        .flat_map(|&[r, g, b]| [r, g, b, fourth])
        .collect()
}

/// The picture as it looks with `Orientation`.
fn turned(orientation: u32, pixels: [usize; 6], size: Size) -> (Vec<u8>, Outcome) {
    let pixels = pixels.map(|place| COLOURS[place]).to_vec();
    (
        colours().tag(274, &[orientation]).file(),
        Exactly(size, pixels),
    )
}

/// 185 bytes that ask for a gigabyte.
fn greedy() -> Vec<u8> {
    let page = grey()
        .tag(WIDTH, &[32_768])
        .tag(HEIGHT, &[32_768])
        .tag(ROWS, &[32_768]);
    page.tag(LENGTHS, &[1 << 30]).file()
}

pub(super) fn cases() -> Vec<Case> {
    let tall = Size::new(3, 2);
    let big = Form {
        is_big: true,
        ..LITTLE
    };
    let long = Form {
        is_long: true,
        ..LITTLE
    };
    let rows = |page: Page| {
        let rows: Vec<_> = page.pieces[0]
            .chunks(page.pieces[0].len() / 2)
            .map(<[u8]>::to_vec)
            .collect();
        page.tag(ROWS, &[1]).pieces(&rows)
    };
    let smaller = || grey().tag(WIDTH, &[1]).tag(HEIGHT, &[1]).pieces(&[vec![7]]);
    let larger = || {
        grey()
            .tag(WIDTH, &[4])
            .tag(HEIGHT, &[2])
            .pieces(&[vec![7; 8]])
    };
    let black_and_white = Grey([0, 255, 0, 255, 255, 0]);
    let bits = [0b0100_0000, 0b1100_0000];
    let cmyk: Vec<u8> = COLOURS
        .iter()
        .flat_map(|&[r, g, b]| [255 - r, 255 - g, 255 - b, 0])
        .collect();
    let inverted = GREYS.map(|level| 255 - level);
    let plain = colours().file();
    let directory = grey().file().len() - 4 - 9 * 12 - 2;
    let mut oriented: Vec<Case> = Vec::new();
    for (name, orientation, pixels, size) in [
        ("orientation 1", 1, [0, 1, 2, 3, 4, 5], SIZE),
        ("orientation 2", 2, [2, 1, 0, 5, 4, 3], SIZE),
        ("orientation 3", 3, [5, 4, 3, 2, 1, 0], SIZE),
        ("orientation 4", 4, [3, 4, 5, 0, 1, 2], SIZE),
        ("orientation 5", 5, [0, 3, 1, 4, 2, 5], tall),
        ("orientation 6", 6, [3, 0, 4, 1, 5, 2], tall),
        ("orientation 7", 7, [5, 2, 4, 1, 3, 0], tall),
        ("orientation 8", 8, [2, 5, 1, 4, 0, 3], tall),
        (
            "an orientation that does not exist",
            9,
            [0, 1, 2, 3, 4, 5],
            SIZE,
        ),
    ] {
        let (bytes, outcome) = turned(orientation, pixels, size);
        oriented.push(case(name, bytes, outcome));
    }
    let mut cases = vec![
        case("grey", grey().file(), Grey(GREYS)),
        case("colours", plain.clone(), Colours),
        case("a strip a row", rows(colours()).file(), Colours),
        case("tiles", colours().tiled().file(), Colours),
        case("tiles of grey", grey().tiled().file(), Grey(GREYS)),
        case(
            "most significant byte first",
            colours().file_in(big),
            Colours,
        ),
        case("BigTIFF", colours().file_in(long), Colours),
        case(
            "BigTIFF, most significant byte first",
            rows(colours()).file_in(Form {
                is_big: true,
                ..long
            }),
            Colours,
        ),
        case("LZW", colours().packed(5, lzw).file(), Colours),
        case(
            "LZW in tiles",
            colours().tiled().packed(5, lzw).file(),
            Colours,
        ),
        case("Deflate", colours().packed(8, zlib).file(), Colours),
        case(
            "Deflate by its old number",
            colours().packed(32946, zlib).file(),
            Colours,
        ),
        case(
            "PackBits",
            colours().packed(32773, pack_bits).file(),
            Colours,
        ),
        case(
            "LZW of differences",
            colours()
                .tag(PREDICTOR, &[2])
                .packed(5, |it| lzw(&differences(it)))
                .file(),
            Colours,
        ),
        case(
            "Deflate of differences",
            grey()
                .tag(PREDICTOR, &[2])
                .packed(8, |it| zlib(&differences(it)))
                .file(),
            Grey(GREYS),
        ),
        case("planes", planes().file(), Colours),
        case("planes with LZW", planes().packed(5, lzw).file(), Colours),
        case(
            "1 bit",
            Page::new(1, &[1], &bits).file(),
            black_and_white.clone(),
        ),
        case(
            "1 bit, 0 is white",
            Page::new(0, &[1], &bits.map(|it: u8| !it)).file(),
            black_and_white,
        ),
        case(
            "0 is white",
            Page::new(0, &[8], &inverted).file(),
            Grey(GREYS),
        ),
        case(
            "0 is white, 16 bits",
            Page::new(0, &[16], &words(&wide(&inverted))).file(),
            Grey(GREYS),
        ),
        case(
            "0 is white, 12 of 16 bits",
            Page::new(0, &[16], &words(&[0, 1, 2, 3, 4, 4095])).file(),
            Refused(&["0 is white", "0 as black"]),
        ),
        case(
            "grey, 16 bits",
            Page::new(1, &[16], &words(&wide(&GREYS))).file(),
            Grey(GREYS),
        ),
        case(
            "grey, 16 bits, most significant byte first",
            Page::new(1, &[16], &deep(&GREYS)).file_in(big),
            Grey(GREYS),
        ),
        case(
            "grey, 12 of 16 bits",
            Page::new(1, &[16], &words(&[0, 1, 2, 3, 4, 4095])).file(),
            Refused(&["16 bits", "4095", "--depth"]),
        ),
        case(
            "grey, 12 of 16 bits and said so",
            Page::new(1, &[16], &words(&[0, 1365, 2730, 4095, 161, 321]))
                .tag(281, &[4095])
                .file(),
            Grey(GREYS),
        ),
        case(
            "colours, 16 bits",
            Page::new(2, &[16; 3], &words(&wide(&rgb()))).file(),
            Colours,
        ),
        case(
            "2 bits",
            Page::new(1, &[2], &[0; 2]).file(),
            Refused(&["2 bits a channel", "8 or 16"]),
        ),
        case(
            "4 bits",
            Page::new(1, &[4], &[0; 4]).file(),
            Refused(&["4 bits a channel", "8 or 16"]),
        ),
        case(
            "12 bits, packed",
            Page::new(1, &[12], &[0; 10]).file(),
            Refused(&["12 bits a channel", "8 or 16"]),
        ),
        case(
            "32 bits",
            Page::new(1, &[32], &[0; 24]).file(),
            Refused(&["32 bits a channel", "8 or 16"]),
        ),
        case(
            "floating-point numbers",
            Page::new(1, &[32], &[0; 24]).tag(FORMAT, &[3]).file(),
            Refused(&["floating-point", "8 or 16"]),
        ),
        case(
            "signed numbers",
            Page::new(1, &[16], &[0; 12]).tag(FORMAT, &[2]).file(),
            Refused(&["signed", "8 or 16"]),
        ),
        case(
            "a palette",
            Page::new(3, &[8], &GREYS).tag(320, &[0; 768]).file(),
            Refused(&["palette", "RGB or grey"]),
        ),
        case("CMYK", Page::new(5, &[8; 4], &cmyk).file(), Colours),
        case(
            "CMYK, 16 bits",
            Page::new(5, &[16; 4], &words(&wide(&cmyk))).file(),
            Colours,
        ),
        case(
            "Lab",
            Page::new(8, &[8; 3], &[0; 18]).file(),
            Refused(&["kind"]),
        ),
        case(
            "YCbCr",
            Page::new(6, &[8; 3], &[0; 18]).tag(530, &[1, 1]).file(),
            Refused(&["YCbCr", "RGB"]),
        ),
        case(
            "a JPEG in it",
            Page::new(6, &[8; 3], &[0xff, 0xd8, 0xff, 0xd9])
                .tag(PACKING, &[7])
                .tag(530, &[1, 1])
                .file(),
            Refused(&["YCbCr", "RGB"]),
        ),
        case(
            "a JPEG in it, of the old kind",
            Page::new(6, &[8; 3], &[0; 18])
                .tag(PACKING, &[6])
                .tag(530, &[1, 1])
                .file(),
            Refused(&["YCbCr", "RGB"]),
        ),
        case(
            "a fax",
            Page::new(0, &[1], &[0; 9]).tag(PACKING, &[4]).file(),
            Refused(&["damaged, or of a kind"]),
        ),
        case(
            "Zstandard",
            grey().tag(PACKING, &[50_000]).file(),
            Refused(&["damaged, or of a kind"]),
        ),
        case(
            "opaque alpha",
            Page::new(2, &[8; 4], &with_fourth(255))
                .tag(EXTRA, &[2])
                .file(),
            Colours,
        ),
        case(
            "alpha",
            Page::new(2, &[8; 4], &with_fourth(9))
                .tag(EXTRA, &[2])
                .file(),
            Refused(&["transparent"]),
        ),
        case(
            "a fourth channel of unknown meaning",
            Page::new(2, &[8; 4], &with_fourth(255))
                .tag(EXTRA, &[0])
                .file(),
            Colours,
        ),
        case(
            "a fourth channel that nothing is said of",
            Page::new(2, &[8; 4], &with_fourth(255)).file(),
            Colours,
        ),
        case(
            "grey and a second channel",
            Page::new(1, &[8; 2], &[0; 12]).file(),
            Refused(&["kind"]),
        ),
        case(
            "without the height of a strip",
            colours().without(ROWS).file(),
            Colours,
        ),
        case(
            "without the length of the strips",
            colours().tag(LENGTHS, &[]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "without the place of the strips",
            colours().tag(OFFSETS, &[]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "a strip too short",
            colours().pieces(&[rgb()[..17].to_vec()]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "LZW that ends early",
            colours().packed(5, |it| lzw(&it[..9])).file(),
            Refused(&["damaged"]),
        ),
        case(
            "PackBits that ends early",
            colours().packed(32773, |it| pack_bits(&it[..9])).file(),
            Refused(&["damaged"]),
        ),
        case(
            "a strip of two too short",
            rows(colours()).tag(LENGTHS, &[9, 5]).file(),
            Refused(&["damaged", "14 bytes of 18"]),
        ),
        case(
            "a stream that ends early",
            colours().packed(8, |it| zlib(&it[..9])).file(),
            Refused(&["damaged"]),
        ),
        case(
            "a strip behind the end",
            grey().tag(OFFSETS, &[9_999]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "one strip of two",
            grey().tag(ROWS, &[1]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "resolution and software",
            grey().tag(296, &[2]).tag(305, &[65]).file(),
            Grey(GREYS),
        ),
        case(
            "a smaller picture behind",
            pages(LITTLE, &[colours(), smaller()]),
            Colours,
        ),
        case(
            "a picture of the same size behind",
            pages(LITTLE, &[colours(), grey()]),
            Refused(&["several pictures", "separate file"]),
        ),
        case(
            "a larger picture behind",
            pages(LITTLE, &[colours(), larger()]),
            Refused(&["thumbnail", "2x3", "separate file"]),
        ),
        case(
            "a thumbnail first",
            pages(LITTLE, &[grey().tag(254, &[1]), larger()]),
            Refused(&["thumbnail", "separate file"]),
        ),
        case(
            "a thumbnail alone",
            grey().tag(254, &[1]).file(),
            Refused(&["thumbnail"]),
        ),
        case(
            "a damaged directory behind",
            with(
                grey().file(),
                grey().file().len() - 4,
                &9_999_u32.to_le_bytes(),
            ),
            Grey(GREYS),
        ),
        case(
            "a directory that follows itself",
            with(
                grey().file(),
                grey().file().len() - 4,
                &(directory as u32).to_le_bytes(),
            ),
            Refused(&["cycle", "again"]),
        ),
        case(
            "a gigabyte in 185 bytes",
            greedy(),
            Refused(&["32768x32768", "--max-megapixels"]),
        ),
        case(
            "a size that the file cannot hold",
            grey()
                .tag(WIDTH, &[9_000])
                .tag(HEIGHT, &[9_000])
                .tag(ROWS, &[9_000])
                .tag(LENGTHS, &[81_000_000])
                .file(),
            Refused(&["9000x9000", "bytes can hold"]),
        ),
        case(
            "the largest size that there is",
            grey()
                .tag(WIDTH, &[u32::MAX])
                .tag(HEIGHT, &[u32::MAX])
                .tag(ROWS, &[u32::MAX])
                .file(),
            Refused(&["damaged", "6 bytes"]),
        ),
        case(
            "a width of 0",
            grey().tag(WIDTH, &[0]).file(),
            Refused(&["damaged"]),
        ),
        case(
            "no width",
            grey().without(WIDTH).file(),
            Refused(&["damaged"]),
        ),
        case("no picture", LITTLE.header(0), Refused(&["damaged"])),
        case(
            "a directory behind the end",
            LITTLE.header(9_999),
            Refused(&["damaged"]),
        ),
        case(
            "a directory of 65535 entries",
            [LITTLE.header(8), vec![0xff, 0xff]].concat(),
            Refused(&["damaged"]),
        ),
        case(
            "cut in the directory",
            cut(&plain, plain.len() - 40),
            Refused(&["damaged"]),
        ),
        case("cut in the header", cut(&plain, 5), Refused(&["damaged"])),
        case(
            "bytes behind the end",
            [plain, vec![7; 9]].concat(),
            Colours,
        ),
    ];
    cases.extend(oriented);
    cases
}
