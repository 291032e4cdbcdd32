//! The subscriber in docs/mqtt.md, run as it stands there.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use crate::{broker::Broker, line::Controller, station::Station};

/// The script in the documentation, as a file that can be run.
fn script(station: &Station) -> PathBuf {
    let text = include_str!("../../docs/mqtt.md");
    let begin = text.find("#!/bin/bash").expect("the script is there");
    let script = &text[begin..];
    let script = &script[..script.find("```").expect("it has an end")];
    let path = station.folder().join("gate.sh");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn decide(station: &Station, port: u16, camera: &str, part: &str, budget: &str) -> String {
    let output = Command::new(script(station))
        .args([
            "127.0.0.1",
            &port.to_string(),
            "flawd/press",
            camera,
            part,
            budget,
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_documented_subscriber_lets_only_good_parts_pass() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\ndefect_rate = 0.0\n\
         [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ));
    let mut daemon = station.run();
    controller.until_ready();
    for part in ["SN-1", "SN-2", "SN-3"] {
        let said = decide(&station, broker.port, "top", part, "60");
        let verdict = controller.next("its verdict", |it| {
            it.kind() == "verdict" && it.payload["part_id"] == part
        });
        let expected = match verdict.payload["verdict"].as_str() {
            Some("ok") => "pass",
            _ => "reject",
        };
        assert_eq!(said, expected, "{}", verdict.payload);
    }
    // Nobody answers for a camera that is not there.
    assert_eq!(decide(&station, broker.port, "side", "SN-4", "1"), "reject");
    controller.publish("flawd/press/cmd/pause", "", false);
    daemon.wait_for_line("the pause", |line| line.contains("paused: top"));
    assert_eq!(decide(&station, broker.port, "top", "SN-5", "60"), "reject");
    daemon.terminate();
    daemon.wait();
    assert_eq!(decide(&station, broker.port, "top", "SN-6", "1"), "reject");
}
