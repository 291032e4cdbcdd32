//! Headers that claim any size: refused before memory is allocated for it.

use std::fs;
use std::path::Path;

use jpeg_encoder::{ColorType, Encoder};
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{Running, bundle};

/// A picture of noise, whose data is long.
fn jpeg(is_progressive: bool) -> Vec<u8> {
    let (width, height) = (640, 480);
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels: Vec<u8> = (0..width * height * 3).map(|_| noise()).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    encoder.set_progressive(is_progressive);
    encoder
        .encode(&pixels, width as u16, height as u16, ColorType::Rgb)
        .expect("it can be encoded");
    bytes
}

/// The JPEG with another size in its header: four bytes are changed.
fn claiming(mut jpeg: Vec<u8>, side: u16) -> Vec<u8> {
    let frame = (jpeg.windows(2))
        .position(|it| matches!(it, [0xff, 0xc0 | 0xc2]))
        .expect("it has a frame");
    let side = side.to_be_bytes();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[side, side].concat());
    jpeg
}

/// The most memory of a prediction of many pictures with this content, in KiB.
fn peak(folder: &Path, content: &[u8]) -> u64 {
    let mut arguments = Vec::from(arguments!["predict", bundle()]);
    for number in 0..40 {
        let path = folder.join(format!("{number}.jpg"));
        fs::write(&path, content).expect("writable");
        arguments.push(path.into());
    }
    let mut running = Running::start(arguments);
    // It cannot end while it waits for the reader of its lines.
    let said = running.lines().nth(20).expect("a line for each");
    assert!(said.starts_with("skipped"), "{said}");
    let peak = running.peak_kib();
    running.kill();
    peak
}

#[test]
fn a_header_that_claims_a_hundred_megapixels_takes_no_memory_for_them() {
    let folder = TempDir::new().expect("a temporary folder");
    let usual = peak(folder.path(), b"no picture");
    // Within the limit, so that only what the file holds speaks against them.
    for (name, content) in [
        ("baseline", claiming(jpeg(false), 10_000)),
        ("progressive", claiming(jpeg(true), 10_000)),
        ("above the limit", claiming(jpeg(false), 65_000)),
    ] {
        let length = content.len() as u64 / 1024;
        let more = peak(folder.path(), &content).saturating_sub(usual);
        assert!(length < 1000, "{length} KiB");
        // 8 bytes for each block of 64 pixels in a progressive one, and not 300 MB of pixels.
        assert!(more < 60 << 10, "{name}: {more} KiB");
    }
}
