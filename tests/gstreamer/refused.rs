//! Pipelines that cannot be built or started, and those that end: what is said, and what is not.

use std::net::TcpListener;
use std::time::Duration;

use flawd::line::pipeline::capture;

use crate::source::{PATIENT, loss, next, open, open_with, refusal, reopen, settings};

#[test]
fn a_text_that_makes_no_pipeline_is_refused_with_its_reason() {
    for (text, said) in [
        (
            "videotestsrc ! ! videoconvert",
            "GStreamer cannot read the pipeline",
        ),
        (
            "videotestsrc ! rtspsource",
            "no element `rtspsource`; is it installed?",
        ),
        (
            "nvarguscamerasrc ! nvvidconv",
            "`nvarguscamerasrc`; on a Jetson it is in the package nvidia-l4t-gstreamer",
        ),
        (
            "libcamerasrc",
            "`libcamerasrc`; it is in the Debian package gstreamer1.0-libcamera",
        ),
        ("videotestsrc patern=red", "patern"),
        ("videotestsrc num-buffers=many", "num-buffers"),
        (
            "videotestsrc ! fakesink",
            "end it with the element that delivers them",
        ),
        (
            "videotestsrc ! appsink",
            "end it with the element that delivers them",
        ),
        (
            "videotestsrc ! tee name=t ! queue ! appsink name=mine t. ! queue",
            "the sink `mine`: leave it out",
        ),
        ("videotestsrc ! \"video/x-raw", ""),
        ("videotestsrc ! audioconvert", ""),
    ] {
        let problem = refusal(text);
        assert!(problem.contains(said), "{text}: {problem}");
        // `flawd check` finds it too, and touches no camera for it.
        let checked = capture::check(&settings(text, PATIENT)).unwrap_err();
        assert!(checked.is_permanent(), "{text}");
        // Elements without a name are numbered.
        let bare = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
        assert_eq!(bare(&checked.to_string()), bare(&problem), "{text}");
    }
}

/// The address of a port that nothing listens on.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[test]
fn a_camera_that_is_not_there_is_an_error_without_its_password() {
    let address = free_address();
    for text in [
        format!("rtspsrc location=rtsp://ann:hunter2@{address}/main ! decodebin ! videoconvert"),
        format!(
            "rtspsrc location=rtsp://{address}/main user-id=ann user-pw=hunter2 ! decodebin \
             ! videoconvert"
        ),
        format!("souphttpsrc location=http://ann:hunter2@{address}/video ! multipartdemux"),
        format!("souphttpsrc location=http://{address}/video?pwd=hunter2 ! multipartdemux"),
        "v4l2src device=/dev/video99 ! videoconvert".to_owned(),
    ] {
        let problem = refusal(&text);
        println!("{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        let settings = settings(&text, PATIENT);
        assert!(
            capture::check(&settings).is_ok(),
            "nothing is wrong with {text}"
        );
        let error = capture::open(&settings).map(|_| ()).unwrap_err();
        assert!(!error.is_permanent(), "{error}");
    }
}

#[test]
fn the_end_of_a_stream_is_a_lost_camera_that_is_found_again() {
    let mut source =
        open("videotestsrc num-buffers=3 is-live=true ! video/x-raw,framerate=20/1,format=RGB");
    for _ in 0..3 {
        let (frames, why) = loss(&mut *source);
        assert!(frames <= 3, "{frames}");
        assert_eq!(why, "the stream has ended");
        reopen(&mut *source);
    }
}

#[test]
fn an_error_in_mid_stream_names_its_element() {
    let text = "videotestsrc is-live=true ! video/x-raw,framerate=20/1,format=RGB \
                ! identity name=faulty error-after=5";
    let mut source = open(text);
    let (frames, why) = loss(&mut *source);
    assert!(frames <= 5, "{frames}");
    assert!(why.starts_with("faulty: "), "{why}");
    reopen(&mut *source);
    assert!(next(&mut *source).is_ok());
}

#[test]
fn a_pipeline_that_goes_silent_without_a_message_is_started_again() {
    let silent = "videotestsrc is-live=true ! video/x-raw,format=RGB,framerate=20/1 \
                  ! identity drop-probability=1.0";
    let mut source = open_with(silent, Duration::from_secs(1));
    for _ in 0..2 {
        let (frames, why) = loss(&mut *source);
        assert_eq!(frames, 0);
        assert_eq!(why, "no frame for 1s, so the pipeline is started again");
        reopen(&mut *source);
    }
}
