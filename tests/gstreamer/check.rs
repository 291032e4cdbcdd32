//! What the commands say of a pipeline, and that none of them shows a password.

use std::fs;

use flawd_testing::broker::Broker;

use crate::station::{Station, errors};

fn station(keys: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.gstreamer]\n{keys}\n"
    ))
}

fn said(station: &Station, verb: &str) -> (Option<i32>, String) {
    let output = station.output(verb);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
    (output.status.code(), text)
}

#[test]
fn check_and_doctor_show_the_pipeline_without_its_password() {
    let station = station("pipeline_file = \"pipeline\"");
    let text = "rtspsrc location=rtsp://ann:hunter2@127.0.0.1:1/main\n! decodebin ! videoconvert\n";
    fs::write(station.folder().join("pipeline"), text).unwrap();
    for verb in ["check", "doctor"] {
        let (_, said) = said(&station, verb);
        assert!(
            said.contains("rtsp://***@127.0.0.1:1/main"),
            "{verb}: {said}"
        );
        assert!(!said.contains("hunter2"), "{verb}: {said}");
    }
    assert_eq!(said(&station, "check").0, Some(0));
}

#[test]
fn a_password_in_the_file_is_refused_and_not_shown() {
    let station = station("pipeline = \"rtspsrc location=rtsp://ann:hunter2@cam/ ! decodebin\"");
    let (code, said) = said(&station, "check");
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("`pipeline_file`") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn a_missing_element_ends_check_and_run_with_78_and_doctor_names_its_package() {
    let station = station("pipeline = \"libcamerasrc ! videoconvert\"");
    for verb in ["check", "run"] {
        let (code, said) = said(&station, verb);
        assert_eq!(code, Some(78), "{verb}: {said}");
        assert!(said.contains("gstreamer1.0-libcamera"), "{verb}: {said}");
    }
    let (_, said) = said(&station, "doctor");
    assert!(said.contains("gstreamer1.0-libcamera"), "{said}");
}

#[test]
fn a_camera_that_is_not_there_ends_the_start_with_69_and_what_gstreamer_logs_has_no_password() {
    let broker = Broker::start();
    let station = station(&format!(
        "pipeline_file = \"pipeline\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {}",
        broker.port
    ));
    let text = "rtspsrc location=rtsp://ann:hunter2@127.0.0.1:1/main ! decodebin ! videoconvert";
    fs::write(station.folder().join("pipeline"), text).unwrap();
    let mut command = station.command("run");
    command
        .env("GST_DEBUG", "5")
        .env("FLAWD_LOG", "flawd=debug");
    let output = command.output().unwrap();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("GStreamer says"), "{said}");
    assert!(!said.contains("hunter2"), "a line with the password");
}
