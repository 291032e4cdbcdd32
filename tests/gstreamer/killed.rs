//! A camera on the network that is killed, and one that hangs: what the line is told meanwhile, and
//! that it is found again.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::{LIMIT, Process};

use crate::camera::{Camera, Kind, serve};
use crate::line::{Controller, Heard};
use crate::source::{next, open};
use crate::station::Station;

const TRIGGER: &str = "flawd/press/top/trigger";

fn station(broker: &Broker, pipeline: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\ngrace_period = \"5s\"\n\
         [inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n[evidence]\nenabled = false\n\
         [camera.top]\nframe_timeout = \"1s\"\nquality_gate = false\n\
         [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1s\"\nqueue = 20\n\
         [camera.top.gstreamer]\npipeline = '{pipeline}'\nreopen_after = \"3s\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
}

/// Triggers every 100 ms until `is_over` accepts what was heard since; returns that, and how many
/// triggers there were.
fn trigger_until(controller: &Controller, is_over: impl Fn(&Heard) -> bool) -> (Vec<Heard>, usize) {
    let begun = Instant::now();
    let (mut heard, mut asked) = (Vec::new(), 0_u32);
    while !heard.iter().any(&is_over) {
        assert!(begun.elapsed() < LIMIT, "{:?}", heard.last());
        controller.publish(TRIGGER, "{}", false);
        asked += 1;
        controller.hear_until(begun + Duration::from_millis(100) * asked, &mut heard);
    }
    (heard, asked as usize)
}

fn is_judged(heard: &Heard) -> bool {
    heard.kind() == "verdict" && heard.payload["score"].is_number()
}

fn is_lost(heard: &Heard) -> bool {
    heard.kind() == "verdict" && heard.payload["reason"] == "camera_lost"
}

/// Whether the verdict came from a picture that was taken when its trigger came.
fn check_times(heard: &[Heard]) {
    for judged in heard.iter().filter(|it| is_judged(it)) {
        let offset = judged.payload["match_offset_ms"].as_f64().unwrap();
        assert!(offset.abs() <= 1000.0, "{}", judged.payload);
        let age = judged.payload["latency_ms"]["total"].as_f64().unwrap();
        assert!((0.0..30_000.0).contains(&age), "{}", judged.payload);
    }
}

/// Runs a line whose camera fails with `fail` and is back after `mend`.
fn outage(kind: Kind, fail: impl Fn(&mut Camera), mend: impl Fn(&mut Camera)) {
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let mut camera = Camera::start(kind);
    let station = station(&broker, &camera.pipeline());
    let mut daemon = run(&station, kind);
    controller.until_ready();
    let (mut heard, mut asked) = trigger_until(&controller, is_judged);
    for _ in 0..2 {
        fail(&mut camera);
        let (lost, more) = trigger_until(&controller, is_lost);
        (asked, heard) = (asked + more, [heard, lost].concat());
        daemon.wait_for_line("lost", |line| line.contains("Camera lost"));
        // Triggers go on while it is away, and none of them is judged by an old picture.
        let (away, more) = trigger_until(&controller, is_lost);
        (asked, heard) = (asked + more, [heard, away].concat());
        mend(&mut camera);
        let (found, more) = trigger_until(&controller, is_judged);
        (asked, heard) = (asked + more, [heard, found].concat());
        daemon.wait_for_line("found", |line| line.contains("Camera found again"));
    }
    let is_record = |it: &Heard| it.kind() == "record";
    while heard.iter().filter(|it| is_record(it)).count() < asked {
        heard.push(controller.next("a record of each part", is_record));
    }
    check_times(&heard);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

/// `flawd run`. A GigE camera takes a moment until it answers, and an absent one ends the start, as
/// it is to do; a service manager would start it again.
fn run(station: &Station, kind: Kind) -> Process {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut daemon = station.run();
        let opened = daemon.lines_until("the camera, or the end", |line| {
            line.contains("Connected to the broker") || line.contains("cannot be started")
        });
        let is_open = opened
            .last()
            .is_some_and(|line| line.contains("Connected to"));
        if is_open || !matches!(kind, Kind::Gige) {
            return daemon;
        }
        assert_eq!(daemon.wait().code(), Some(69), "{}", daemon.seen());
        assert!(Instant::now() < deadline, "{}", daemon.seen());
    }
}

fn killed(kind: Kind) {
    outage(kind, Camera::kill, Camera::start_again);
}

#[test]
fn an_rtsp_camera_that_is_killed_is_lost_and_found_again() {
    killed(Kind::Rtsp("/jpeg"));
}

#[test]
fn so_is_one_that_sends_h264() {
    killed(Kind::Rtsp("/h264"));
}

#[test]
fn an_mjpeg_camera_that_is_killed_is_lost_and_found_again() {
    killed(Kind::Mjpeg);
}

#[test]
fn a_gige_camera_that_is_killed_is_lost_and_found_again() {
    killed(Kind::Gige);
}

/// Its connection stays, and nothing comes.
#[test]
fn a_camera_that_hangs_is_lost_and_found_again() {
    outage(
        Kind::Rtsp("/jpeg"),
        |camera| camera.process().signal("STOP"),
        |camera| camera.process().signal("CONT"),
    );
}

#[test]
fn a_shutdown_while_the_camera_hangs_ends_within_the_grace_period() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = Camera::start(Kind::Mjpeg);
    let station = station(&broker, &camera.pipeline());
    let mut daemon = run(&station, Kind::Mjpeg);
    controller.until_ready();
    camera.process().signal("STOP");
    trigger_until(&controller, is_lost);
    daemon.terminate();
    controller.until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    camera.process().signal("CONT");
}

/// The camera says when it sends each picture, on the clock of this process.
#[test]
fn a_picture_from_the_network_has_the_time_at_which_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, sent) = mpsc::channel();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        serve(client, |client, part| {
            sender.send(Instant::now()).ok();
            client.write_all(part)
        })
    });
    let mut source = open(&format!(
        "souphttpsrc location=http://127.0.0.1:{port}/ is-live=true do-timestamp=true \
         ! multipartdemux ! image/jpeg ! identity sleep-time=30000"
    ));
    let frames: Vec<_> = (0..20).map(|_| next(&mut *source).unwrap()).collect();
    let sent: Vec<_> = sent.try_iter().collect();
    for frame in frames {
        let taken = frame.captured.monotonic;
        let before = sent.iter().filter(|sent| **sent <= taken).max();
        let after = before.map(|before| taken.duration_since(*before));
        // It is stamped when it arrives, which is soon after one was sent.
        assert!(
            after.is_some_and(|it| it < Duration::from_millis(120)),
            "{after:?}"
        );
    }
}

/// GStreamer waits up to `latency` for a packet that is missing, and for no other.
#[test]
fn a_picture_over_rtsp_is_there_at_once_and_has_the_time_at_which_it_came() {
    let camera = Camera::start(Kind::Rtsp("/jpeg"));
    let text = camera.pipeline().replace("latency=100", "latency=2000");
    let mut source = open(&text);
    let frames: Vec<_> = (0..20).map(|_| next(&mut *source).unwrap()).collect();
    let ages = frames
        .iter()
        .map(|it| it.at_hand.duration_since(it.captured.monotonic));
    let young = ages.filter(|age| *age < Duration::from_millis(300)).count();
    assert!(young >= 15, "{young}");
    // 20 pictures each second: they come as they are taken.
    let (first, last) = (&frames[0].captured, &frames[19].captured);
    let apart = last.monotonic.duration_since(first.monotonic);
    assert!(apart > Duration::from_millis(700), "{apart:?}");
}

/// This source counts from its first frame on, by the camera's own clock, unless told otherwise.
#[test]
fn a_picture_from_gige_has_the_time_at_which_it_came() {
    let camera = Camera::start(Kind::Gige);
    let text = camera.pipeline();
    let mut source = loop {
        let settings = crate::source::settings(&text, crate::source::PATIENT);
        if let Ok(source) = flawd::line::pipeline::capture::open(&settings) {
            break source;
        }
    };
    let ages: Vec<_> = (0..20)
        .map(|_| {
            let frame = next(&mut *source).unwrap();
            frame.at_hand.duration_since(frame.captured.monotonic)
        })
        .collect();
    // Far less than the time from the start of the pipeline to its first frame.
    let young = ages
        .iter()
        .filter(|age| **age < Duration::from_millis(100))
        .count();
    assert!(young >= 10, "{ages:?}");
}
