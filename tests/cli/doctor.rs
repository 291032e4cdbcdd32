//! `flawd doctor` on healthy and faulty stations.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{bundle, data};

/// A folder with a configuration of a station that could run, apart from `extra`.
fn station(port: u16, extra: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let text = format!(
        "[station]\nname = \"doctor\"\nstate = \"state\"\n\
         [inference]\nbundle = \"{}\"\n\
         [camera.top.folder]\npath = \"{}\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n{extra}",
        bundle().display(),
        data().join("test").display(),
    );
    fs::write(folder.path().join("flawd.toml"), text).expect("it can be written");
    folder
}

/// What the doctor says, human-readable and as JSON, with these variables set. It always ends with
/// 0.
fn examine(folder: &Path, variables: &[(&str, &str)]) -> (String, Value) {
    let run = |json: Option<&str>| {
        let output = Command::new(env!("CARGO_BIN_EXE_flawd"))
            .args(["doctor", "-c"])
            .arg(folder.join("flawd.toml"))
            .args(json)
            .envs(variables.iter().copied())
            .output()
            .expect("the binary was built");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let printed = String::from_utf8(output.stdout).expect("flawd prints UTF-8");
        assert!(!(said + &printed).contains("hunter2"), "a secret is shown");
        printed
    };
    let json = serde_json::from_str(&run(Some("--json"))).expect("it is JSON");
    (run(None), json)
}

/// The finding with this subject in a section, as it is in the JSON.
#[track_caller]
fn finding<'a>(report: &'a Value, section: &str, subject: &str) -> &'a Value {
    let sections = report["sections"].as_array().expect("a list");
    let findings = sections
        .iter()
        .find(|found| found["name"] == section)
        .and_then(|found| found["findings"].as_array())
        .unwrap_or_else(|| panic!("no section {section}: {report:#}"));
    findings
        .iter()
        .find(|found| found["subject"] == subject)
        .unwrap_or_else(|| panic!("no {subject} in {section}: {report:#}"))
}

/// Subjects of everything that is broken.
fn broken(report: &Value) -> Vec<&str> {
    let sections = report["sections"].as_array().expect("a list");
    let findings = sections
        .iter()
        .flat_map(|section| section["findings"].as_array().expect("a list"));
    findings
        .filter(|finding| finding["broken"] == true)
        .map(|finding| finding["subject"].as_str().expect("a text"))
        .collect()
}

#[test]
fn a_station_that_could_run_has_nothing_broken_and_its_bundle_is_verified() {
    let broker = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = broker.local_addr().expect("it is bound").port();
    let folder = station(port, "");
    let (text, report) = examine(folder.path(), &[]);
    assert_eq!(broken(&report), Vec::<&str>::new(), "{report:#}");
    assert!(text.contains("Nothing is broken"), "{text}");
    let version = finding(&report, "flawd", "version");
    assert_eq!(version["text"], env!("CARGO_PKG_VERSION"));
    let name = bundle().display().to_string();
    let verified = finding(&report, "bundles", &name)["text"].to_string();
    assert!(verified.contains("every file verified"), "{verified}");
    assert!(verified.contains("model sha256:"), "{verified}");
    let providers = finding(&report, "ONNX Runtime", "providers")["text"].to_string();
    assert!(providers.contains("cpu"), "{providers}");
    let subject = format!("127.0.0.1:{port}");
    assert_eq!(finding(&report, "broker", &subject)["text"], "reached");
    let effective = finding(&report, "configuration", "effective")["text"].to_string();
    assert!(effective.contains("grace_period"), "{effective}");
    for section in [
        "machine",
        "cameras",
        "clock",
        "service",
        "environment",
        "state",
    ] {
        assert!(
            text.contains(&format!("\n{section}\n")),
            "{section}: {text}"
        );
    }
}

#[test]
fn what_is_broken_is_named_and_the_rest_is_reported_all_the_same() {
    // Port 1 is reserved, and nothing listens on it.
    let folder = station(1, "[camera.side.v4l2]\ndevice = \"/dev/video99\"\n");
    let file = folder.path().join("flawd.toml");
    let text = fs::read_to_string(&file).expect("it was written");
    let missing = bundle().with_file_name("no-bundle");
    let (was, is) = (
        bundle().display().to_string(),
        missing.display().to_string(),
    );
    fs::write(&file, text.replace(&was, &is)).expect("it can be written");
    let (text, report) = examine(folder.path(), &[]);
    assert_eq!(broken(&report), [is.as_str(), "side", "127.0.0.1:1"]);
    assert!(text.contains("there is no /dev/video99"), "{text}");
    assert!(text.contains("Lines with ! are broken: 3"), "{text}");
    assert_eq!(finding(&report, "sources", "top")["broken"], false);
}

#[test]
fn a_configuration_that_is_wrong_or_missing_is_named_with_its_line() {
    let folder = station(1, "prot = 1884\n");
    let (text, report) = examine(folder.path(), &[]);
    let problem = &finding(&report, "configuration", "valid")["text"];
    let problem = problem.as_str().expect("a text");
    assert!(
        problem.contains("flawd.toml:11:1: unknown key `prot`"),
        "{problem}"
    );
    assert!(text.contains("\nmachine\n"), "{text}");
    fs::remove_file(folder.path().join("flawd.toml")).expect("it is there");
    let (_, report) = examine(folder.path(), &[]);
    assert_eq!(broken(&report), ["valid"]);
}

#[test]
fn no_secret_is_shown_wherever_it_comes_from() {
    let variables = [
        ("FLAWD__MQTT__USERNAME", "line"),
        ("FLAWD__MQTT__PASSWORD", "hunter2"),
    ];
    let (text, report) = examine(station(1, "").path(), &variables);
    let line = "\n  FLAWD__MQTT__USERNAME \"line\"\n";
    assert!(
        text.contains(line),
        "the value is told from the name: {text}"
    );
    let password = finding(&report, "environment", "FLAWD__MQTT__PASSWORD");
    assert_eq!(password["text"], "\"***\"");
    let effective = finding(&report, "configuration", "effective")["text"].to_string();
    assert!(effective.contains("***"), "{effective}");
    // Mistyped, or in the file, where it does not belong.
    let mistyped = [
        ("FLAWD__MQTT__PASWORD", "hunter2"),
        ("FLAWD__MQTT", "hunter2"),
    ];
    examine(station(1, "").path(), &mistyped);
    examine(station(1, "password = \"hunter2\"\n").path(), &[]);
    examine(station(1, "password = \"hunter2\n").path(), &[]);
    examine(station(1, "pasword = \"hunter2\"\n").path(), &[]);
}
