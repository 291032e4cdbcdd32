//! Masks as they occur in practice, each with the expected result. Everything is generated here.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, RgbImage,
    Rgba, RgbaImage,
};

use super::*;
use crate::pictures::decode::as_saved;

const HEIGHT: u32 = 48;
const WIDTH: u32 = 64;

/// Returns whether a pixel is marked: two areas.
fn is_inside(x: u32, y: u32) -> bool {
    ((8..24).contains(&x) && (8..20).contains(&y)) || is_second(x, y)
}

fn is_second(x: u32, y: u32) -> bool {
    (40..52).contains(&x) && (24..40).contains(&y)
}

/// Returns the truth at a size with the picture's proportions.
fn truth(size: Size) -> Vec<bool> {
    let scale = |place: usize, from: usize, to: u32| (place * to as usize / from) as u32;
    let places = (0..size.height).flat_map(|row| (0..size.width).map(move |column| (column, row)));
    places
        .map(|(x, y)| is_inside(scale(x, size.width, WIDTH), scale(y, size.height, HEIGHT)))
        .collect()
}

/// The expected result for a mask.
#[derive(Debug)]
enum Outcome {
    /// The two areas are marked.
    Marked,
    /// It is refused, and the reason contains this.
    Refused(&'static str),
}

use Outcome::{Marked, Refused};

fn grey(level: impl Fn(u32, u32) -> u8) -> DynamicImage {
    GrayImage::from_fn(WIDTH, HEIGHT, |x, y| Luma([level(x, y)])).into()
}

fn deep(level: impl Fn(u32, u32) -> u16) -> DynamicImage {
    ImageBuffer::from_fn(WIDTH, HEIGHT, |x, y| Luma([level(x, y)])).into()
}

fn colour(colour: impl Fn(u32, u32) -> [u8; 3]) -> DynamicImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| Rgb(colour(x, y))).into()
}

fn painted(colour: impl Fn(u32, u32) -> [u8; 4]) -> DynamicImage {
    RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| Rgba(colour(x, y))).into()
}

/// Returns one value inside, another one outside.
fn two<T: Copy>(inside: T, outside: T) -> impl Fn(u32, u32) -> T {
    move |x, y| if is_inside(x, y) { inside } else { outside }
}

/// Returns an edge that falls from `highest` over four pixels and has half of it at the edge.
fn soft(highest: f64) -> impl Fn(u32, u32) -> u8 {
    move |x, y| {
        let distance = |low: u32, high: u32, at: u32| {
            let at = f64::from(at) + 0.5;
            (at - f64::from(low)).min(f64::from(high) - at)
        };
        let first = distance(8, 24, x).min(distance(8, 20, y));
        let second = distance(40, 52, x).min(distance(24, 40, y));
        // A different level at each position, as a filter produces.
        let slant = f64::from(x + y) / 200.0;
        ((first.max(second) + slant + 2.0) / 4.0 * highest).clamp(0.0, highest) as u8
    }
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, format)
        .expect("it can be encoded");
    bytes.into_inner()
}

fn jpeg(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .write_image(image.as_bytes(), WIDTH, HEIGHT, image.color().into())
        .expect("it can be encoded");
    bytes
}

/// Returns a PNG of palette indices, optionally with alpha.
fn indexed_png(palette: &[[u8; 3]], alpha: &[u8], index: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(name);
        png.extend(data);
        png.extend(crc32(&[name, data].concat()).to_be_bytes());
    };
    let header = [
        &WIDTH.to_be_bytes()[..],
        &HEIGHT.to_be_bytes(),
        &[8, 3, 0, 0, 0],
    ]
    .concat();
    chunk(b"IHDR", &header);
    chunk(b"PLTE", &palette.concat());
    if !alpha.is_empty() {
        chunk(b"tRNS", alpha);
    }
    let rows = (0..HEIGHT).flat_map(|y| {
        let row = (0..WIDTH).map(|x| index(x, y)).collect::<Vec<u8>>();
        [vec![0], row].concat()
    });
    chunk(b"IDAT", &zlib(&rows.collect::<Vec<u8>>()));
    chunk(b"IEND", b"");
    png
}

/// Returns one stored block.
fn zlib(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    let head = [
        &[0x78, 1, 1][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
    ]
    .concat();
    [&head[..], data, &(b << 16 | a).to_be_bytes()].concat()
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Returns a BMP of palette indices.
fn indexed_bmp(palette: &[[u8; 3]], index: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let start = 54 + 4 * palette.len() as u32;
    let mut bmp = b"BM".to_vec();
    let words = [
        start + WIDTH * HEIGHT,
        0,
        start,
        40,
        WIDTH,
        HEIGHT,
        8 << 16 | 1,
        0,
        0,
        0,
        0,
    ];
    words
        .iter()
        .for_each(|word: &u32| bmp.extend(word.to_le_bytes()));
    bmp.extend((palette.len() as u32).to_le_bytes());
    bmp.extend(0_u32.to_le_bytes());
    palette
        .iter()
        .for_each(|[r, g, b]| bmp.extend([*b, *g, *r, 0]));
    let rows = (0..HEIGHT).rev();
    bmp.extend(
        rows.flat_map(|y| (0..WIDTH).map(move |x| (x, y)))
            .map(|(x, y)| index(x, y)),
    );
    bmp
}

/// Returns the mask at another size, by repeating or skipping pixels.
fn resized(mask: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    mask.resize_exact(width, height, image::imageops::FilterType::Nearest)
}

/// Returns every mask, as the bytes of a file, and the expected result.
fn table() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let png = |image: DynamicImage| encoded(&image, ImageFormat::Png);
    let labels = |low: u8, high: u8| {
        grey(move |x, y| match (is_second(x, y), is_inside(x, y)) {
            (true, _) => high,
            (_, true) => low,
            _ => 0,
        })
    };
    let black = [0, 0, 0];
    let noise = |x: u32, y: u32| ((x * 7 + y * 13) % 4) as u8;
    let photograph = |x: u32, y: u32| (x * 3 + y) as u8;
    let mut table: Vec<(&str, Vec<u8>, Outcome)> = Vec::new();
    for level in [1, 2, 15, 64, 127, 128, 254, 255] {
        table.push(("one grey level", png(grey(two(level, 0))), Marked));
    }
    for level in [1, 255, 256, 257, 32_767, 65_535] {
        table.push(("one level of 16 bits", png(deep(two(level, 0))), Marked));
    }
    for shade in [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [0, 0, 1],
        [255, 255, 0],
        [128, 0, 128],
        [0, 64, 0],
    ] {
        table.push(("one colour", png(colour(two(shade, black))), Marked));
    }
    for format in [ImageFormat::Bmp, ImageFormat::Tiff] {
        for level in [1, 255] {
            table.push((
                "another format",
                encoded(&grey(two(level, 0)), format),
                Marked,
            ));
        }
    }
    for (low, high) in [(1, 2), (2, 1), (1, 255), (85, 170), (100, 255), (255, 254)] {
        table.push(("labels", png(labels(low, high)), Marked));
    }
    table.push((
        "labels in colours",
        png(colour(|x, y| match (is_second(x, y), is_inside(x, y)) {
            (true, _) => [0, 64, 0],
            (_, true) => [0, 0, 192],
            _ => black,
        })),
        Marked,
    ));
    for highest in [255.0, 176.0, 90.0, 40.0] {
        table.push(("soft edges", png(grey(soft(highest))), Marked));
    }
    table.push(("soft edges, lossy", jpeg(&grey(soft(255.0))), Marked));
    table.push(("hard edges, lossy", jpeg(&grey(two(255, 0))), Marked));
    table.push((
        "soft colour",
        png(colour(|x, y| [0, soft(255.0)(x, y), 0])),
        Marked,
    ));
    for alpha in [255, 128, 0] {
        let flat = painted(move |x, y| {
            let level = two(255, 0)(x, y);
            [level, level, level, alpha]
        });
        table.push(("an alpha that says nothing", png(flat), Marked));
    }
    for shade in [[255, 255, 255], [200, 0, 0], black] {
        let on_nothing = painted(move |x, y| match is_inside(x, y) {
            true => [shade[0], shade[1], shade[2], 255],
            false => [0, 0, 0, 0],
        });
        table.push(("painted on nothing", png(on_nothing), Marked));
        let soft = painted(move |x, y| [shade[0], shade[1], shade[2], soft(255.0)(x, y)]);
        table.push(("painted softly on nothing", png(soft), Marked));
    }
    let on_black = painted(|x, y| match (is_inside(x, y), x < 32) {
        (true, _) => [255, 0, 0, 255],
        (_, true) => [0, 0, 0, 255],
        _ => [0, 0, 0, 0],
    });
    table.push(("black and nothing around it", png(on_black), Marked));
    let grey_alpha: ImageBuffer<LumaA<u8>, Vec<u8>> =
        ImageBuffer::from_fn(WIDTH, HEIGHT, |x, y| LumaA([255, two(255, 0)(x, y)]));
    table.push(("grey with alpha", png(grey_alpha.into()), Marked));
    for palette in [
        [black, [128, 0, 0]],
        [black, [1, 1, 1]],
        [black, [255, 255, 255]],
    ] {
        table.push(("a palette", indexed_png(&palette, &[], two(1, 0)), Marked));
        table.push((
            "a palette of a BMP",
            indexed_bmp(&palette, two(1, 0)),
            Marked,
        ));
    }
    let turned = [[255, 255, 255], black];
    table.push((
        "a palette the other way round",
        indexed_png(&turned, &[], two(0, 1)),
        Marked,
    ));
    let clear = indexed_png(&[black, [9, 9, 9]], &[0, 255], two(1, 0));
    table.push(("a palette with a clear ground", clear, Marked));
    for (width, height) in [(128, 96), (32, 24), (192, 144), (65, 49), (1024, 768)] {
        let other = resized(&grey(two(1, 0)), width, height);
        table.push(("another size of the same proportions", png(other), Marked));
    }
    for (width, height) in [(48, 64), (64, 64), (64, 40), (1, 1), (128, 48)] {
        let other = resized(&grey(two(255, 0)), width, height);
        table.push((
            "other proportions",
            png(other),
            Refused("not the same proportions"),
        ));
    }
    let viridis = [[68, 1, 84], [253, 231, 37]];
    table.push((
        "a palette without black",
        indexed_png(&viridis, &[], two(1, 0)),
        Refused("no black"),
    ));
    let all_black = indexed_png(&[black, black], &[], two(1, 0));
    table.push((
        "a palette of nothing but black",
        all_black,
        Refused("black all over"),
    ));
    for level in [0, 1, 255] {
        let why = if level == 0 {
            "black all over"
        } else {
            "no black"
        };
        table.push((
            "one level everywhere",
            png(grey(move |_, _| level)),
            Refused(why),
        ));
    }
    table.push((
        "nothing painted",
        png(painted(|_, _| [0, 0, 0, 0])),
        Refused("black all over"),
    ));
    table.push((
        "colours on white",
        png(colour(two([255, 0, 0], [255; 3]))),
        Refused("no black"),
    ));
    table.push(("labels from 1", png(grey(two(2, 1))), Refused("no black")));
    table.push(("noise of black", png(grey(noise)), Refused("lossy")));
    table.push((
        "black, lossy",
        jpeg(&grey(|_, _| 0)),
        Refused("black all over"),
    ));
    table.push(("faint, lossy", jpeg(&grey(two(3, 0))), Refused("lossy")));
    table.push(("a photograph", png(grey(photograph)), Refused("photograph")));
    table.push((
        "a photograph, lossy",
        jpeg(&grey(photograph)),
        Refused("photograph"),
    ));
    let uncertain = grey(|x, y| match is_second(x, y) {
        true => 100,
        false => soft(255.0)(x, y),
    });
    table.push((
        "areas beside soft edges",
        png(uncertain),
        Refused("levels in between"),
    ));
    table
}

#[test]
fn every_mask_marks_the_defect_or_is_refused_with_the_reason() {
    let image = Size::new(HEIGHT as usize, WIDTH as usize);
    let table = table();
    for (name, bytes, outcome) in &table {
        let mask = as_saved(Path::new(name), bytes).expect("it is a picture");
        let is_lossy = bytes.starts_with(&[0xff, 0xd8]);
        let marked = marked(&mask, is_lossy, image);
        match (outcome, &marked) {
            (Marked, Ok(marked)) => {
                let wrong = marked
                    .iter()
                    .zip(truth(image))
                    .filter(|(a, b)| **a != *b)
                    .count();
                // Half of a soft edge is not always at the edge, and neither is a rounded size.
                let allowed = if name.contains("soft") || name.contains("lossy") {
                    60
                } else if name.contains("another size") {
                    80
                } else {
                    0
                };
                assert!(wrong <= allowed, "{name}: {wrong} pixels");
            }
            (Refused(why), Err(error)) => {
                assert!(error.to_string().contains(why), "{name}: {error}");
            }
            _ => panic!(
                "{name}: {outcome:?} was expected, and there is {:?}",
                marked.err()
            ),
        }
    }
    assert!(table.len() > 70, "{}", table.len());
}

/// A scratch one pixel wide, in a mask larger and smaller than its picture.
#[test]
fn no_mark_vanishes_in_another_size() {
    let line = |size: Size| {
        (0..size.area())
            .map(|at| at % size.width == 5)
            .collect::<Vec<bool>>()
    };
    let (small, large) = (Size::new(20, 30), Size::new(100, 150));
    for (from, to) in [(small, large), (large, small)] {
        let fitted = fit(&line(from), from, to);
        for row in 0..to.height {
            let row = &fitted[row * to.width..][..to.width];
            assert!(row.contains(&true));
        }
    }
}

/// Confirms what was measured on published data sets: the magnetic tiles have soft edges, the
/// others one level.
#[test]
fn masks_of_published_sets_mark_what_is_above_127() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !shared.exists() {
        println!("absent: shared/data is not beside the repository");
        return;
    }
    let mut masks = 0;
    for set in ["mtd", "bottle", "deeppcb"] {
        let kinds = shared.join(set).join("ground_truth");
        let kinds = kinds.read_dir().expect("a folder");
        let kinds = kinds.map(|kind| kind.expect("readable").path());
        for path in kinds.flat_map(|kind| kind.read_dir().expect("a folder")) {
            let path = path.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            let mask = as_saved(&path, &bytes).expect("it is a picture");
            let size = Size::new(mask.height() as usize, mask.width() as usize);
            let expected = mask
                .to_luma8()
                .pixels()
                .map(|pixel| pixel[0] > 127)
                .collect();
            assert_eq!(
                marked(&mask, false, size),
                Ok(expected),
                "{}",
                path.display()
            );
            masks += 1;
        }
    }
    assert!(masks > 300, "{masks}");
}
