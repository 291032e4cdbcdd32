//! A camera that hangs, disappears, freezes or sees nothing: what is reported to the line.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::LIMIT;
use tempfile::TempDir;

use crate::line::{Controller, Heard};
use crate::station::Station;

const TRIGGER: &str = "flawd/press/top/trigger";

fn station(broker: &Broker, camera: &str, fault: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\ngrace_period = \"5s\"\n\
         [inference]\nbundle = \"{{bundle}}\"\n[evidence]\nenabled = false\n\
         [camera.top]\n{camera}\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n{fault}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
}

/// Triggers every 100 ms until `is_over` accepts what was heard; returns that, and how many
/// triggers there were.
fn trigger_until(
    controller: &Controller,
    is_over: impl Fn(&[Heard]) -> bool,
) -> (Vec<Heard>, usize) {
    let begun = Instant::now();
    let mut heard = Vec::new();
    let mut asked: u32 = 0;
    while !is_over(&heard) {
        assert!(begun.elapsed() < LIMIT, "{:?}", heard.last());
        controller.publish(TRIGGER, format!(r#"{{"part_id":"p{asked}"}}"#), false);
        asked += 1;
        controller.hear_until(begun + Duration::from_millis(100) * asked, &mut heard);
    }
    (heard, asked as usize)
}

fn is_lost(heard: &Heard) -> bool {
    heard.kind() == "verdict" && heard.payload["reason"] == "camera_lost"
}

fn is_judged(heard: &Heard) -> bool {
    heard.kind() == "verdict" && heard.payload["score"].is_number()
}

/// Where the state says that the camera is lost. A single part may get that reason without it, if a
/// frame was only late.
fn loss(heard: &[Heard]) -> Option<usize> {
    heard
        .iter()
        .position(|it| it.kind() == "state" && it.payload["reason"] == "camera lost: top")
}

/// One record of each part; the rest of its deadline is reported as it is, and no picture is judged
/// that was taken for another part.
fn check(heard: &[Heard], asked: usize) {
    let records: Vec<_> = heard.iter().filter(|it| it.kind() == "record").collect();
    let parts: BTreeSet<_> = (records.iter())
        .map(|it| it.payload["part_id"].to_string())
        .collect();
    assert_eq!((records.len(), parts.len()), (asked, asked));
    let of = |it: &Heard, name: &str| it.payload[name].as_f64().unwrap();
    for it in &records {
        if it.payload["score"].is_number() {
            assert!(of(it, "match_offset_ms").abs() <= 300.0, "{}", it.payload);
            continue;
        }
        let reason = it.payload["reason"].as_str().unwrap();
        // A machine that stalls for a while gives the others too.
        let others = ["overrun", "late", "trigger_unmatched"];
        assert!(reason == "camera_lost" || others.contains(&reason));
        if it.payload["captured_at"].is_null() {
            let waited = it.payload["latency_ms"]["total"].as_f64().unwrap();
            let whole = waited + of(it, "remaining_ms");
            assert!((whole - 400.0).abs() < 1e-3, "{}", it.payload);
        }
    }
    // While the camera is missing, nothing waits for it.
    let in_time = |it: &Heard| is_lost(it) && of(it, "remaining_ms") >= 0.0;
    assert!(heard.iter().any(in_time));
}

fn outage(fault: &str) {
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let camera = "frame_timeout = \"500ms\"\ndeadline = \"400ms\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"300ms\"\nqueue = 20";
    let station = station(&broker, camera, fault);
    let mut daemon = station.run();
    controller.until_ready();

    let (mut heard, asked) = trigger_until(&controller, |heard| {
        loss(heard).is_some_and(|lost| heard[lost..].iter().any(is_judged))
    });
    let lost = loss(&heard).unwrap();
    assert_eq!(heard[lost].payload["ready"], false);
    let is_ready = |it: &Heard| it.kind() == "state" && it.payload["ready"] == true;
    if !heard[lost..].iter().any(is_ready) {
        heard.extend(controller.until_ready());
    }
    let is_record = |it: &Heard| it.kind() == "record";
    while heard.iter().filter(|it| is_record(it)).count() < asked {
        heard.push(controller.next("a record of each part", is_record));
    }
    check(&heard, asked);
    daemon.wait_for_line("found", |line| line.contains("Camera found again"));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn while_a_camera_stalls_triggers_are_told_in_time_and_it_is_found_again() {
    outage("fault.stall = { after = 5, lasts = \"4s\" }");
}

#[test]
#[ignore = "takes 40 s: run by cargo xtask endurance"]
fn a_stall_of_half_a_minute_is_no_different() {
    outage("fault.stall = { after = 5, lasts = \"30s\" }");
}

#[test]
fn while_a_camera_is_away_triggers_are_told_in_time_and_it_is_found_again() {
    outage("fault.loss = { after = 5, lasts = \"3s\" }");
}

#[test]
fn a_shutdown_in_the_middle_of_a_stall_ends_within_the_grace_period() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "frame_timeout = \"500ms\"\ndeadline = \"10s\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"";
    // From the first frame on: what is lost before is not lost for another reason.
    let fault = "fault.stall = { after = 0, lasts = \"10m\" }";
    let station = station(&broker, camera, fault);
    let mut daemon = station.run();
    controller.until_ready();
    let is_told = |heard: &[Heard]| loss(heard).is_some() && heard.iter().any(is_lost);
    trigger_until(&controller, is_told);
    daemon.terminate();
    controller.until("the end", |it| it.payload == "stopped");
    // What is not finished within the grace period is another exit code.
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn pictures_that_show_nothing_are_not_judged() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let fault = "parts = 12\nfault.dark = { after = 4, parts = 3 }";
    let station = station(&broker, "frame_timeout = \"1h\"", fault);
    let mut daemon = station.run();
    let heard = controller.until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let verdicts: Vec<_> = heard.iter().filter(|it| it.kind() == "verdict").collect();
    assert_eq!(verdicts.len(), 12);
    let dark: Vec<_> = verdicts
        .iter()
        .filter(|it| it.payload["reason"] == "image_quality")
        .map(|it| it.payload["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(dark, [5, 6, 7]);
}

fn the_same_picture_again_and_again_is_said(overflow: &str) {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let fault = "rate = 10\nfault.frozen = { after = 8, parts = 1000000 }";
    let camera = format!("overflow = \"{overflow}\"\nframe_timeout = \"1h\"");
    let station = station(&broker, &camera, fault);
    let _daemon = station.run();
    let frozen = controller.next("a verdict that says so", |it| {
        let detail = it.payload["detail"].as_str().unwrap_or_default();
        it.kind() == "verdict" && detail.contains("same picture")
    });
    assert_eq!(frozen.payload["reason"], "image_quality");
    // The third of the same pictures at the earliest: 7 is the one that is shown from then on.
    let part = frozen.payload["part_id"].as_str().unwrap();
    assert!(part >= "000009", "{part}");
}

#[test]
fn a_camera_that_gives_the_same_picture_again_and_again_is_frozen() {
    the_same_picture_again_and_again_is_said("newest-wins");
}

#[test]
fn so_is_one_that_is_asked_for_each_picture() {
    the_same_picture_again_and_again_is_said("block");
}

#[test]
fn a_line_that_is_paused_says_so_to_every_trigger() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "frame_timeout = \"1h\"\n\
                  [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"";
    let station = station(&broker, camera, "");
    let _daemon = station.run();
    controller.until_ready();
    let next_verdict = || {
        controller
            .next("a verdict", |it| it.kind() == "verdict")
            .payload
    };
    controller.ask("flawd/press/cmd/pause", "", "plc/done", b"1");
    controller.next("an answer", |it| {
        it.topic == "plc/done" && it.payload["ok"] == true
    });
    controller.publish(TRIGGER, "", false);
    assert_eq!(next_verdict()["reason"], "paused");
    controller.ask(
        "flawd/press/cmd/resume",
        r#"{"camera":"top"}"#,
        "plc/done",
        b"2",
    );
    controller.next("an answer", |it| {
        it.topic == "plc/done" && it.payload["ok"] == true
    });
    controller.publish(TRIGGER, "", false);
    assert!(next_verdict()["score"].is_number());
    controller.ask(
        "flawd/press/cmd/pause",
        r#"{"camera":"side"}"#,
        "plc/done",
        b"3",
    );
    let refused = controller.next("an answer", |it| it.topic == "plc/done");
    assert_eq!(refused.payload["ok"], false);
    assert!(
        refused.payload["problem"]
            .as_str()
            .unwrap()
            .contains("side")
    );
}

/// The daemon does not get to run while the files come, and the system stops to note them down.
#[test]
fn files_that_come_faster_than_the_system_notes_them_down_are_said_and_the_next_is_seen() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = limit.unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        println!("absent: the system notes down {limit} events");
        return;
    }
    let broker = Broker::start();
    let images = TempDir::new().unwrap();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n\
         [camera.top.folder]\npath = \"{}\"\nwatch = true\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        images.path().display(),
        broker.port
    ));
    let subscriber = broker.subscribe();
    let daemon = station.run();
    subscriber.until("ready", |it| it.payload["ready"] == true);
    daemon.signal("STOP");
    // None of them is an image; two in turn, or the system takes them for one.
    for number in 0..2 * limit {
        fs::write(images.path().join(format!("{}.txt", number % 2)), "").unwrap();
    }
    // A folder that is not noted down either.
    fs::create_dir(images.path().join("late")).unwrap();
    daemon.signal("CONT");
    daemon.wait_for_line("the warning", |line| {
        line.contains("More files came at once than the system notes down")
    });
    for name in ["next.png", "late/next.png"] {
        fs::write(images.path().join(name), "no image").unwrap();
        subscriber.until("its verdict", |it| {
            it.kind() == "verdict" && it.payload["part_id"] == name
        });
    }
}
