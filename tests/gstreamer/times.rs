//! Frame times: when a picture was taken, and not when it arrived.

use std::time::Duration;

use flawd::line::pipeline::capture::Source;

use crate::source::{next, open};

/// How old the next frame is when it arrives.
fn age(source: &mut dyn Source) -> Duration {
    let frame = next(source).unwrap();
    frame.at_hand.duration_since(frame.captured.monotonic)
}

#[test]
fn a_frame_that_a_pipeline_holds_up_is_as_old_as_that() {
    let held_up = "videotestsrc is-live=true ! video/x-raw,format=RGB,framerate=2/1 \
                   ! identity sleep-time=300000";
    let mut source = open(held_up);
    // The first one also waits for the start of the pipeline.
    let ages: Vec<_> = (0..4).map(|_| age(&mut *source)).skip(1).collect();
    // A busy machine makes them older.
    let is_held_up = |age: &Duration| *age >= Duration::from_millis(300);
    assert!(ages.iter().all(is_held_up), "{ages:?}");
    let is_soon = |age: &Duration| *age < Duration::from_millis(800);
    assert!(ages.iter().any(is_soon), "{ages:?}");
}

#[test]
fn frames_are_as_far_apart_as_the_camera_takes_them() {
    let mut source = open("videotestsrc is-live=true ! video/x-raw,format=RGB,framerate=5/1");
    next(&mut *source).unwrap();
    let taken: Vec<_> = (0..6)
        .map(|_| next(&mut *source).unwrap().captured.monotonic)
        .collect();
    for pair in taken.windows(2) {
        let apart = pair[1].duration_since(pair[0]).as_secs_f64();
        // The source counts its frames; a whole one may be displaced. Two clock readings are in
        // between.
        let frames = (apart / 0.2).round();
        assert!(
            frames >= 1.0 && (apart - frames * 0.2).abs() < 0.05,
            "{taken:?}"
        );
    }
}

#[test]
fn pictures_of_a_recording_are_taken_as_they_come() {
    let mut source = open("videotestsrc ! video/x-raw,format=RGB,framerate=10/1");
    for _ in 0..5 {
        let age = age(&mut *source);
        assert!(age < Duration::from_millis(500), "{age:?}");
    }
}
