//! Formats: what arrives has the colours of what was sent, or is refused by name.

use std::fs;

use flawd::line::pipeline::part::frame::Pixels;
use flawd_core::depth::Depth;
use flawd_core::image::{RgbImage, Size};
use jpeg_encoder::{ColorType, Encoder};
use tempfile::TempDir;

use crate::source::{loss, next, open, picture, refusal, reopen};

/// No row of this width ends where the next begins: rows are padded to four bytes.
const TEST: &str = "videotestsrc is-live=true";
const SIZE: &str = "width=30,height=21,framerate=20/1";

fn all_near(image: &RgbImage, colour: [u8; 3], within: u8) -> bool {
    let pixels = image.pixels().chunks_exact(3);
    pixels.into_iter().all(|pixel| {
        let mut both = pixel.iter().zip(colour);
        both.all(|(&one, other)| one.abs_diff(other) <= within)
    })
}

#[test]
fn every_format_that_is_read_gives_the_colours_that_were_sent() {
    for format in [
        "RGB", "BGR", "RGBx", "BGRx", "xRGB", "xBGR", "NV12", "I420", "YUY2",
    ] {
        for (pattern, colour) in [
            ("red", [255, 0, 0]),
            ("green", [0, 255, 0]),
            ("blue", [0, 0, 255]),
            ("white", [255; 3]),
        ] {
            // A converter is in the way of those that are read without one as well.
            let text = format!(
                "{TEST} pattern={pattern} ! video/x-raw,format={format},{SIZE} ! videoconvert"
            );
            let image = picture(&mut *open(&text));
            assert_eq!(image.size(), Size::new(21, 30), "{format}");
            assert!(
                all_near(&image, colour, 6),
                "{format} {pattern}: {:?}",
                &image.pixels()[..3]
            );
        }
    }
}

#[test]
fn grey_is_taken_as_it_is_and_sixteen_bits_wait_for_the_models_white() {
    // The white that this source draws, as a camera's YUV has it.
    const WHITE: [u8; 3] = [235; 3];
    let text = format!("{TEST} pattern=white ! video/x-raw,format=GRAY8,{SIZE}");
    let image = picture(&mut *open(&text));
    assert!(all_near(&image, WHITE, 1), "{:?}", &image.pixels()[..3]);
    for format in ["GRAY16_LE", "GRAY16_BE"] {
        let text = format!("{TEST} pattern=white ! video/x-raw,format={format},{SIZE}");
        let pixels = next(&mut *open(&text)).unwrap().image.unwrap();
        assert!(matches!(pixels, Pixels::Deep(_)), "{format}");
        let image = pixels.at(Some(Depth::FULL)).unwrap();
        assert_eq!(image.size(), Size::new(21, 30));
        assert!(
            all_near(&image, WHITE, 1),
            "{format}: {:?}",
            &image.pixels()[..3]
        );
    }
}

#[test]
fn what_is_not_read_is_refused_by_its_name_with_the_way_out() {
    for (text, given, way_out) in [
        (
            "video/x-raw,format=NV12",
            "video/x-raw NV12",
            "! videoconvert",
        ),
        (
            "video/x-raw,format=RGBA",
            "video/x-raw RGBA",
            "! videoconvert",
        ),
        (
            "video/x-bayer,format=bggr",
            "video/x-bayer bggr",
            "! bayer2rgb",
        ),
        (
            "video/x-raw,format=RGB,interlace-mode=interleaved",
            "video/x-raw RGB interleaved",
            "! deinterlace",
        ),
        (
            "video/x-raw,format=I420 ! jpegenc ! rtpjpegpay",
            "application/x-rtp",
            "! decodebin",
        ),
        (
            "video/x-raw,format=I420 ! jpegenc ! multipartmux",
            "multipart/x-mixed-replace",
            "! multipartdemux",
        ),
        (
            "video/x-raw,format=I420 ! x264enc",
            "video/x-h264",
            "! decodebin",
        ),
    ] {
        let problem = refusal(&format!("{TEST} ! {text}"));
        assert!(
            problem.contains(&format!("it delivers {given}, ")),
            "{text}: {problem}"
        );
        assert!(problem.contains(way_out), "{text}: {problem}");
    }
}

#[test]
fn pictures_that_change_in_mid_stream_are_a_lost_camera_that_is_found_with_the_new_ones() {
    let text = "concat name=c \
        videotestsrc num-buffers=5 ! video/x-raw,format=RGB,width=32,height=24,framerate=20/1 ! c. \
        videotestsrc ! video/x-raw,format=RGB,width=64,height=48,framerate=20/1 ! c. c. ! identity";
    let mut source = open(text);
    let (frames, why) = loss(&mut *source);
    assert!(frames <= 5 && frames > 0, "{frames}");
    assert_eq!(why, "its pictures changed from RGB 32x24 to RGB 64x48");
    reopen(&mut *source);
    assert_eq!(picture(&mut *source).size(), Size::new(24, 32));
}

/// A JPEG of one colour.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = [200, 100, 50].repeat(usize::from(width) * usize::from(height));
    let encoder = Encoder::new(&mut bytes, 95);
    encoder
        .encode(&pixels, width, height, ColorType::Rgb)
        .unwrap();
    bytes
}

/// A pipeline that shows these files in turn, without an end.
fn turns(folder: &TempDir, files: &[Vec<u8>]) -> String {
    for (number, bytes) in files.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.jpg")), bytes).unwrap();
    }
    format!(
        "multifilesrc location=\"{}/%d.jpg\" stop-index={} loop=true do-timestamp=true \
         caps=\"image/jpeg,framerate=20/1\" ! identity sleep-time=20000",
        folder.path().display(),
        files.len() - 1
    )
}

#[test]
fn a_damaged_jpeg_is_no_picture_and_the_next_one_is() {
    let folder = TempDir::new().unwrap();
    let whole = jpeg(48, 32);
    let torn = whole[..whole.len() / 2].to_vec();
    let mut source = open(&turns(&folder, &[whole, torn]));
    let mut kinds = [0, 0];
    while kinds.contains(&0) {
        match next(&mut *source).unwrap().image {
            Ok(pixels) => {
                let image = pixels.at(None).unwrap();
                assert_eq!(image.size(), Size::new(32, 48));
                assert!(all_near(&image, [200, 100, 50], 4));
                kinds[0] += 1;
            }
            Err(problem) => {
                assert!(problem.to_string().contains("JPEG"), "{problem}");
                kinds[1] += 1;
            }
        }
    }
}

#[test]
fn a_jpeg_of_another_size_is_a_lost_camera() {
    let folder = TempDir::new().unwrap();
    let mut source = open(&turns(&folder, &[jpeg(48, 32), jpeg(64, 32)]));
    let (_, why) = loss(&mut *source);
    assert!(why.starts_with("its pictures changed from JPEG"), "{why}");
    assert!(why.contains("48x32") && why.contains("64x32"), "{why}");
}

#[test]
fn other_branches_of_a_pipeline_do_not_hold_up_the_one_of_flawd() {
    let text = format!(
        "{TEST} ! video/x-raw,{SIZE} ! tee name=t ! queue ! fakesink t. ! queue ! videoconvert"
    );
    let mut source = open(&text);
    for _ in 0..5 {
        assert_eq!(picture(&mut *source).size(), Size::new(21, 30));
    }
}
