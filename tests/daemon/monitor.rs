//! Metrics and health of a running daemon, as requested by a collector and an orchestrator.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use flawd_testing::process::{LIMIT, Process};
use serde_json::Value;

use crate::station::{Station, errors};

/// A station without a broker, whose line never ends.
fn station(listen: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"monitor\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top]\nframe_timeout = \"1h\"\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [camera.side]\nframe_timeout = \"1h\"\n\
         [camera.side.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n\
         [monitor]\nlisten = \"{listen}\"\n"
    ))
}

/// Where the daemon reports that it listens.
fn address(daemon: &Process) -> SocketAddr {
    let line = daemon.wait_for_line("the address", |line| line.contains("health are served"));
    let (_, address) = line.rsplit_once("address=").unwrap();
    address.trim().parse().unwrap()
}

/// Status, content type and body of an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "))
        .unwrap_or_default();
    (status, content_type.to_owned(), body.to_owned())
}

/// The samples by series, after a look at whether each belongs to a family that is described.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut help = None;
    let mut family = String::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split(' ').next();
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert_eq!(help.take(), Some(name), "the help comes before the type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&family), "{line} is not of {family}");
            let is_new = samples
                .insert(series.to_owned(), value.parse().unwrap())
                .is_none();
            assert!(is_new, "{series} is there twice");
        }
    }
    samples
}

#[test]
fn a_running_daemon_answers_for_its_health_and_describes_every_metric() {
    let station = station("127.0.0.1:0");
    let mut daemon = station.run();
    let address = address(&daemon);
    // It answers before there is a model.
    assert_eq!(get(address, "/healthz").0, 200);
    daemon.wait_for_line("readiness", |line| line.contains("Ready cameras=2"));

    let (status, content_type, body) = get(address, "/readyz");
    let condition: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    let expected = r#"{"ready":true,"reason":null,"phase":"continuous_execution"}"#;
    assert_eq!(condition, serde_json::from_str::<Value>(expected).unwrap());

    let (status, content_type, text) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let samples = samples(&text);
    assert_eq!(samples["flawd_ready"], 1.0);
    assert_eq!(samples["flawd_clock_jumps_total"], 0.0);
    for camera in ["side", "top"] {
        assert!(samples[&format!("flawd_threshold{{camera=\"{camera}\"}}")] > 0.0);
        assert!(samples[&format!("flawd_frames_captured_total{{camera=\"{camera}\"}}")] > 0.0);
        let model = format!("flawd_model_info{{camera=\"{camera}\",name=\"");
        let models = samples.keys().filter(|series| series.starts_with(&model));
        assert_eq!(models.count(), 1, "{text}");
    }
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(TcpStream::connect(address).is_err(), "it does not listen");
}

/// The broker is missing, and no verdict is requested.
#[test]
fn before_the_first_verdict_the_pictures_of_the_last_run_are_counted() {
    let station = Station::new(
        "[station]\nname = \"monitor\"\n[inference]\nbundle = \"{bundle}\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n[camera.top.trigger]\nmode = \"mqtt\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n[monitor]\nlisten = \"127.0.0.1:0\"\n",
    );
    let evidence = station.folder().join("state/flawd/monitor/evidence");
    let picture = evidence.join("top/2026-01-02/000000000001-ng.png");
    std::fs::create_dir_all(picture.parent().unwrap()).unwrap();
    std::fs::write(&picture, [7; 1234]).unwrap();
    let mut daemon = station.run();
    let address = address(&daemon);
    daemon.wait_for_line("readiness", |line| line.contains("Ready cameras=1"));
    let samples = samples(&get(address, "/metrics").2);
    assert_eq!(samples["flawd_evidence_bytes"], 1234.0);
    daemon.terminate();
    daemon.wait();
}

#[test]
fn an_address_that_is_taken_ends_the_start_with_69_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = station(&address.to_string()).output("run");
    let errors = errors(&output);
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(errors.contains(&address.to_string()), "{errors}");
    assert!(errors.contains("monitor.listen"), "{errors}");
}

#[test]
fn without_an_address_nothing_listens() {
    let station = Station::new(
        "[station]\nname = \"monitor\"\n[inference]\nbundle = \"{bundle}\"\n\
         [camera.top.synthetic]\nparts = 1\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n",
    );
    let mut command = station.command("run");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!daemon.seen().contains("are served"), "{}", daemon.seen());
}
