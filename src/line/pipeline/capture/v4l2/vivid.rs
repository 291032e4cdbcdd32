//! Tests the source against the kernel's virtual camera, vivid, if this machine has one that the
//! test may take away: `modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00`, as
//! root, with `v4l2-ctl`. Emulated machines are slow, so nothing here is measured after the driver
//! has delivered a frame.

use std::process::Command;
use std::time::Instant;
use std::{fs, thread};

use super::*;
use crate::line::config::PixelFormat;
use crate::line::pipeline::channels::link::Received;

/// Returns the node of a vivid device.
fn node() -> Option<PathBuf> {
    let nodes = fs::read_dir("/sys/class/video4linux").into_iter().flatten();
    let vivid = nodes.flatten().find(|node| {
        let name = fs::read_to_string(node.path().join("name"));
        name.is_ok_and(|name| name.starts_with("vivid"))
    });
    let Some(vivid) = vivid else {
        eprintln!("absent: this machine has no vivid device");
        return None;
    };
    Some(Path::new("/dev").join(vivid.file_name()))
}

fn options(format: PixelFormat) -> V4l2 {
    V4l2 {
        device: None,
        format,
        width: 640,
        height: 360,
        rate: 25,
    }
}

/// One after the other: there is only one camera.
#[test]
fn a_virtual_camera_is_read_in_every_format_and_after_every_fault() {
    let Some(node) = node() else { return };
    its_time_is_that_of_the_monotonic_clock(&node);
    every_format_gives_its_picture(&node);
    what_is_not_offered_is_refused_with_what_is(&node);
    a_camera_that_gives_nothing_is_no_error(&node);
    a_damaged_frame_is_no_picture(&node);
    what_is_refused_once_is_tried_again(&node);
    faults_are_said_and_the_camera_comes_back(&node);
}

/// Opens the camera; the previous reader may still have it for a moment.
fn open(node: &Path, options: &V4l2) -> V4l2Source {
    loop {
        match V4l2Source::open(node, options) {
            Ok(source) => return source,
            Err(error) if error.to_string().contains("busy") => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn next(source: &mut V4l2Source) -> Result<Frame, CameraLost> {
    source
        .next_frame()
        .map(|frame| frame.expect("a camera has no last frame"))
}

/// Two seconds are far more than a frame takes, and far less than any other clock is off.
fn its_time_is_that_of_the_monotonic_clock(node: &Path) {
    let device = Device::open(node).unwrap();
    agreed::agree(&device, &options(PixelFormat::Yuyv)).unwrap();
    let mut stream = device.stream().unwrap();
    for _ in 0..12 {
        let look = |filled: Filled| (filled.flags, filled.taken, captured(&filled));
        let (flags, taken, moment) = loop {
            if let Some(looked) = stream.next(READ_PATIENCE, look).unwrap() {
                break looked;
            }
        };
        let now = clock_gettime(ClockId::Monotonic);
        let (age, taken) = (moment.monotonic.elapsed(), taken.unwrap().as_secs_f64());
        let now = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
        eprintln!("flags {flags:#x}, taken at {taken:.6}, read at {now:.6}, {age:?} old");
        assert_eq!(flags & 0xe000, 0x2000, "the monotonic clock");
        assert!((now - taken).abs() < 2.0 && age < Duration::from_secs(2));
    }
}

fn every_format_gives_its_picture(node: &Path) {
    use PixelFormat::{Grey, Nv12, Y10, Y12, Y16, Yuyv};
    for format in [Yuyv, Nv12, Grey, Y10, Y12, Y16] {
        let mut source = open(node, &options(format));
        let pixels = next(&mut source).unwrap().image.unwrap();
        let picture = pixels.at(None).unwrap();
        assert_eq!((picture.size().height, picture.size().width), (360, 640));
        // Colour bars: a row in the middle, from white on the left to black on the right.
        let row = &picture.pixels()[180 * 640 * 3..181 * 640 * 3];
        let ends = (&row[30..33], &row[639 * 3 - 30..639 * 3 - 27]);
        eprintln!("{format:?}: {ends:?}");
        let is_right = ends.0.iter().all(|&it| it > 170) && ends.1.iter().all(|&it| it < 40);
        assert!(is_right, "{format:?}: {ends:?}");
    }
}

fn what_is_not_offered_is_refused_with_what_is(node: &Path) {
    let refused = |options: &V4l2, what: [&str; 2]| loop {
        let problem = V4l2Source::open(node, options).unwrap_err().to_string();
        if problem.contains("busy") {
            continue;
        }
        eprintln!("{problem}");
        assert!(what.iter().all(|it| problem.contains(it)), "{problem}");
        break;
    };
    refused(&options(PixelFormat::Mjpeg), ["asked for MJPG", "YUYV"]);
    let mut odd = options(PixelFormat::Yuyv);
    odd.height = 361;
    refused(&odd, ["asked for YUYV 640x361", "640x360"]);
    let mut fast = options(PixelFormat::Yuyv);
    fast.rate = 120;
    refused(&fast, ["frames a second where 120", "set `rate`"]);
}

fn control(node: &Path, setting: &str) {
    let mut command = Command::new("v4l2-ctl");
    let status = command.arg("-d").arg(node).arg("-c").arg(setting).status();
    assert!(status.unwrap().success(), "{setting}");
}

/// The next stage watches for overdue frames; the reader waits, and continues.
fn a_camera_that_gives_nothing_is_no_error(node: &Path) {
    let mut source = open(node, &options(PixelFormat::Yuyv));
    next(&mut source).unwrap();
    control(node, "percentage_of_dropped_buffers=100");
    // What the driver had filled before comes first.
    let end = loop {
        let until = Instant::now() + READ_PATIENCE * 3;
        match source.frames.recv_until(Some(until)) {
            Received::Item(Ok(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Received::Nothing), "{end:?}");
    eprintln!("nothing came for three times the reader's patience");
    control(node, "percentage_of_dropped_buffers=0");
    assert!(next(&mut source).unwrap().image.is_ok());
}

fn a_damaged_frame_is_no_picture(node: &Path) {
    let mut source = open(node, &options(PixelFormat::Yuyv));
    assert!(next(&mut source).unwrap().image.is_ok());
    control(node, "inject_v4l2_buf_flag_error=1");
    let damaged = (0..50).find_map(|_| next(&mut source).unwrap().image.err());
    eprintln!("flagged as damaged: {damaged:?}");
    assert!((0..50).any(|_| next(&mut source).unwrap().image.is_ok()));
}

/// The stream cannot be started, once.
fn what_is_refused_once_is_tried_again(node: &Path) {
    for fault in [
        "inject_vidioc_reqbufs_error=1",
        "inject_vidioc_qbuf_error=1",
        "inject_vidioc_streamon_error=1",
    ] {
        drop(open(node, &options(PixelFormat::Yuyv)));
        control(node, fault);
        let problem = loop {
            match V4l2Source::open(node, &options(PixelFormat::Yuyv)) {
                Ok(_) => break None,
                Err(error) if error.to_string().contains("busy") => {}
                Err(error) => break Some(error.to_string()),
            }
        };
        eprintln!("{fault}: {problem:?}");
        let mut source = open(node, &options(PixelFormat::Yuyv));
        assert!(next(&mut source).unwrap().image.is_ok());
    }
}

fn faults_are_said_and_the_camera_comes_back(node: &Path) {
    let driver = Path::new("/sys/bus/platform/drivers/vivid");
    let bind = |how: &str| fs::write(driver.join(how), "vivid.0").unwrap();
    let mut source = open(node, &options(PixelFormat::Yuyv));
    next(&mut source).unwrap();
    let lost = |source: &mut V4l2Source| loop {
        if let Err(problem) = next(source) {
            return problem;
        }
    };
    let found = |source: &mut V4l2Source| {
        while source.reopen().is_err() {
            thread::yield_now();
        }
        assert!(next(source).unwrap().image.is_ok());
    };
    for fault in ["inject_fatal_streaming_error=1", "disconnect=1"] {
        control(node, fault);
        eprintln!("{fault}: {}", lost(&mut source));
        found(&mut source);
    }
    bind("unbind");
    eprintln!("unplugged: {}", lost(&mut source));
    eprintln!("while it is away: {}", source.reopen().unwrap_err());
    bind("bind");
    found(&mut source);
}
