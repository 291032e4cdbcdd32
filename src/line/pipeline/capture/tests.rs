//! The capture stage on a source that follows a script.

use std::collections::VecDeque;
use std::thread;

use flawd_core::image::{RgbImage, Size};

use super::*;
use crate::line::config::{PipelineText, V4l2};
use crate::line::pipeline::admit::inbox::Arrived;
use crate::line::pipeline::part::moment::Moment;

/// What a source returns, in order; after the last it is exhausted.
#[derive(Clone, Copy)]
enum Step {
    Frame,
    Lost,
    StillLost,
    Found,
}

struct Script(VecDeque<Step>);

impl Source for Script {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        match self.0.pop_front() {
            Some(Step::Frame) => {
                let image = RgbImage::new(Size::new(1, 1), vec![0; 3]).unwrap();
                Ok(Some(Frame::new(None, Ok(image), Moment::now())))
            }
            Some(_) => Err(CameraLost::LossBegins),
            None => Ok(None),
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        match self.0.pop_front() {
            Some(Step::Found) => Ok(()),
            _ => Err(CameraLost::LossNotOver),
        }
    }
}

fn stage(steps: &[Step], on_demand: bool) -> Capture {
    Capture {
        name: "top".to_owned(),
        source: Box::new(Script(steps.iter().copied().collect())),
        interval: None,
        on_demand,
        inbox: Inbox::new(),
        counters: Counters::default(),
        shutdown: Shutdown::new(),
    }
}

/// Returns the next thing that arrives.
fn next(inbox: &Inbox) -> Arrived {
    inbox.wait(None)
}

#[test]
fn a_lost_camera_is_opened_again_and_goes_on() {
    use Step::{Found, Frame, Lost, StillLost};
    let capture = stage(&[Frame, Lost, StillLost, Found, Frame], true);
    let inbox = capture.inbox.clone();
    let running = thread::spawn(move || capture.run());
    inbox.want_frame();
    assert!(next(&inbox).frame.is_some());
    inbox.want_frame();
    let news = next(&inbox);
    assert_eq!(news.lost.unwrap().why, "the configured loss begins");
    // The requested frame is not forgotten.
    assert!(news.frame.or_else(|| next(&inbox).frame).is_some());
    inbox.want_frame();
    assert!(next(&inbox).is_exhausted);
    running.join().unwrap();
}

/// Eight attempts take 5.5 s, and would take 25 s if the pauses between them only grew.
#[test]
fn a_camera_that_is_lost_for_long_is_still_looked_for_every_second() {
    let mut steps = [Step::StillLost; 9];
    (steps[0], steps[8]) = (Step::Lost, Step::Found);
    let capture = stage(&steps, false);
    let begun = Instant::now();
    capture.run();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_shutdown_ends_the_search_for_a_lost_camera() {
    let capture = stage(&[Step::Lost], false);
    let (inbox, shutdown) = (capture.inbox.clone(), capture.shutdown.clone());
    let running = thread::spawn(move || capture.run());
    assert!(next(&inbox).lost.is_some());
    shutdown.request();
    running.join().unwrap();
}

#[test]
fn where_the_newest_wins_every_replaced_frame_is_counted() {
    let capture = stage(&[Step::Frame; 10], false);
    let (inbox, counters) = (capture.inbox.clone(), capture.counters.clone());
    // Nothing is received while it captures, so one of ten frames is left.
    capture.run();
    assert!(next(&inbox).frame.is_some());
    assert_eq!((counters.captured.get(), counters.overrun.get()), (10, 9));
}

#[test]
fn who_waits_to_be_asked_ends_when_the_pipeline_ends() {
    let capture = stage(&[Step::Frame; 3], true);
    let (inbox, counters) = (capture.inbox.clone(), capture.counters.clone());
    let running = thread::spawn(move || capture.run());
    inbox.want_frame();
    assert!(next(&inbox).frame.is_some());
    inbox.close();
    running.join().unwrap();
    assert_eq!(counters.captured.get(), 1);
}

/// One frame, after three that were discarded for it and two that never came.
struct Hurried {
    frames: usize,
    displaced: u64,
    missed: u64,
}

impl Source for Hurried {
    fn next_frame(&mut self) -> Result<Option<Frame>, CameraLost> {
        if self.frames == 0 {
            return Ok(None);
        }
        self.frames -= 1;
        let image = RgbImage::new(Size::new(1, 1), vec![0; 3]).unwrap();
        Ok(Some(Frame::new(None, Ok(image), Moment::now())))
    }

    fn displaced(&mut self) -> u64 {
        std::mem::take(&mut self.displaced)
    }

    fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}

#[test]
fn what_a_source_gives_up_itself_is_captured_and_counted_by_its_reason() {
    let mut capture = stage(&[], false);
    capture.source = Box::new(Hurried {
        frames: 2,
        displaced: 3,
        missed: 2,
    });
    let counters = capture.counters.clone();
    capture.run();
    // And the second of the two that it delivered took the first one's place.
    assert_eq!((counters.captured.get(), counters.overrun.get()), (7, 4));
    assert_eq!(counters.missed.get(), 2);
}

#[test]
fn a_pipeline_is_refused_without_its_password_in_a_program_without_gstreamer() {
    let settings = SourceSettings::Gstreamer {
        pipeline: PipelineText::new("rtspsrc location=rtsp://ann:hunter2@cam/"),
        reopen_after: Duration::from_secs(10),
    };
    if cfg!(feature = "gstreamer") {
        return;
    }
    let checked = check(&settings).unwrap_err();
    let opened = open(&settings).map(|_| ()).unwrap_err();
    for error in [checked, opened] {
        assert!(error.is_permanent());
        let problem = error.to_string();
        let named = ["rtsp://***@cam/", "`gstreamer`"];
        assert!(named.iter().all(|it| problem.contains(it)), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

#[test]
fn a_camera_is_refused_by_name_in_a_program_that_has_none() {
    let device = Path::new("/dev/video9");
    let settings = SourceSettings::V4l2 {
        device: device.to_owned(),
        options: V4l2::default(),
    };
    let checked = check(&settings).map_err(|error| error.to_string());
    if cfg!(feature = "v4l2") {
        assert_eq!(checked, Ok(()));
    } else {
        let problem = checked.unwrap_err();
        assert!(
            problem.contains("/dev/video9") && problem.contains("`v4l2`"),
            "{problem}"
        );
        let opened = open(&settings)
            .map(|_| ())
            .map_err(|error| error.to_string());
        assert_eq!(opened, Err(problem));
    }
}
