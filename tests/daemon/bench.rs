//! `flawd bench` on the tests' bundle.

use std::fs;

use flawd_testing::broker::Broker;
use serde_json::Value;

use crate::bundle;
use crate::station::{Station, errors, flawd};

fn measured(command: &mut std::process::Command) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("bench.json");
    let output = command.arg("--json").arg(&json).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

#[test]
fn every_step_is_measured_and_memory_does_not_grow_with_the_frames() {
    let mut command = flawd();
    command
        .args(["bench", "--frames", "300", "--bundle"])
        .arg(bundle::path());
    let measurement = measured(&mut command);
    assert_eq!(measurement["frames"], 300);
    for step in ["capture", "queue", "preprocess", "infer", "total"] {
        let latency = &measurement["latency_ms"][step];
        let (p50, p99) = (
            latency["p50"].as_f64().unwrap(),
            latency["p99"].as_f64().unwrap(),
        );
        assert!(p50 > 0.0 && p50 <= p99, "{step}: {latency}");
    }
    let (pipeline, session) = (&measurement["pipeline_fps"], &measurement["session_fps"]);
    assert!(pipeline.as_f64().unwrap() > 0.0 && session.as_f64().unwrap() > 0.0);
    assert!(measurement["ratio"].as_f64().unwrap() > 0.0);
    // 150 frames of 480x640 are 132 MiB: one kept in ten would show.
    let resident = |moment: &str| measurement["resident_kib"][moment].as_u64().unwrap();
    let (middle, end) = (resident("middle"), resident("end"));
    assert!(end < middle + middle / 8, "from {middle} to {end} KiB");
}

#[test]
fn frames_of_several_cameras_are_measured_together() {
    let mut command = flawd();
    command
        .args([
            "bench",
            "--frames",
            "40",
            "--rounds",
            "2",
            "--cameras",
            "4",
            "--bundle",
        ])
        .arg(bundle::path());
    let measurement = measured(&mut command);
    assert_eq!(
        (&measurement["cameras"], &measurement["frames"]),
        (&4.into(), &40.into())
    );
    assert!(measurement["pipeline_fps"].as_f64() > Some(0.0));
}

/// Nearly black ones, which a line would not give to the model.
#[test]
fn pictures_that_a_line_would_refuse_are_measured_with_the_model() {
    let station = Station::new(
        "[station]\nname = \"bench\"\n[inference]\nbundle = \"{bundle}\"\n\
         [camera.top.synthetic]\nsize = \"96x120\"\n\
         [camera.top.synthetic.fault]\ndark = { after = 0, parts = 1000 }\n",
    );
    let mut command = station.command("bench");
    let measurement = measured(command.args(["--frames", "20", "--rounds", "2"]));
    let infer = measurement["latency_ms"]["infer"]["p50"].as_f64().unwrap();
    assert!(infer > 0.0, "the model did not run: {measurement}");
}

#[test]
fn with_a_configuration_the_cameras_pictures_are_used_and_verdicts_published() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"bench\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nsize = \"96x120\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ));
    let mut command = station.command("bench");
    let measurement = measured(command.args(["--frames", "20", "--rounds", "2", "--publish"]));
    assert_eq!(measurement["picture"], "96x120");
    assert_eq!(measurement["rounds"], 2);
    let messages = subscriber.until_status("stopped");
    let verdicts = messages
        .iter()
        .filter(|message| message.kind() == "verdict");
    // The warm-up is judged as well.
    assert!(verdicts.count() >= 20);
}
