//! The cable to the broker is pulled while the line runs, and plugged in again: all records arrive,
//! in order, and no verdict of that time does.

use std::process::Stdio;
use std::time::Duration;

use flawd_testing::broker::{AT_ONCE, Broker, Message, free_port};
use flawd_testing::process::Process;
use jiff::Timestamp;

use crate::namespace::Namespace;
use crate::records::is_verdict_after;
use crate::station::Station;

/// Parts per second.
const RATE: u64 = 20;

fn seq(message: &Message, kind: &str) -> Option<u64> {
    let seq = message.payload["seq"].as_u64();
    seq.filter(|_| message.kind() == kind)
}

fn captured(message: &Message) -> Timestamp {
    let captured = message.payload["captured_at"].as_str();
    captured.unwrap().parse().unwrap()
}

/// Lets parts pass from this moment on; returns the number of the last.
fn pass(daemon: &Process, since: Timestamp, parts: u64) -> u64 {
    let mut seen = 0;
    let is_last = |line: &str| {
        seen += u64::from(is_verdict_after(line, since));
        seen == parts
    };
    let line = daemon.wait_for_line("parts without the broker", is_last);
    let seq = line.split(' ').find_map(|word| word.strip_prefix("seq="));
    seq.unwrap().parse().unwrap()
}

fn the_cable_is_pulled_for(seconds: u64) {
    let network = match Namespace::new() {
        Ok(network) => network,
        Err(error) => {
            println!("skipped: no network namespaces here, which take root and iproute2 ({error})");
            return;
        }
    };
    let port = free_port();
    let broker = Broker::start_with(&format!("{AT_ONCE}listener {port} {}\n", network.address));
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n\
         [camera.top.synthetic]\nrate = {RATE}.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"{}\"\nport = {port}\nreconnect_max = \"2s\"\nexpiry = \"1s\"\n",
        network.address
    ));
    let mut command = network.wrap(&station.command("run"));
    command.env("FLAWD_LOG", "flawd=trace");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    let mut messages = subscriber.until("records", |it| seq(it, "record") >= Some(2 * RATE));

    network.pull();
    let (pulled, mut last) = (Timestamp::now(), 0);
    for _ in 0..seconds {
        last = pass(&daemon, pulled, RATE);
    }
    let plugged_in = Timestamp::now();
    network.plug_in();
    let later = |it: &Message| seq(it, "record") >= Some(last + 2 * RATE);
    messages.extend(subscriber.until("the records of that time, and later ones", later));
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    let mut records = 0;
    for number in messages.iter().filter_map(|it| seq(it, "record")) {
        assert!(number <= records + 1, "{number} comes after {records}");
        records = records.max(number);
    }
    assert!(records >= last + 2 * RATE, "{records} of {last} and more");
    let is_historical = |it: &&Message| it.payload["historical"] == true;
    let historical = messages.iter().filter(is_historical).count();
    // Also what the old connection might still have had in its buffers. One that is published within
    // a second is in time.
    let oldest = plugged_in - Duration::from_secs(1);
    let mut verdicts = messages
        .iter()
        .filter(|it| ["verdict", "defect"].contains(&it.kind()) && it.received > plugged_in);
    let old = verdicts.find(|it| captured(it) < oldest);
    assert!(old.is_none(), "a verdict of that time: {old:?}");
    println!(
        "{seconds} s without the broker: {last} parts by then, {records} records in order, \
         {historical} of them historical"
    );
    assert!(historical as u64 > (seconds - 2) * RATE, "{historical}");
}

#[test]
fn while_a_cable_is_pulled_nothing_is_lost_and_no_verdict_arrives_late() {
    the_cable_is_pulled_for(6);
}

#[test]
#[ignore = "takes over a minute: run by cargo xtask endurance"]
fn while_a_cable_is_pulled_for_a_minute_nothing_is_lost_and_no_verdict_arrives_late() {
    the_cable_is_pulled_for(60);
}
