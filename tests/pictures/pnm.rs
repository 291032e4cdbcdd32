//! PNM: all six kinds and PAM, with any white.

use super::*;

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn binary(header: &str, samples: &[u8]) -> Vec<u8> {
    [header.as_bytes(), samples].concat()
}

fn numbers(values: &[u8]) -> String {
    let values: Vec<String> = values.iter().map(u8::to_string).collect();
    values.join(" ")
}

fn big(values: [u16; 6]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn pam(depth: u8, white: u16, kind: &str, samples: &[u8]) -> Vec<u8> {
    let header =
        format!("P7\nWIDTH 3\nHEIGHT 2\nDEPTH {depth}\nMAXVAL {white}\nTUPLTYPE {kind}\nENDHDR\n");
    binary(&header, samples)
}

pub(super) fn cases() -> Vec<Case> {
    let black_and_white = Grey([0, 255, 0, 255, 255, 0]);
    let twelve = [0, 1365, 2730, 4095, 161, 321];
    let opaque: Vec<u8> = COLOURS
        .iter()
        .flat_map(|&[r, g, b]| [r, g, b, 255])
        .collect();
    vec![
        case(
            "P1",
            text("P1 3 2\n1 0 1\n0 0 1\n"),
            black_and_white.clone(),
        ),
        case(
            "P1 without spaces",
            text("P1\n3 2\n101001"),
            black_and_white.clone(),
        ),
        case(
            "P2",
            text(&format!("P2 3 2 255\n{}\n", numbers(&GREYS))),
            Grey(GREYS),
        ),
        case(
            "P3",
            text(&format!("P3 3 2 255\n{}\n", numbers(&rgb()))),
            Colours,
        ),
        case(
            "P4",
            binary("P4 3 2\n", &[0b1010_0000, 0b0010_0000]),
            black_and_white.clone(),
        ),
        case("P5", binary("P5 3 2 255\n", &GREYS), Grey(GREYS)),
        case("P6", binary("P6 3 2 255\n", &rgb()), Colours),
        case(
            "P7, black and white",
            pam(1, 1, "BLACKANDWHITE", &[0, 1, 0, 1, 1, 0]),
            black_and_white.clone(),
        ),
        case("P7, grey", pam(1, 255, "GRAYSCALE", &GREYS), Grey(GREYS)),
        case("P7, colours", pam(3, 255, "RGB", &rgb()), Colours),
        case(
            "P7, opaque alpha",
            pam(4, 255, "RGB_ALPHA", &opaque),
            Colours,
        ),
        case(
            "P5, white is 1",
            binary("P5 3 2 1\n", &[0, 1, 0, 1, 1, 0]),
            black_and_white.clone(),
        ),
        case(
            "P5, white is 15",
            binary("P5 3 2 15\n", &[0, 5, 10, 15, 1, 2]),
            Grey([0, 85, 170, 255, 17, 34]),
        ),
        case(
            "P5, white is 4095",
            binary("P5 3 2 4095\n", &big(twelve)),
            Grey(GREYS),
        ),
        case(
            "P2, white is 4095",
            text("P2 3 2 4095\n0 1365 2730\n4095 161 321\n"),
            Grey(GREYS),
        ),
        case(
            "P5, white is 65535",
            binary("P5 3 2 65535\n", &deep(&GREYS)),
            Grey(GREYS),
        ),
        case(
            "P6, white is 65535",
            binary("P6 3 2 65535\n", &deep(&rgb())),
            Colours,
        ),
        case(
            "P5, 12 bits under a white of 65535",
            binary("P5 3 2 65535\n", &big(twelve)),
            Refused(&["16 bits", "4095", "--depth"]),
        ),
        case(
            "P5, white is 65536",
            binary("P5 3 2 65536\n", &[0; 24]),
            Refused(&["damaged"]),
        ),
        case(
            "P5, white is 0",
            binary("P5 3 2 0\n", &GREYS),
            Refused(&["damaged"]),
        ),
        case(
            "P5, a value above white",
            binary("P5 3 2 100\n", &GREYS),
            Refused(&["damaged"]),
        ),
        case(
            "P2, a value above white",
            text("P2 3 2 100\n0 1 2 3 4 101\n"),
            Refused(&["damaged"]),
        ),
        case(
            "comments",
            binary("P5\n# a part\n3 2\n# white\n255\n", &GREYS),
            Grey(GREYS),
        ),
        case(
            "lines of another system",
            binary("P5\r\n3 2\r\n255\n", &GREYS),
            Grey(GREYS),
        ),
        case(
            "cut",
            binary("P5 3 2 255\n", &GREYS[..5]),
            Refused(&["damaged"]),
        ),
        case(
            "text that is cut",
            text("P2 3 2 255\n0 1 2"),
            Refused(&["damaged"]),
        ),
        case(
            "more samples than pixels",
            binary("P5 3 2 255\n", &[&GREYS[..], &[7; 9]].concat()),
            Grey(GREYS),
        ),
        case(
            "a width of 0",
            binary("P5 0 2 255\n", &[]),
            Refused(&["damaged"]),
        ),
        case(
            "60000 a side",
            binary("P5 60000 60000 255\n", &GREYS),
            Refused(&["60000x60000", "--max-megapixels"]),
        ),
        // A decoder would walk through all of its rows.
        case(
            "four billion rows of nothing, bits",
            binary("P4 0 4294907296\n", &[]),
            Refused(&["damaged", "4294907296x0"]),
        ),
        case(
            "four billion rows of nothing, grey",
            binary("P5 0 4294907296 255\n", &[]),
            Refused(&["damaged", "4294907296x0"]),
        ),
        case(
            "four billion rows of nothing, text",
            text("P3 0 4294907296 255\n"),
            Refused(&["damaged", "4294907296x0"]),
        ),
        case(
            "a size that is not a number",
            binary("P5 three 2 255\n", &GREYS),
            Refused(&["damaged"]),
        ),
        case("header alone", text("P6"), Refused(&["damaged"])),
        case(
            "floating-point numbers",
            binary("PF\n3 2\n-1.0\n", &[0; 72]),
            Refused(&["not a JPEG, PNG"]),
        ),
    ]
}
