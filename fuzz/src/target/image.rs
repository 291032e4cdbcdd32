//! The decoder of image files, and of a camera's JPEG frames.

use std::path::Path;

use flawd_core::depth::Depth;
use flawd_core::image::Size;
use flawd_decode::{as_saved, from_bytes, jpeg_frame, samples, set_max_megapixels};

use super::{KIB, Limits, MIB, Target};

pub(super) const TARGET: Target = Target {
    name: "image",
    read,
    limits: Limits {
        // A megapixel may take 16 bytes per pixel, and exists twice.
        peak: 64 * MIB,
        peak_per_byte: 64,
        total: 256 * MIB,
        total_per_byte: 1024,
    },
    longest: 16 * KIB,
    words: &[
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xda",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xdb",
        b"\xff\xdd",
        b"\xff\xe1",
        b"\xff\xd0",
        b"\x89PNG\r\n\x1a\n",
        b"IHDR",
        b"PLTE",
        b"IDAT",
        b"tRNS",
        b"IEND",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"RIFF",
        b"WEBP",
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ALPH",
        b"ANIM",
        b"P1\n",
        b"P3\n",
        b"P4\n",
        b"P5\n",
        b"P6\n",
        b"P7\n",
        b"ENDHDR\n",
        b"TUPLTYPE RGB\n",
    ],
};

fn read(input: &[u8]) {
    set_max_megapixels(1);
    decode(input);
    let mut sealed = input.to_vec();
    if input.starts_with(PNG) && seal(&mut sealed).is_some() {
        // What comes after the checksums is reached as well.
        decode(&sealed);
    }
}

fn decode(bytes: &[u8]) {
    let path = Path::new("input");
    samples(path, bytes).ok();
    for depth in [None, Depth::try_from(12).ok()] {
        let Ok(image) = from_bytes(path, bytes, depth) else {
            continue;
        };
        let size = image.size();
        assert!(size.area() <= 1_000_000);
        let saved = as_saved(path, bytes).expect("it was decoded already");
        let saved = Size::new(saved.height() as usize, saved.width() as usize);
        assert_eq!(saved, size);
        // As a camera's frame, which is not turned.
        let turned = Size::new(size.width, size.height);
        for agreed in [size, turned] {
            if let Ok(frame) = jpeg_frame(bytes, agreed) {
                assert_eq!(frame.size(), agreed);
            }
        }
    }
}

/// The signature of a PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Corrects the checksums of all whole chunks; `None` if there was nothing to correct.
fn seal(png: &mut [u8]) -> Option<()> {
    let mut at = PNG.len();
    let mut sealed = None;
    // Length, kind, data, checksum of kind and data.
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("4 bytes")) as usize;
        let end = at + 8 + length;
        let Some(data) = png.get(at + 4..end) else {
            break;
        };
        let checksum = crc32fast::hash(data).to_be_bytes();
        let Some(place) = png.get_mut(end..end + 4) else {
            break;
        };
        if place != checksum {
            place.copy_from_slice(&checksum);
            sealed = Some(());
        }
        at = end + 4;
    }
    sealed
}
