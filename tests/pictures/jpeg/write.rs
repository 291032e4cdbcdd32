//! Writes JPEGs as the tables require, and changes their segments.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::png::exif;
use super::*;

/// A side of every picture here: four quarters of 32 by 32 pixels, so that each has whole units.
pub(in super::super) const SIDE: usize = 64;

pub(super) const SQUARE: Size = Size::new(SIDE, SIDE);

pub(super) const COLOURED: [[u8; 3]; 4] =
    [[200, 60, 40], [40, 180, 70], [30, 60, 210], [120, 120, 120]];

pub(super) const LEVELS: [u8; 4] = [30, 220, 120, 180];

/// The quarters, one value after the other.
pub(super) fn pixels(quarters: &[Vec<u8>; 4]) -> Vec<u8> {
    let place = |at: usize| (at / SIDE / (SIDE / 2)) * 2 + (at % SIDE) / (SIDE / 2);
    (0..SIDE * SIDE)
        .flat_map(|at| quarters[place(at)].clone())
        .collect()
}

pub(super) fn encode(
    colour: ColorType,
    quarters: [Vec<u8>; 4],
    set: impl Fn(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 98);
    set(&mut encoder);
    encoder
        .encode(&pixels(&quarters), SIDE as u16, SIDE as u16, colour)
        .expect("it can be encoded");
    bytes
}

pub(super) fn coloured(set: impl Fn(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    encode(ColorType::Rgb, COLOURED.map(|colour| colour.to_vec()), set)
}

pub(super) fn grey() -> Vec<u8> {
    encode(ColorType::Luma, LEVELS.map(|level| vec![level]), |_| {})
}

pub(super) fn sampled(factor: SamplingFactor) -> Vec<u8> {
    coloured(|encoder| encoder.set_sampling_factor(factor))
}

pub(super) fn plain() -> Vec<u8> {
    sampled(SamplingFactor::F_1_1)
}

pub(super) fn progressive() -> Vec<u8> {
    coloured(|encoder| encoder.set_progressive(true))
}

pub(super) fn with_restarts() -> Vec<u8> {
    coloured(|encoder| encoder.set_restart_interval(2))
}

/// With four inks; `turn` maps a value to the one in the file.
pub(super) fn inks(colour: ColorType) -> Vec<u8> {
    encode(
        colour,
        COLOURED.map(|[r, g, b]| vec![255 - r, 255 - g, 255 - b, 0]),
        |encoder| {
            encoder.set_sampling_factor(SamplingFactor::F_1_1);
        },
    )
}

/// Where this marker is.
pub(super) fn at(jpeg: &[u8], marker: u8) -> usize {
    let found = jpeg.windows(2).position(|it| it == [0xff, marker]);
    found.expect("it has such a marker")
}

pub(super) fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&[0xff, marker][..], &length, content].concat()
}

/// With a segment behind the first marker.
pub(super) fn and(jpeg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    [&jpeg[..2], &segment(marker, content), &jpeg[2..]].concat()
}

/// Without the first segment of this kind.
pub(super) fn without(jpeg: &[u8], marker: u8) -> Vec<u8> {
    let from = at(jpeg, marker);
    let length = usize::from(u16::from_be_bytes([jpeg[from + 2], jpeg[from + 3]]));
    [&jpeg[..from], &jpeg[from + 2 + length..]].concat()
}

pub(super) fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    while jpeg.windows(2).any(|it| it == [0xff, 0xc4]) {
        jpeg = without(&jpeg, 0xc4);
    }
    jpeg
}

pub(super) fn with_exif(orientation: u8) -> Vec<u8> {
    and(
        &plain(),
        0xe1,
        &[b"Exif\0\0".to_vec(), exif(orientation)].concat(),
    )
}

/// With another marker for its frame.
pub(super) fn with_frame(marker: u8) -> Vec<u8> {
    let plain = plain();
    let place = at(&plain, 0xc0) + 1;
    with(plain, place, &[marker])
}

/// With other bytes in its frame, from `offset` behind the marker on.
pub(super) fn frame_with(jpeg: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let marker = if jpeg.windows(2).any(|it| it == [0xff, 0xc0]) {
        0xc0
    } else {
        0xc2
    };
    let place = at(&jpeg, marker) + 2 + offset;
    with(jpeg, place, bytes)
}

/// With other names for its three colours, in frame and scan.
pub(super) fn named(jpeg: Vec<u8>, names: [u8; 3]) -> Vec<u8> {
    let (frame, scan) = (at(&jpeg, 0xc0), at(&jpeg, 0xda));
    (0..3).fold(jpeg, |jpeg, place| {
        let jpeg = with(jpeg, frame + 10 + 3 * place, &[names[place]]);
        with(jpeg, scan + 5 + 2 * place, &[names[place]])
    })
}

/// Markers of restarts behind the beginning of the scan.
pub(super) fn restarts(jpeg: &[u8]) -> Vec<usize> {
    let from = at(jpeg, 0xda);
    (from..jpeg.len() - 1)
        .filter(|&at| jpeg[at] == 0xff && matches!(jpeg[at + 1], 0xd0..=0xd7))
        .collect()
}

/// Adobe's segment, with the number of the colours' transformation.
pub(super) fn adobe(transform: u8) -> Vec<u8> {
    [b"Adobe\0\x64\0\0\0\0".to_vec(), vec![transform]].concat()
}

/// One grey in `scans` scans of a progressive picture: two tables of one code of one bit, which says
/// that nothing differs.
pub(super) fn in_scans(scans: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    bytes.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    bytes.extend(segment(
        0xc2,
        &[8, 0, 64, 0, 64, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0],
    ));
    for class in [0, 0x10] {
        bytes.extend(segment(0xc4, &[&[class, 1][..], &[0; 16]].concat()));
    }
    // A bit for each of 64 blocks of a colour.
    let mut scan = |ids: &[u8], from: u8| {
        let selectors: Vec<u8> = ids.iter().flat_map(|&id| [id, 0]).collect();
        let head = [&[ids.len() as u8][..], &selectors, &[from, from, 0]].concat();
        bytes.extend(segment(0xda, &head));
        bytes.extend(vec![0; 8 * ids.len()]);
    };
    scan(&[1, 2, 3], 0);
    let further = (1..64).flat_map(|from| (1..=3).map(move |id| (id, from)));
    for (id, from) in further.take(scans - 1) {
        scan(&[id], from);
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// The colours if they are read as stored, as red, green and blue.
pub(super) fn stored() -> [[u8; 3]; 4] {
    COLOURED.map(|[r, g, b]| {
        let [r, g, b] = [r, g, b].map(f64::from);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        [y, 128.0 + (b - y) / 1.772, 128.0 + (r - y) / 1.402].map(|it| it.round() as u8)
    })
}
