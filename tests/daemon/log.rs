//! Log lines that are not read, or cannot be written: inspection, health and the end do not wait
//! for them.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;

use flawd_testing::broker::Broker;
use flawd_testing::process::LIMIT;
use rustix::pipe::fcntl_setpipe_size;

use crate::monitor::get;
use crate::station::{Station, errors};

/// Bytes that the smallest pipe holds.
const PIPE: usize = 4096;

/// A pipe that holds only a few lines.
fn small_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    assert_eq!(fcntl_setpipe_size(&writer, PIPE).unwrap(), PIPE);
    (reader, writer)
}

/// A daemon that logs all it can into a small pipe, and the end to read that from.
fn start_with_small_log(station: &Station) -> (Child, PipeReader) {
    let (log, writer) = small_pipe();
    let mut command = station.command("run");
    command.env("FLAWD_LOG", "flawd=trace").stderr(writer);
    // The command goes with this function, and its copy of the writing end with it.
    (command.spawn().unwrap(), log)
}

/// The end of a child; one that does not end is killed, and fails the test.
fn end(mut child: Child) -> ExitStatus {
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait().unwrap()).ok());
    ended.recv_timeout(LIMIT).unwrap_or_else(|_| {
        Command::new("kill").args(["-s", "KILL", &id]).status().ok();
        panic!("flawd does not end")
    })
}

fn line(broker: &Broker) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nrate = 50.0\nsize = \"96x96\"\n\
         [monitor]\nlisten = \"127.0.0.1:0\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
        broker.port
    ))
}

#[test]
fn an_unread_log_holds_up_neither_verdicts_nor_health_nor_the_end() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(&broker);
    let (daemon, log) = start_with_small_log(&station);
    let mut log = BufReader::with_capacity(1, log);
    let mut line = String::new();
    while !line.contains("health are served") {
        line.clear();
        log.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it has ended");
    }
    let (_, address) = line.rsplit_once("address=").unwrap();
    let address = address.trim().parse().unwrap();

    // Each verdict is a line, and the pipe is full after some thirty.
    subscriber.until("verdict 200", |message| message.payload["seq"] == 200);
    assert_eq!(get(address, "/healthz").0, 200);
    assert_eq!(get(address, "/readyz").0, 200);

    // A reader that comes back gets what has waited, and may go again.
    while !line.contains("seq=200 ") {
        line.clear();
        log.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it has ended");
    }
    drop(log);
    subscriber.until("more verdicts", |message| message.kind() == "verdict");
    terminate(&daemon);
    subscriber.until_status("stopped");
    assert_eq!(end(daemon).code(), Some(0));
}

#[test]
fn a_daemon_whose_log_is_full_ends_when_it_is_asked_to() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(&broker);
    let (daemon, log) = start_with_small_log(&station);
    subscriber.until("verdict 200", |message| message.payload["seq"] == 200);
    terminate(&daemon);
    subscriber.until_status("stopped");
    assert_eq!(end(daemon).code(), Some(0));
    drop(log);
}

#[test]
fn a_mistake_ends_with_its_own_code_although_it_cannot_be_reported() {
    let station = Station::new("[station]\nname = 1\n");
    let (full, mut writer) = small_pipe();
    writer.write_all(&[b'x'; PIPE]).unwrap();
    let mut command = station.command("run");
    let daemon = command.stderr(writer).spawn().unwrap();
    drop(command);
    assert_eq!(end(daemon).code(), Some(78), "the log is not read");
    drop(full);

    let (gone, writer) = small_pipe();
    drop(gone);
    let mut command = station.command("run");
    let daemon = command.stderr(writer).spawn().unwrap();
    drop(command);
    assert_eq!(end(daemon).code(), Some(78), "the reader is gone");
}

#[test]
fn a_filter_in_the_environment_that_makes_no_sense_ends_with_78_and_the_level_that_was_meant() {
    let station = Station::new("[station]\nname = \"line\"\n");
    for (wrong, said) in [("warning", "`warn`"), ("flawd=inof", "`info`")] {
        for verb in ["check", "run"] {
            let output = station.command(verb).env("FLAWD_LOG", wrong).output();
            let output = output.unwrap();
            let errors = errors(&output);
            assert_eq!(output.status.code(), Some(78), "{errors}");
            assert!(errors.contains("FLAWD_LOG"), "{errors}");
            assert!(errors.contains(said), "{errors}");
        }
    }
}

fn terminate(daemon: &Child) {
    let status = Command::new("kill").arg(daemon.id().to_string()).status();
    assert!(status.unwrap().success());
}
