//! Valid JPEGs of every kind are read, and every kind of loss is found.

use image::ExtendedColorType;
use image::codecs::jpeg as reference;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;

use super::*;

const SIZE: Size = Size::new(83, 117);

/// A picture with detail everywhere, so that every block has data, and different in every place.
fn pixels(size: Size, channels: usize) -> Vec<u8> {
    let value = |index: usize| {
        let (y, x) = (index / channels / size.width, index / channels % size.width);
        let wave = (x as f32 / 3.0).sin() * (y as f32 / 5.0).cos() * 60.0;
        (128.0 + wave + (x * y % 23) as f32 + (index % channels) as f32 * 9.0) as u8
    };
    (0..size.area() * channels).map(value).collect()
}

/// How a JPEG is written.
#[derive(Clone, Copy, Debug)]
struct Kind {
    color: ColorType,
    sampling: SamplingFactor,
    is_progressive: bool,
    restart: u16,
    is_optimised: bool,
}

const PLAIN: Kind = Kind {
    color: ColorType::Rgb,
    sampling: SamplingFactor::F_2_2,
    is_progressive: false,
    restart: 0,
    is_optimised: false,
};

fn encode(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_sampling_factor(kind.sampling);
    encoder.set_progressive(kind.is_progressive);
    encoder.set_restart_interval(kind.restart);
    encoder.set_optimized_huffman_tables(kind.is_optimised);
    let channels = match kind.color {
        ColorType::Luma => 1,
        ColorType::Rgb => 3,
        _ => 4,
    };
    let (width, height) = (SIZE.width as u16, SIZE.height as u16);
    encoder
        .encode(&pixels(SIZE, channels), width, height, kind.color)
        .expect("it can be encoded");
    bytes
}

fn kinds() -> Vec<Kind> {
    let samplings = [
        SamplingFactor::F_1_1,
        SamplingFactor::F_2_1,
        SamplingFactor::F_1_2,
        SamplingFactor::F_2_2,
        SamplingFactor::F_4_1,
        SamplingFactor::F_4_2,
        SamplingFactor::F_1_4,
        SamplingFactor::F_2_4,
    ];
    let colors = [
        ColorType::Rgb,
        ColorType::Luma,
        ColorType::Cmyk,
        ColorType::Ycck,
    ];
    let mut kinds = Vec::new();
    for sampling in samplings {
        for color in colors {
            for is_progressive in [false, true] {
                for restart in [0, 1, 7] {
                    // The encoder fails at others, or writes one scan per colour, which is refused.
                    let can_optimise = is_progressive && color == ColorType::Rgb && restart == 0;
                    // For these sequential ones it writes one scan per colour, which is refused.
                    let is_interleaved = matches!(
                        sampling,
                        SamplingFactor::F_1_1
                            | SamplingFactor::F_2_1
                            | SamplingFactor::F_1_2
                            | SamplingFactor::F_2_2
                    );
                    let is_usual = color != ColorType::Cmyk || sampling == SamplingFactor::F_1_1;
                    if !is_usual || !(is_interleaved || is_progressive) {
                        continue;
                    }
                    for is_optimised in [false, true]
                        .into_iter()
                        .take(1 + usize::from(can_optimise))
                    {
                        kinds.push(Kind {
                            color,
                            sampling,
                            is_progressive,
                            restart,
                            is_optimised,
                        });
                    }
                }
            }
        }
    }
    kinds
}

fn check(bytes: &[u8]) -> Result<header::Checked, JpegError> {
    header::check(bytes, 0, |_| Ok(()))
}

fn read(bytes: &[u8]) -> Result<RgbImage, JpegError> {
    decode_file(bytes, |_| Ok(())).map(|(image, _)| image)
}

#[test]
fn every_kind_of_whole_jpeg_is_found_whole() {
    for kind in kinds() {
        let bytes = encode(kind);
        let checked = check(&bytes).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(checked.end, bytes.len(), "{kind:?}");
        let image = read(&bytes).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(image.size(), SIZE, "{kind:?}");
        if kind.color == ColorType::Luma {
            let off = image.pixels().iter().step_by(3).zip(pixels(SIZE, 1));
            let off: u32 = off.map(|(&a, b)| u32::from(a.abs_diff(b))).sum();
            assert!(off < 6 * SIZE.area() as u32, "{kind:?}: {off}");
        }
    }
}

/// A picture of one grey in one scan of each kind, with any sampling of its colours: two bits per
/// block say that nothing differs.
fn flat(size: Size, samplings: &[(usize, usize)], is_progressive: bool) -> Vec<u8> {
    let most = |side: fn(&(usize, usize)) -> usize| samplings.iter().map(side).max().unwrap();
    let (across, down) = (most(|s| s.0), most(|s| s.1));
    let count = samplings.len() as u8;
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([1; 64]);
    bytes.extend([
        0xff,
        0xc0 + 2 * u8::from(is_progressive),
        0,
        8 + 3 * count,
        8,
    ]);
    bytes.extend([0, size.height as u8, 0, size.width as u8, count]);
    for (id, (h, v)) in (1..).zip(samplings) {
        bytes.extend([id, (h << 4 | v) as u8, 0]);
    }
    for class in [0, 0x10] {
        bytes.extend([0xff, 0xc4, 0, 20, class, 1]);
        bytes.extend([0; 16]);
    }
    let mut scan = |ids: &[u8], [from, to]: [u8; 2], bits: usize| {
        bytes.extend([0xff, 0xda, 0, 6 + 2 * ids.len() as u8, ids.len() as u8]);
        ids.iter().for_each(|&id| bytes.extend([id, 0]));
        bytes.extend([from, to, 0]);
        bytes.extend(vec![0; bits / 8]);
        if !bits.is_multiple_of(8) {
            bytes.push(0xff >> (bits % 8));
        }
    };
    let units = size.width.div_ceil(8 * across) * size.height.div_ceil(8 * down);
    let alone = |(h, v): (usize, usize)| {
        (size.width * h).div_ceil(across).div_ceil(8) * (size.height * v).div_ceil(down).div_ceil(8)
    };
    let blocks = match samplings {
        [only] => alone(*only),
        _ => units * samplings.iter().map(|(h, v)| h * v).sum::<usize>(),
    };
    let ids: Vec<u8> = (1..=count).collect();
    if is_progressive {
        scan(&ids, [0, 0], blocks);
        for (&id, &sampling) in ids.iter().zip(samplings) {
            scan(&[id], [1, 63], alone(sampling));
        }
    } else {
        scan(&ids, [0, 63], 2 * blocks);
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// For some of them the decoder panics or gives other pixels; these are refused first.
#[test]
fn no_sampling_makes_a_panic_or_other_pixels() {
    let factors: Vec<_> = (1..=4).flat_map(|h| (1..=4).map(move |v| (h, v))).collect();
    let mut frames: Vec<_> = factors.iter().map(|&only| vec![only]).collect();
    for &first in &factors {
        for &second in &factors {
            frames.push(vec![first, second, second]);
            frames.push(vec![first, second, (1, 1)]);
            frames.push(vec![first, (1, 1), second]);
            frames.push(vec![first, (1, 1), (1, 1), second]);
        }
    }
    for samplings in frames {
        for is_progressive in [false, true] {
            for size in [Size::new(83, 117), Size::new(16, 16), Size::new(1, 1)] {
                let bytes = flat(size, &samplings, is_progressive);
                if let Ok(image) = read(&bytes) {
                    let first = image.pixels()[0];
                    assert!(
                        image.pixels().iter().all(|&value| value == first),
                        "{samplings:?}, progressive: {is_progressive}, {size}"
                    );
                }
            }
        }
    }
    // The usual ones are read.
    for luma in [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)] {
        for is_progressive in [false, true] {
            let bytes = flat(SIZE, &[luma, (1, 1), (1, 1)], is_progressive);
            assert!(read(&bytes).is_ok(), "{luma:?}");
        }
    }
}

/// What follows the end marker is not part of the picture: padding of a camera's buffer, a second
/// picture, notes by a phone.
#[test]
fn bytes_behind_the_end_change_nothing() {
    let bytes = encode(PLAIN);
    let expected = read(&bytes).unwrap();
    for tail in [&[0; 4096][..], &bytes, b"\xff\xff\xff", b"more"] {
        assert_eq!(read(&[&bytes, tail].concat()).unwrap(), expected);
    }
}

/// Where the data of the first scan begins.
fn data_of(bytes: &[u8]) -> usize {
    let scan = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xda])
        .unwrap();
    scan + 2 + usize::from(u16::from_be_bytes([bytes[scan + 2], bytes[scan + 3]]))
}

/// A packet that did not arrive, anywhere in the data; the end marker is there. If the rest happens
/// to have as many blocks as the whole, it is a valid JPEG, and libjpeg finds nothing either: that
/// is one in a thousand.
#[test]
fn a_piece_that_is_missing_is_found_in_every_kind() {
    let (mut all, mut missed) = (0, 0);
    for kind in kinds() {
        let bytes = encode(kind);
        let data = data_of(&bytes);
        for place in 1..6 {
            let from = data + (bytes.len() - data) * place / 7;
            let to = (from + 200).min(bytes.len() - 2);
            let torn = [&bytes[..from], &bytes[to..]].concat();
            all += 1;
            missed += usize::from(check(&torn).is_ok());
        }
    }
    assert!(missed * 500 < all, "{missed} of {all}");
}

#[test]
fn restart_markers_out_of_order_are_found() {
    let bytes = encode(Kind {
        restart: 3,
        ..PLAIN
    });
    let places: Vec<usize> = (data_of(&bytes)..bytes.len() - 1)
        .filter(|&at| bytes[at] == 0xff && matches!(bytes[at + 1], 0xd0..=0xd7))
        .collect();
    // One interval is missing, and eight of them, after which the numbers are right again.
    for missing in [1, 8] {
        let torn = [&bytes[..places[1]], &bytes[places[1 + missing]..]].concat();
        let error = check(&torn).unwrap_err();
        assert!(
            matches!(
                error,
                JpegError::RestartOrder { .. } | JpegError::EndsEarly { .. }
            ),
            "{missing}: {error}"
        );
    }
}

#[test]
fn a_scan_that_is_missing_is_found() {
    let bytes = encode(Kind {
        is_progressive: true,
        ..PLAIN
    });
    let scans: Vec<usize> = (0..bytes.len() - 1)
        .filter(|&at| bytes[at..at + 2] == [0xff, 0xda])
        .collect();
    let torn = [&bytes[..scans[0]], &bytes[scans[1]..]].concat();
    assert!(check(&torn).is_err());
    let no_scan = [&bytes[..scans[0]], &[0xff, 0xd9]].concat();
    assert!(check(&no_scan).is_err());
}

#[test]
fn a_size_is_refused_before_anything_is_read_or_allocated() {
    let bytes = encode(PLAIN);
    let refused = decode_file(&bytes, |size| {
        assert_eq!(size, SIZE);
        Err(JpegError::NoEnd)
    });
    assert_eq!(refused.unwrap_err(), JpegError::NoEnd);
    let frame = bytes
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    let mut large = bytes;
    large[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    assert!(matches!(check(&large), Err(JpegError::TooLittle { .. })));
}

/// Motion JPEG of USB cameras.
#[test]
fn without_tables_the_standard_ones_are_meant() {
    let whole = {
        let mut bytes = Vec::new();
        reference::JpegEncoder::new_with_quality(&mut bytes, 90)
            .encode(&pixels(SIZE, 3), 117, 83, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    };
    let mut without = Vec::new();
    let mut rest = &whole[..];
    while let Some(at) = rest.windows(2).position(|pair| pair == [0xff, 0xc4]) {
        let length = usize::from(u16::from_be_bytes([rest[at + 2], rest[at + 3]]));
        without.extend_from_slice(&rest[..at]);
        rest = &rest[at + 2 + length..];
    }
    without.extend_from_slice(rest);
    assert!(without.len() + 400 < whole.len());
    assert_eq!(read(&without).unwrap(), read(&whole).unwrap());
    assert_eq!(
        decode_frame::<JpegError>(&without, |_| Ok(())).unwrap(),
        read(&whole).unwrap()
    );
}

/// Logitech's cameras leave a few bytes at the end of each interval, and lose nothing.
#[test]
fn a_camera_may_pad_its_data_and_a_file_may_not() {
    let bytes = encode(Kind {
        restart: 2,
        ..PLAIN
    });
    let mut padded = Vec::new();
    let data = data_of(&bytes);
    for (at, &byte) in bytes.iter().enumerate() {
        let is_marker = at > data && byte == 0xff && matches!(bytes[at + 1], 0xd0..=0xd9);
        if is_marker {
            padded.extend_from_slice(&[0x5a, 0xa5, 0, 7]);
        }
        padded.push(byte);
    }
    let image = decode_frame::<JpegError>(&padded, |_| Ok(())).unwrap();
    assert_eq!(image, read(&bytes).unwrap());
    assert_eq!(read(&padded).unwrap_err(), JpegError::LeftOver { bytes: 4 });
}

/// The decoder gives wrong pixels for these.
#[test]
fn colours_one_after_the_other_are_refused() {
    let bytes = encode(Kind {
        is_optimised: true,
        ..PLAIN
    });
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("one after the other"), "{error}");
}

#[test]
fn what_is_not_read_is_called_by_its_name() {
    let with_frame = |marker: u8| {
        let mut bytes = encode(PLAIN);
        let frame = bytes
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        bytes[frame + 1] = marker;
        check(&bytes).unwrap_err().to_string()
    };
    assert!(with_frame(0xc9).contains("arithmetic"));
    assert!(with_frame(0xc3).contains("lossless"));
    assert!(with_frame(0xc5).contains("hierarchical"));
    let mut twelve = encode(PLAIN);
    let frame = twelve
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    twelve[frame + 4] = 12;
    assert!(check(&twelve).unwrap_err().to_string().contains("8 bits"));
}

fn any_kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(kinds())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No bytes cause a panic, and the decoder reads whatever is found whole.
    #[test]
    fn damage_never_panics(kind in any_kind(), flips in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8)) {
        let mut bytes = encode(kind);
        for (place, value) in flips {
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] = value;
        }
        let admit = |size: Size| if size.area() < 1 << 20 { Ok(()) } else { Err(JpegError::NoEnd) };
        for outcome in [decode_file(&bytes, admit).map(|(image, _)| image), decode_frame(&bytes, admit)] {
            prop_assert!(outcome.is_err() || outcome.is_ok_and(|image| image.size().area() < 1 << 20));
        }
    }

    #[test]
    fn a_picture_that_is_cut_anywhere_is_refused(kind in any_kind(), place in 0.0..1.0_f64) {
        let bytes = encode(kind);
        let cut = (place * bytes.len() as f64) as usize;
        prop_assert!(check(&bytes[..cut]).is_err());
        let with_end = [&bytes[..cut], &[0xff, 0xd9]].concat();
        prop_assert!(cut + 4 > bytes.len() || kind.is_progressive || check(&with_end).is_err());
    }
}
