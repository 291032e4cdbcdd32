//! The capture stage on a source that follows a script.

use std::{collections::VecDeque, num::NonZeroUsize, sync::mpsc, thread};

use flawd_core::image::{RgbImage, Size};

use super::*;
use crate::{
    config::Overflow,
    pipeline::{event, frame::Moment, link},
};

/// What a source answers, in order; after the last it is exhausted.
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
            Some(_) => Err(CameraLost("unplugged".to_owned())),
            None => Ok(None),
        }
    }

    fn reopen(&mut self) -> Result<(), CameraLost> {
        match self.0.pop_front() {
            Some(Step::Found) => Ok(()),
            _ => Err(CameraLost("not there".to_owned())),
        }
    }
}

struct Stage {
    capture: Capture,
    frames: link::Receiver<Frame>,
    events: mpsc::Receiver<Event>,
    shutdown: Shutdown,
    counters: Counters,
}

fn stage(steps: &[Step], overflow: Overflow) -> Stage {
    let (sender, frames) = link::link(NonZeroUsize::MIN, overflow);
    let (event_sender, events) = event::channel();
    let (shutdown, counters) = (Shutdown::new(), Counters::default());
    let capture = Capture {
        camera: 3,
        name: "top".to_owned(),
        source: Box::new(Script(steps.iter().copied().collect())),
        interval: None,
        frames: sender,
        counters: counters.clone(),
        events: event_sender,
        progress: None,
        shutdown: shutdown.clone(),
    };
    Stage {
        capture,
        frames,
        events,
        shutdown,
        counters,
    }
}

#[test]
fn a_lost_camera_is_opened_again_and_goes_on() {
    use Step::{Found, Frame, Lost, StillLost};
    let steps = [Frame, Lost, StillLost, Found, Frame, Frame];
    let Stage {
        capture,
        frames,
        events,
        ..
    } = stage(&steps, Overflow::Block);
    let running = thread::spawn(move || capture.run());
    assert_eq!(std::iter::from_fn(|| frames.recv()).count(), 3);
    running.join().unwrap();
    let events: Vec<_> = events.iter().collect();
    let expected = [
        Event::FirstFrame(3),
        Event::CameraLost(3),
        Event::CameraFound(3),
        Event::Exhausted(3),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_shutdown_ends_the_search_for_a_lost_camera() {
    let Stage {
        capture,
        events,
        shutdown,
        ..
    } = stage(&[Step::Lost], Overflow::NewestWins);
    let running = thread::spawn(move || capture.run());
    assert_eq!(events.recv(), Ok(Event::CameraLost(3)));
    shutdown.request();
    running.join().unwrap();
}

#[test]
fn where_the_newest_wins_every_replaced_frame_is_counted() {
    let Stage {
        capture,
        frames,
        counters,
        ..
    } = stage(&[Step::Frame; 10], Overflow::NewestWins);
    // Nobody receives while it captures, so that one of ten frames is left.
    capture.run();
    assert_eq!(std::iter::from_fn(|| frames.recv()).count(), 1);
    assert_eq!((counters.captured.get(), counters.overrun.get()), (10, 9));
}

#[test]
fn capture_ends_when_the_pipeline_behind_it_is_gone() {
    let Stage {
        capture, frames, ..
    } = stage(&[Step::Frame; 3], Overflow::Block);
    drop(frames);
    capture.run();
}
