//! JPEG: kinds of coding and of colour, what other programs add to the file, and damage.

use jpeg_encoder::{ColorType, SamplingFactor};

use super::png::exif;
use super::*;

pub(super) use write::SIDE;
use write::*;

mod write;

pub(super) fn cases() -> Vec<Case> {
    let whole = || Quarters(SQUARE, COLOURED);
    let levels = || Quarters(SQUARE, LEVELS.map(|level| [level; 3]));
    let sizes = |height: u16, width: u16| [height.to_be_bytes(), width.to_be_bytes()].concat();
    let plain_one = plain();
    let restarted = with_restarts();
    let marks = restarts(&restarted);
    let without_one = [&restarted[..marks[1]], &restarted[marks[2]..]].concat();
    let swapped = {
        let first = restarted[marks[1] + 1];
        with(
            with(restarted.clone(), marks[1] + 1, &[first + 1]),
            marks[2] + 1,
            &[first],
        )
    };
    let data = at(&plain_one, 0xda) + 14;
    let middle = data + (plain_one.len() - data) / 2;
    let progressive_one = progressive();
    let scans: Vec<usize> = (0..progressive_one.len() - 1)
        .filter(|&at| progressive_one[at..at + 2] == [0xff, 0xda])
        .collect();
    let thumbnail = [b"Exif\0\0".to_vec(), exif(1), grey()].concat();
    let mpf = [b"MPF\0".to_vec(), exif(1)].concat();
    let [a, b, c, d] = COLOURED;
    let mut cases = vec![
        case("grey", grey(), levels()),
        case("colours", plain_one.clone(), whole()),
        case(
            "half the colours across",
            sampled(SamplingFactor::F_2_1),
            whole(),
        ),
        case(
            "half the colours down",
            sampled(SamplingFactor::F_1_2),
            whole(),
        ),
        case(
            "a quarter of the colours",
            sampled(SamplingFactor::F_2_2),
            whole(),
        ),
        case("progressive", progressive_one.clone(), whole()),
        case(
            "progressive, tables of its own",
            coloured(|encoder| {
                encoder.set_progressive(true);
                encoder.set_optimized_huffman_tables(true);
            }),
            whole(),
        ),
        case("restarts", restarted.clone(), whole()),
        case("CMYK of Adobe", inks(ColorType::Cmyk), whole()),
        case("YCCK of Adobe", inks(ColorType::CmykAsYcck), whole()),
        case(
            "Adobe's colours without transformation",
            and(&without(&plain_one, 0xe0), 0xee, &adobe(0)),
            Quarters(SQUARE, stored()),
        ),
        case(
            "Adobe's colours with transformation",
            and(&without(&plain_one, 0xe0), 0xee, &adobe(1)),
            whole(),
        ),
        case(
            "colours that are called R, G and B",
            named(without(&plain_one, 0xe0), *b"RGB"),
            Quarters(SQUARE, stored()),
        ),
        case(
            "colours that are called 0, 1 and 2",
            named(plain_one.clone(), [0, 1, 2]),
            whole(),
        ),
        case("without JFIF", without(&plain_one, 0xe0), whole()),
        case("a comment", and(&plain_one, 0xfe, b"a part"), whole()),
        case(
            "a colour profile",
            and(&plain_one, 0xe2, b"ICC_PROFILE\0\x01\x01no profile"),
            whole(),
        ),
        case(
            "a thumbnail in EXIF",
            and(&plain_one, 0xe1, &thumbnail),
            whole(),
        ),
        case(
            "a thumbnail in JFXX",
            and(&plain_one, 0xe0, &[b"JFXX\0\x10".to_vec(), grey()].concat()),
            whole(),
        ),
        case(
            "several pictures by MPF",
            [and(&plain_one, 0xe2, &mpf), grey()].concat(),
            whole(),
        ),
        case(
            "two pictures",
            [plain_one.clone(), grey()].concat(),
            whole(),
        ),
        case(
            "bytes behind the end",
            [plain_one.clone(), vec![0; 99]].concat(),
            whole(),
        ),
        case(
            "fill bytes before a marker",
            [&plain_one[..2], &[0xff; 5], &plain_one[2..]].concat(),
            whole(),
        ),
        case(
            "no Huffman tables",
            without_tables(&encode(
                ColorType::Luma,
                LEVELS.map(|it| vec![it]),
                |encoder| encoder.set_optimized_huffman_tables(false),
            )),
            levels(),
        ),
        case(
            "one Huffman table of four",
            without(&plain_one, 0xc4),
            Refused(&["damaged"]),
        ),
        case(
            "no quantisation tables",
            without(&without(&plain_one, 0xdb), 0xdb),
            Refused(&["quanti"]),
        ),
        case(
            "EXIF that is cut",
            and(&plain_one, 0xe1, b"Exif\0\0MM\0*\0"),
            whole(),
        ),
        case(
            "EXIF that is none",
            and(&plain_one, 0xe1, b"Exif\0\0nothing"),
            whole(),
        ),
        case("100 scans", in_scans(100), Quarters(SQUARE, [[128; 3]; 4])),
        case(
            "101 scans",
            in_scans(101),
            Refused(&["more than 100 scans"]),
        ),
        case(
            "progressive, cut in its third scan",
            cut(&progressive_one, scans[3] - 9),
            Refused(&["of the picture", "again"]),
        ),
        case(
            "progressive, cut behind its first scan",
            [&progressive_one[..scans[0]], &[0xff, 0xd9]].concat(),
            Refused(&["missing"]),
        ),
        case(
            "progressive, its first scan missing",
            [&progressive_one[..scans[0]], &progressive_one[scans[1]..]].concat(),
            Refused(&["a scan is missing"]),
        ),
        case(
            "progressive, a scan twice",
            [&progressive_one[..scans[1]], &progressive_one[scans[0]..]].concat(),
            Refused(&["comes twice"]),
        ),
        case(
            "a restart missing",
            without_one,
            Refused(&["missing", "again"]),
        ),
        case(
            "restarts in another order",
            swapped,
            Refused(&["missing", "again"]),
        ),
        case(
            "restarts that were not announced",
            without(&restarted, 0xdd),
            Refused(&["again"]),
        ),
        case(
            "restarts that do not come",
            and(&plain_one, 0xdd, &[0, 2]),
            Refused(&["again"]),
        ),
        case(
            "the end marker missing",
            cut(&plain_one, plain_one.len() - 2),
            Refused(&["again"]),
        ),
        case(
            "half of the data missing",
            [&plain_one[..middle], &[0xff, 0xd9]].concat(),
            Refused(&["missing", "again"]),
        ),
        case(
            "zeros in the middle",
            with(plain_one.clone(), middle, &[0; 40]),
            Refused(&["again"]),
        ),
        case(
            "bytes left over behind the last block",
            [&plain_one[..plain_one.len() - 2], &[7, 7, 7], &[0xff, 0xd9]].concat(),
            Refused(&["left behind"]),
        ),
        case(
            "cut in its header",
            cut(&plain_one, at(&plain_one, 0xc0) + 6),
            Refused(&["cut short", "again"]),
        ),
        case(
            "no scan",
            [&plain_one[..at(&plain_one, 0xda)], &[0xff, 0xd9]].concat(),
            Refused(&["missing"]),
        ),
        case(
            "no picture",
            vec![0xff, 0xd8, 0xff, 0xd9],
            Refused(&["no picture"]),
        ),
        case(
            "arithmetic coding",
            with_frame(0xc9),
            Refused(&["arithmetic", "as a baseline or progressive JPEG"]),
        ),
        case(
            "progressive with arithmetic coding",
            with_frame(0xca),
            Refused(&["arithmetic", "as PNG"]),
        ),
        case(
            "lossless",
            with_frame(0xc3),
            Refused(&["lossless", "as PNG"]),
        ),
        case(
            "hierarchical",
            with_frame(0xc5),
            Refused(&["hierarchical", "as PNG"]),
        ),
        case(
            "12 bits",
            frame_with(plain_one.clone(), 2, &[12]),
            Refused(&["8 bits", "as PNG"]),
        ),
        case(
            "two colours",
            frame_with(plain_one.clone(), 7, &[2]),
            Refused(&["colours is wrong"]),
        ),
        case(
            "a height that follows",
            frame_with(plain_one.clone(), 3, &sizes(0, 64)),
            Refused(&["height follows", "as PNG"]),
        ),
        case(
            "a width of 0",
            frame_with(plain_one.clone(), 3, &sizes(64, 0)),
            Refused(&["width is 0"]),
        ),
        case(
            "65535 a side",
            frame_with(plain_one.clone(), 3, &sizes(0xffff, 0xffff)),
            Refused(&["65535x65535", "bytes can hold"]),
        ),
        case(
            "progressive, 65535 a side",
            frame_with(progressive_one.clone(), 3, &sizes(0xffff, 0xffff)),
            Refused(&["65535x65535", "bytes can hold"]),
        ),
        case(
            "a frame twice as high",
            frame_with(plain_one.clone(), 3, &sizes(128, 64)),
            Refused(&["missing"]),
        ),
        case(
            "a frame half as high",
            frame_with(plain_one.clone(), 3, &sizes(32, 64)),
            Refused(&["left behind"]),
        ),
        case(
            "an unusual sampling",
            frame_with(plain_one.clone(), 9, &[0x31]),
            Refused(&["unusual sampling", "as PNG"]),
        ),
        case(
            "one colour after the other",
            coloured(|encoder| encoder.set_optimized_huffman_tables(true)),
            Refused(&["one after the other", "as a baseline"]),
        ),
        case(
            "a picture that begins inside",
            [&plain_one[..data], &plain_one].concat(),
            Refused(&["again"]),
        ),
        case(
            "a segment without its end",
            and(&plain_one, 0xe5, &[])[..6]
                .iter()
                .copied()
                .chain([0xff, 0xff, 0xff])
                .collect(),
            Refused(&["cut short", "again"]),
        ),
    ];
    for (name, orientation, quarters) in [
        ("orientation 0, which does not exist", 0, [a, b, c, d]),
        ("orientation 1", 1, [a, b, c, d]),
        ("orientation 2", 2, [b, a, d, c]),
        ("orientation 3", 3, [d, c, b, a]),
        ("orientation 4", 4, [c, d, a, b]),
        ("orientation 5", 5, [a, c, b, d]),
        ("orientation 6", 6, [c, a, d, b]),
        ("orientation 7", 7, [d, b, c, a]),
        ("orientation 8", 8, [b, d, a, c]),
        ("orientation 9, which does not exist", 9, [a, b, c, d]),
    ] {
        cases.push(case(
            name,
            with_exif(orientation),
            Quarters(SQUARE, quarters),
        ));
    }
    cases
}
