//! A camera that hangs, goes away, freezes or sees nothing: what the line is told.

use std::time::{Duration, Instant};

use crate::{
    broker::Broker,
    line::{Controller, Heard},
    station::Station,
};

const TRIGGER: &str = "flawd/press/top/trigger";

fn station(broker: &Broker, camera: &str, fault: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\ngrace_period = \"5s\"\n\
         [inference]\nbundle = \"{{bundle}}\"\n[evidence]\nenabled = false\n\
         [camera.top]\nframe_timeout = \"500ms\"\n{camera}\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n{fault}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
}

/// Triggers every 100 ms until `is_over` accepts the verdicts; returns them, and the states.
fn trigger_until(
    controller: &Controller,
    is_over: impl Fn(&[Heard]) -> bool,
) -> (Vec<Heard>, Vec<Heard>) {
    let begun = Instant::now();
    let (mut heard, mut verdicts, mut states) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked: u32 = 0;
    while !is_over(&verdicts) {
        assert!(
            begun.elapsed() < Duration::from_secs(80),
            "{:?}",
            verdicts.last()
        );
        controller.publish(TRIGGER, format!(r#"{{"part_id":"p{asked}"}}"#), false);
        asked += 1;
        controller.hear_until(begun + Duration::from_millis(100) * asked, &mut heard);
        for message in heard.drain(..) {
            match message.kind() {
                "verdict" => verdicts.push(message),
                "state" => states.push(message),
                _ => {}
            }
        }
    }
    (verdicts, states)
}

fn is_lost(heard: &Heard) -> bool {
    heard.payload["reason"] == "camera_lost"
}

fn is_judged(heard: &Heard) -> bool {
    heard.payload["score"].is_number()
}

/// Each verdict was there before its deadline, and each part has one.
fn check(verdicts: &[Heard]) {
    for it in verdicts.iter().filter(|it| is_lost(it)) {
        let left = it.payload["remaining_ms"].as_f64().unwrap();
        assert!(left >= 0.0, "{}", it.payload);
    }
    let mut parts: Vec<_> = verdicts
        .iter()
        .map(|it| it.payload["part_id"].to_string())
        .collect();
    let count = parts.len();
    parts.sort();
    parts.dedup();
    assert_eq!(parts.len(), count);
}

fn outage(fault: &str, lasts: Duration) {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "deadline = \"400ms\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
                  match_within = \"300ms\"\nqueue = 20";
    let station = station(&broker, camera, fault);
    let mut daemon = station.run();
    controller.until_ready();

    let (verdicts, states) = trigger_until(&controller, |verdicts| {
        let lost = verdicts.iter().position(is_lost);
        lost.is_some_and(|lost| verdicts[lost..].iter().any(is_judged))
    });
    check(&verdicts);
    let first = verdicts.iter().position(is_lost).unwrap();
    let back = first + verdicts[first..].iter().position(is_judged).unwrap();
    let others: Vec<_> = (verdicts[first..back].iter())
        .filter(|it| !is_lost(it))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    // From the first part that was lost until one is judged again: the outage, and at most 2 s.
    let took = verdicts[back].at - verdicts[first].at;
    assert!(took <= lasts + Duration::from_secs(2), "{took:?}");
    let lost = (states.iter())
        .position(|it| it.payload["reason"] == "camera lost: top")
        .expect("the state says that the camera is lost");
    assert_eq!(states[lost].payload["ready"], false);
    if !states[lost..].iter().any(|it| it.payload["ready"] == true) {
        controller.until_ready();
    }
    let seen = daemon.wait_for_line("found", |line| line.contains("Camera found again"));
    assert!(!seen.is_empty());
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn while_a_camera_stalls_triggers_are_told_in_time_and_it_is_back_within_two_seconds() {
    outage(
        "fault.stall = { after = 5, lasts = \"4s\" }",
        Duration::from_secs(4),
    );
}

#[test]
#[ignore = "takes 40 s: run by cargo xtask endurance"]
fn a_stall_of_half_a_minute_is_no_different() {
    outage(
        "fault.stall = { after = 5, lasts = \"30s\" }",
        Duration::from_secs(30),
    );
}

#[test]
fn while_a_camera_is_away_triggers_are_told_in_time_and_it_is_back_within_two_seconds() {
    outage(
        "fault.loss = { after = 5, lasts = \"3s\" }",
        Duration::from_secs(3),
    );
}

#[test]
fn a_shutdown_in_the_middle_of_a_stall_ends_within_the_grace_period() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "deadline = \"10s\"\n[camera.top.trigger]\nmode = \"mqtt\"";
    let fault = "fault.stall = { after = 1, lasts = \"10m\" }";
    let station = station(&broker, camera, fault);
    let mut daemon = station.run();
    controller.until_ready();
    trigger_until(&controller, |verdicts| verdicts.iter().any(is_lost));
    daemon.wait_for_line("not ready", |line| line.contains("camera lost: top"));
    let asked = Instant::now();
    daemon.terminate();
    controller.until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn pictures_that_show_nothing_are_not_judged() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let fault = "parts = 12\nfault.dark = { after = 4, parts = 3 }";
    let station = station(&broker, "", fault);
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

#[test]
fn a_camera_that_gives_the_same_picture_again_and_again_is_frozen() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let fault = "rate = 10\nparts = 20\nfault.frozen = { after = 8, parts = 6 }";
    let station = station(&broker, "overflow = \"newest-wins\"", fault);
    let mut daemon = station.run();
    let heard = controller.until("the end", |it| it.payload == "stopped");
    daemon.wait();
    let frozen = heard
        .iter()
        .filter(|it| it.kind() == "verdict")
        .filter(|it| {
            it.payload["detail"]
                .as_str()
                .is_some_and(|it| it.contains("same picture"))
        });
    assert!(frozen.count() >= 1);
}

#[test]
fn a_line_that_is_paused_says_so_to_every_trigger() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let camera = "[camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"10s\"";
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
