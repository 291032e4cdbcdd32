//! A disk that fails for a while, while the broker is away: what was recorded before arrives, and
//! the next start reads the journal to its end. Also the syncs to the disk, so that a loss of power
//! takes no picture that was promised.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flawd_testing::broker::{AT_ONCE, Broker, Message};
use flawd_testing::process::Process;

use crate::station::Station;

/// The failing disk as a library; `None`, with a message, without a C compiler.
fn library(station: &Station) -> Option<PathBuf> {
    let library = station.folder().join("failing_disk.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/failing_disk.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    match made {
        Ok(status) => assert!(status.success(), "cc fails"),
        Err(_) => {
            println!("absent: there is no C compiler");
            return None;
        }
    }
    Some(library)
}

fn run(station: &Station, library: &PathBuf) -> Process {
    let mut command = station.command("run");
    command
        .env("LD_PRELOAD", library)
        .env("FLAWD_DISK_FAILS", station.folder().join("fails"))
        .env("FLAWD_DISK_NOTES", station.folder().join("notes"))
        .env("FLAWD_LOG", "flawd=trace");
    Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped())
}

fn wait_for_verdicts(daemon: &Process, count: u32) -> String {
    let mut seen = 0;
    daemon.wait_for_line("verdicts", |line| {
        seen += u32::from(line.contains(" Verdict "));
        seen == count
    })
}

fn seq_of(line: &str) -> u64 {
    let text = line.split("seq=").nth(1).expect("a verdict has a number");
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

#[test]
fn a_disk_that_fails_while_the_broker_is_away_takes_nothing_that_was_recorded_before() {
    let mut broker = Broker::start_with(AT_ONCE);
    let subscriber = broker.subscribe();
    broker.stop();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top]\ndeadline = \"2s\"\n\
         [camera.top.synthetic]\nrate = 50\nsize = \"96x96\"\n\
         [evidence]\nenabled = false\n[journal]\ncapacity = \"1MiB\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nreconnect_max = \"1s\"\n",
        broker.port
    ));
    let Some(library) = library(&station) else {
        return;
    };
    let daemon = run(&station, &library);
    let before = seq_of(&wait_for_verdicts(&daemon, 100));
    let fails = station.folder().join("fails");
    fs::write(&fails, "").unwrap();
    daemon.wait_for_line("the failure", |line| {
        line.contains("Verdicts cannot be written to the journal")
    });
    // Each of them fails or leaves a segment; the journal has room for eight.
    wait_for_verdicts(&daemon, 100);
    // Killed in the middle of it.
    daemon.signal("KILL");
    drop(daemon);
    fs::remove_file(&fails).unwrap();

    broker.start_again();
    let daemon = run(&station, &library);
    let first = seq_of(&wait_for_verdicts(&daemon, 1));
    let is_record = |it: &Message| {
        (it.kind() == "record").then(|| it.payload["seq"].as_u64().expect("a number"))
    };
    let messages = subscriber.until("a record of now", |it| is_record(it) >= Some(first + 20));
    let records: BTreeSet<u64> = messages.iter().filter_map(is_record).collect();
    let missing: Vec<u64> = (1..=before).filter(|seq| !records.contains(seq)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} were recorded, and are gone"
    );
    // No number means two things.
    let mut ids = std::collections::BTreeMap::new();
    for message in &messages {
        if let Some(seq) = is_record(message) {
            let taken = message.payload["captured_at"].clone();
            assert_eq!(*ids.entry(seq).or_insert_with(|| taken.clone()), taken);
        }
    }
    let last = messages.iter().rfind(|it| it.kind() == "state");
    if let Some(state) = last {
        assert_eq!(state.payload["records"]["dropped"], 0, "{}", state.payload);
    }
}

#[test]
fn pictures_are_on_the_disk_with_their_names_in_their_folders() {
    let broker = Broker::start();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [camera.top.synthetic]\nrate = 20\nsize = \"96x96\"\n\
         [evidence]\nok_share = 1.0\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
        broker.port
    ));
    let Some(library) = library(&station) else {
        return;
    };
    let mut daemon = run(&station, &library);
    wait_for_verdicts(&daemon, 20);
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let notes = fs::read_to_string(station.folder().join("notes")).unwrap();
    let notes: Vec<_> = (notes.lines().filter_map(|line| line.split_once(' '))).collect();
    let mut pictures = 0;
    for (place, (what, path)) in notes.iter().enumerate() {
        let path = Path::new(path);
        if *what != "renamed" || path.extension().is_none_or(|it| it != "png") {
            continue;
        }
        pictures += 1;
        let folder = path.parent().unwrap();
        let is_safe = |(what, it): &(&str, &str)| *what == "on-disk" && Path::new(it) == folder;
        assert!(notes[place..].iter().any(is_safe), "{}", path.display());
        // And the folder's own name in the one above it.
        let above = folder.parent().unwrap();
        let is_above = |(what, it): &(&str, &str)| *what == "on-disk" && Path::new(it) == above;
        assert!(notes[..place].iter().any(is_above), "{}", folder.display());
    }
    assert!(pictures >= 10, "{pictures}: {notes:?}");
}
