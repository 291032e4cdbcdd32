//! Two hundred well-formed, odd and broken pictures, each with its one right outcome: known pixels,
//! or a message that names the cause and the remedy.
//!
//! One file for each format has the rows, and the code that writes such files; nothing here is
//! decoded by the library under test beforehand. The outcome is the same on every path: files of
//! training and prediction, the folder camera, and for JPEGs the frames of a camera.

use std::fs;
use std::path::{Path, PathBuf};

use flawd::line::pipeline::capture::{FolderSource, Source};
use flawd::messages::with_causes;
use flawd::pictures::decode::{Samples, decode_file, from_bytes, jpeg_frame, samples};
use flawd_core::depth::Depth;
use flawd_core::image::{RgbImage, Size};

mod bmp;
mod files;
mod jpeg;
mod png;
mod pnm;
mod tiff;
mod webp;

/// A picture and its required outcome.
struct Case {
    /// What is special about it.
    name: &'static str,
    bytes: Vec<u8>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// Exactly [`COLOURS`].
    Colours,
    /// Exactly these levels of grey, in the size of [`COLOURS`].
    Grey([u8; 6]),
    /// Exactly these pixels.
    Exactly(Size, Vec<[u8; 3]>),
    /// A picture of this size whose quarters have these colours, within what JPEG loses.
    Quarters(Size, [[u8; 3]; 4]),
    /// Words, which contain all of these.
    Refused(&'static [&'static str]),
}

use Outcome::{Colours, Exactly, Grey, Quarters, Refused};

/// Three pixels across, two down.
const SIZE: Size = Size::new(2, 3);

const COLOURS: [[u8; 3]; 6] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [0, 0, 0],
    [255, 255, 255],
    [10, 20, 30],
];

const GREYS: [u8; 6] = [0, 85, 170, 255, 10, 20];

/// What a JPEG may differ by.
const LOSS: u8 = 6;

fn case(name: &'static str, bytes: Vec<u8>, outcome: Outcome) -> Case {
    Case {
        name,
        bytes,
        outcome,
    }
}

/// [`COLOURS`] as bytes.
fn rgb() -> Vec<u8> {
    COLOURS.concat()
}

/// The first row of [`COLOURS`] and the second, each behind a byte.
fn each_row(before: u8, bytes: &[u8]) -> Vec<u8> {
    let rows = bytes.chunks(bytes.len() / SIZE.height);
    rows.flat_map(|row| [&[before], row].concat()).collect()
}

/// Levels as samples of 16 bits, most significant byte first.
fn deep(levels: &[u8]) -> Vec<u8> {
    levels.iter().flat_map(|&level| [level, level]).collect()
}

/// `base` with `bytes` in its own place from `at`.
fn with(mut base: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    base[at..at + bytes.len()].copy_from_slice(bytes);
    base
}

/// `base` without its end.
fn cut(base: &[u8], length: usize) -> Vec<u8> {
    base[..length].to_vec()
}

impl Outcome {
    /// What is wrong with the outcome for a picture, if anything.
    fn differs(&self, came: &Result<RgbImage, String>) -> Option<String> {
        let exactly = |size: Size, pixels: Vec<[u8; 3]>| match came {
            Ok(image) if image.size() == size && image.pixels() == pixels.concat() => None,
            Ok(image) => Some(format!("{} {:?}", image.size(), image.pixels())),
            Err(said) => Some(said.clone()),
        };
        match self {
            Colours => exactly(SIZE, COLOURS.to_vec()),
            Grey(levels) => exactly(SIZE, levels.map(|level| [level; 3]).to_vec()),
            Exactly(size, pixels) => exactly(*size, pixels.clone()),
            Quarters(size, colours) => match came {
                Ok(image) => {
                    let found = quarters(image);
                    let is_near = found.iter().zip(colours).all(|(found, colour)| {
                        let mut off = found.iter().zip(colour).map(|(a, b)| a.abs_diff(*b));
                        off.all(|off| off <= LOSS)
                    });
                    let is_right = image.size() == *size && is_near;
                    (!is_right).then(|| format!("{} {found:?}", image.size()))
                }
                Err(said) => Some(said.clone()),
            },
            Refused(parts) => match came {
                Ok(image) => Some(format!("{} {:?}", image.size(), &image.pixels()[..3])),
                Err(said) if parts.iter().all(|part| said.contains(part)) => None,
                Err(said) => Some(said.clone()),
            },
        }
    }
}

/// The pixels in the middle of the four quarters.
fn quarters(image: &RgbImage) -> [[u8; 3]; 4] {
    let Size { height, width } = image.size();
    let pixel = |row: usize, column: usize| {
        let at = (row * width + column) * 3;
        let bytes = &image.pixels()[at..at + 3];
        [bytes[0], bytes[1], bytes[2]]
    };
    let (top, bottom) = (height / 4, height - 1 - height / 4);
    let (left, right) = (width / 4, width - 1 - width / 4);
    [
        pixel(top, left),
        pixel(top, right),
        pixel(bottom, left),
        pixel(bottom, right),
    ]
}

/// The complete message for a file, with its causes.
fn read(path: &Path) -> Result<RgbImage, String> {
    decode_file(path, None).map_err(|error| with_causes(&error))
}

/// The tables, with the ending of their files.
fn tables() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("png", png::cases()),
        ("jpg", jpeg::cases()),
        ("tif", tiff::cases()),
        ("bmp", bmp::cases()),
        ("webp", webp::cases()),
        ("pnm", pnm::cases()),
        ("bin", files::contents()),
    ]
}

/// Writes every picture into `folder`, in order; a folder camera gives them in the same one.
fn write_all(folder: &Path, tables: &[(&str, Vec<Case>)]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (table, (ending, cases)) in tables.iter().enumerate() {
        for (row, case) in cases.iter().enumerate() {
            // The content says what it is, and the folder camera takes none without an ending.
            let ending = if *ending == "bin" { "png" } else { ending };
            let path = folder.join(format!("{table}-{row:03}.{ending}"));
            fs::write(&path, &case.bytes).expect("writable");
            paths.push(path);
        }
    }
    paths
}

#[test]
fn every_picture_has_its_outcome_through_every_door() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = tables();
    let paths = write_all(folder.path(), &tables);
    let mut camera = FolderSource::open(folder.path(), false).expect("it has pictures");
    let mut wrong = Vec::new();
    let rows = (tables.iter()).flat_map(|(ending, cases)| cases.iter().map(move |it| (ending, it)));
    for ((ending, case), path) in rows.zip(&paths) {
        let mut check = |door: &str, came: &Result<RgbImage, String>| {
            if let Some(came) = case.outcome.differs(came) {
                let Case { name, outcome, .. } = case;
                wrong.push(format!("{ending}, {name} ({door}): {outcome:?}\n  {came}"));
            }
        };
        let of_file = read(path);
        check("file", &of_file);
        let frame = camera
            .next_frame()
            .expect("a folder")
            .expect("one for each");
        let image = (frame.image).and_then(|pixels| Ok(pixels.at(None)?));
        let of_camera = image
            .map(|image| (*image).clone())
            .map_err(|error| with_causes(&error));
        check("folder camera", &of_camera);
        if let (Ok(image), "jpg", false) = (&of_file, *ending, case.name.contains("orientation")) {
            let frame = jpeg_frame(&case.bytes, image.size());
            check("frame", &frame.map_err(|problem| problem.to_string()));
        } else if *ending == "jpg" && of_file.is_err() {
            let size = Size::new(jpeg::SIDE, jpeg::SIDE);
            let frame = jpeg_frame(&case.bytes, size);
            if frame.is_ok() && !case.name.contains("bytes left over") {
                wrong.push(format!("jpg, {}: taken as a frame", case.name));
            }
        }
    }
    let all: usize = tables.iter().map(|(_, cases)| cases.len()).sum();
    assert!(all >= 200, "{all} pictures");
    assert!(
        wrong.is_empty(),
        "{} of {all}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The depth is the only thing that the reader may know of a file.
#[test]
fn a_stated_depth_changes_no_outcome_of_eight_bits() {
    for (ending, cases) in tables() {
        for case in cases {
            let path = Path::new("part").with_extension(ending);
            let read = |depth| from_bytes(&path, &case.bytes, depth).ok();
            if let Ok(Samples::Eight) = samples(&path, &case.bytes) {
                assert_eq!(read(None), read(Some(Depth::FULL)), "{}", case.name);
            }
        }
    }
}
