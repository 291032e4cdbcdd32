//! What the service manager sees: the unit file, readiness, the watchdog.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use flawd_testing::broker::Broker;
use flawd_testing::process::{LIMIT, Process};

use crate::station::Station;

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/flawd.service");

/// The unit is checked by systemd's own tool; on a machine without systemd there is none.
fn systemd_analyze() -> Option<Command> {
    if Path::new("/usr/bin/systemd-analyze").exists() {
        return Some(Command::new("/usr/bin/systemd-analyze"));
    }
    println!("not run: systemd-analyze is not installed");
    None
}

#[test]
fn systemd_finds_nothing_to_say_about_the_unit() {
    let Some(mut analyze) = systemd_analyze() else {
        return;
    };
    // The program is looked for as well, so the unit gets the one that was built.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("flawd.service");
    let text = fs::read_to_string(UNIT).unwrap();
    let built = env!("CARGO_BIN_EXE_flawd");
    fs::write(&unit, text.replace("/usr/bin/flawd", built)).unwrap();
    // The manual page is in the package, not here.
    let output = analyze
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .unwrap();
    // Unknown keys are printed, but do not fail the command.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_unit_leaves_little_exposed() {
    let Some(mut analyze) = systemd_analyze() else {
        return;
    };
    let output = analyze
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(UNIT)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn every_exposure_that_is_left_is_explained_in_the_unit() {
    let Some(mut analyze) = systemd_analyze() else {
        return;
    };
    let output = analyze
        .args(["security", "--offline=true", "--json=short"])
        .arg(UNIT)
        .output()
        .unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let is_left = |row: &&serde_json::Value| row["set"] == false;
    let name = |row: &serde_json::Value| row["json_field"].as_str().unwrap().to_owned();
    let left: BTreeSet<String> = rows.iter().filter(is_left).map(name).collect();

    let text = fs::read_to_string(UNIT).unwrap();
    let list = text.split("why it stays").nth(1).expect("the list");
    let explained: BTreeSet<String> = list
        .lines()
        .filter_map(|line| line.strip_prefix("#   ")?.split_once(": "))
        .flat_map(|(names, _)| names.split(", "))
        .map(str::to_owned)
        .collect();
    assert_eq!(left, explained);
}

#[test]
fn ready_is_said_after_the_first_frame_and_the_watchdog_is_fed_while_inspection_goes_on() {
    let broker = Broker::start();
    let station = Station::new(&format!(
        "[station]\nname = \"service\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
        broker.port
    ));
    let address = station.folder().join("notify");
    let manager = UnixDatagram::bind(&address).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = station.command("run");
    command
        .env("NOTIFY_SOCKET", &address)
        .env("WATCHDOG_USEC", "400000");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());

    let mut said = BTreeSet::new();
    let mut hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        while !said.contains(wanted) {
            let length = manager
                .recv(&mut buffer)
                .expect("the daemon says something");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            said.extend(text.lines().map(str::to_owned));
        }
        said.clone()
    };
    let before_ready = hear("READY=1");
    assert!(before_ready.contains("STATUS=Ready"), "{before_ready:?}");
    hear("WATCHDOG=1");
    daemon.terminate();
    hear("STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

/// A station without a broker, whose line never ends.
fn lonely_line() -> Station {
    Station::new(
        "[station]\nname = \"service\"\n[inference]\nbundle = \"{bundle}\"\n\
         [camera.top.synthetic]\nrate = 50.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\n",
    )
}

#[test]
fn a_service_manager_that_does_not_read_holds_nothing_up() {
    let station = lonely_line();
    let address = station.folder().join("notify");
    let _manager = UnixDatagram::bind(&address).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"STATUS=full", &address).is_ok() {}
    let mut command = station.command("run");
    command
        .env("NOTIFY_SOCKET", &address)
        .env("WATCHDOG_USEC", "400000")
        .env("FLAWD_LOG", "trace");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    daemon.wait_for_line("a verdict", |line| line.contains("seq=20 "));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn a_service_manager_that_is_gone_is_said_once() {
    let station = lonely_line();
    let mut command = station.command("run");
    command
        .env("NOTIFY_SOCKET", station.folder().join("gone"))
        .env("WATCHDOG_USEC", "400000")
        .env("FLAWD_LOG", "trace");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    daemon.wait_for_line("a verdict", |line| line.contains("seq=100 "));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let said = daemon.seen();
    let times = said.matches("Cannot reach the service manager").count();
    assert_eq!(times, 1, "{said}");
}
