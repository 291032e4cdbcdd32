//! A disk without room.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::Process;
use jiff::Timestamp;

use super::{line, time, wait_for_verdicts};
use crate::station::Station;

/// `flawd run` with its state on a private file system, mounted with these options; `None`, with a
/// message, if it may not mount one.
pub(crate) fn run_on_a_disk(station: &Station, options: &str) -> Option<Process> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let state = station.folder().join("state");
    fs::create_dir_all(&state).unwrap();
    let mount = format!("mount -t tmpfs -o {options} none \"$0\"");
    let may = |way: &&&[&str]| {
        let mut attempt = Command::new("unshare");
        attempt.args(**way).args(["sh", "-c", &mount]).arg(&state);
        attempt.output().is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(may) else {
        eprintln!("SKIPPED the small disk: neither root nor a user namespace to mount in");
        return None;
    };
    let run = station.command("run");
    let mut command = Command::new("unshare");
    command
        .args(*way)
        .args(["sh", "-c", &format!("{mount} && exec \"$@\"")])
        .arg(&state)
        .arg(run.get_program())
        .args(run.get_args())
        .envs(
            run.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .env("FLAWD_LOG", "flawd=trace");
    Some(Process::spawn(
        &mut command,
        "flawd",
        Stdio::null(),
        Stdio::piped(),
    ))
}

/// Writes a file until the file system has no room for it.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        let bytes = vec![0xa5; size];
        while file.write_all(&bytes).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_inspection_goes_on_and_what_is_dropped_is_counted_and_said_once() {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.stop();
    let station = line(&broker, "");
    let text = fs::read_to_string(station.configuration()).unwrap();
    let small = "[journal]\ncapacity = \"1MiB\"\n\
                 [evidence]\nmax_size = \"1MiB\"\nkeep_free = \"64KiB\"\nok_share = 1.0\n";
    station.configure(&text.replace("[evidence]\nenabled = false\n", small));
    let Some(mut daemon) = run_on_a_disk(&station, "size=8m") else {
        return;
    };
    // More than two of the journal's eight segments.
    wait_for_verdicts(&daemon, 700);
    let root = Path::new("/proc")
        .join(daemon.id().to_string())
        .join("root");
    let state = station.folder().join("state");
    fill(&root.join(state.strip_prefix("/").unwrap()).join("foreign"));
    let (dropped, suspended) = ("The journal is full", "Evidence suspended");
    let mut unsaid = BTreeSet::from([dropped, suspended]);
    daemon.wait_for_line("what is full", |line| {
        unsaid.retain(|words| !line.contains(words));
        unsaid.is_empty()
    });
    wait_for_verdicts(&daemon, 700);

    broker.start_again();
    let now = Timestamp::now();
    let messages = subscriber.until("a verdict", |message| {
        message.kind() == "verdict" && time(&message.payload["captured_at"]) > now
    });
    let last = messages.iter().rfind(|it| it.kind() == "state").unwrap();
    let (records, evidence) = (&last.payload["records"], &last.payload["evidence"]);
    assert!(records["dropped"].as_u64() > Some(0), "{records}");
    assert_eq!(records["unwritten"], 0, "{records}");
    assert!(evidence["dropped"].as_u64() > Some(0), "{evidence}");
    assert!(evidence["suspended"].is_string(), "{evidence}");
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    for words in [dropped, suspended] {
        assert_eq!(daemon.seen().matches(words).count(), 1, "{words}");
    }
}
