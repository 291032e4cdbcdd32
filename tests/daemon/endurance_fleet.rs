//! Many daemons and one broker: every record arrives once, and what it takes is measured.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::Process;

use crate::line::{Controller, Heard};
use crate::station::Station;

/// Parts per second and daemon.
const RATE: f64 = 1.0;

fn station(number: usize, port: u16) -> Station {
    Station::new(&format!(
        "[station]\nname = \"cell-{number}\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n[journal]\ncapacity = \"4MiB\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\nseed = {number}\nrate = {RATE:.1}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nrequired_at_start = true\n"
    ))
}

/// The number after this word in a file of `/proc`.
fn in_proc(process: u32, file: &str, word: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
    let rest = text.lines().find_map(|line| line.strip_prefix(word));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    number
        .unwrap_or_else(|| panic!("no {word} in {file}"))
        .parse()
        .unwrap()
}

/// The processor time of a process so far.
fn processor_time(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, in brackets, may hold anything.
    let fields: Vec<_> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .map(|at: usize| fields[at].parse::<u64>().unwrap())
        .iter()
        .sum();
    // Linux counts 100 a second for every program.
    Duration::from_millis(ticks * 10)
}

/// What was heard of all daemons.
#[derive(Default)]
struct Tally {
    /// Records by root, and the highest number.
    records: BTreeMap<String, u64>,
    messages: u64,
    stopped: usize,
}

impl Tally {
    fn note(&mut self, heard: &Heard) {
        self.messages += 1;
        self.stopped += usize::from(heard.kind() == "status" && heard.payload == "stopped");
        if heard.kind() != "record" {
            return;
        }
        let last = self.records.entry(heard.topic.clone()).or_default();
        let seq = heard.payload["seq"].as_u64().unwrap();
        assert_eq!(seq, *last + 1, "{}", heard.topic);
        *last = seq;
    }

    fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

fn a_fleet(size: usize, lasts: Duration) {
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let stations: Vec<_> = (0..size)
        .map(|number| station(number, broker.port))
        .collect();
    let mut daemons: Vec<Process> = stations.iter().map(Station::run_quiet).collect();
    let mut tally = Tally::default();
    while tally.records.len() < size {
        tally.note(&controller.next("a record of every daemon", |_| true));
    }
    let (begun, records, messages) = (Instant::now(), tally.total(), tally.messages);
    let broker_before = processor_time(broker.id());
    let daemons_before: Duration = daemons.iter().map(|it| processor_time(it.id())).sum();
    while begun.elapsed() < lasts {
        tally.note(&controller.next("records", |_| true));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let share = |before: Duration, now: Duration| (now - before).as_secs_f64() / seconds * 100.0;
    let daemons_after: Duration = daemons.iter().map(|it| processor_time(it.id())).sum();
    let rate = (tally.total() - records) as f64 / seconds;
    let resident = |process: u32| in_proc(process, "status", "VmRSS:") as f64 / 1024.0;
    let own = |process: u32| in_proc(process, "smaps_rollup", "Pss:") as f64 / 1024.0;
    let mean = |of: &dyn Fn(u32) -> f64| {
        let sum: f64 = daemons.iter().map(|it| of(it.id())).sum();
        sum / size as f64
    };
    println!(
        "{size} daemons, {seconds:.0} s: {rate:.1} records/s, {:.0} messages/s; a daemon has \
         {:.0} MiB resident, {:.0} MiB of them its own share, and takes {:.2} % of a core; the \
         broker takes {:.1} % of a core and {:.1} MiB",
        (tally.messages - messages) as f64 / seconds,
        mean(&resident),
        mean(&own),
        share(daemons_before, daemons_after) / size as f64,
        share(broker_before, processor_time(broker.id())),
        resident(broker.id()),
    );
    for daemon in &daemons {
        daemon.terminate();
    }
    while tally.stopped < size {
        tally.note(&controller.next("the end of all", |_| true));
    }
    for daemon in &mut daemons {
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    }
    // The next start would send what is left in a journal; there is nothing.
    for station in &stations {
        let mut daemon = station.run_quiet();
        let open = daemon.wait_for_line("the journal", |line| line.contains("Journal open"));
        assert!(open.contains("pending=0 "), "{open}");
        daemon.signal("KILL");
        daemon.wait();
    }
}

#[test]
fn records_of_a_few_daemons_at_one_broker_arrive_once() {
    a_fleet(4, Duration::from_secs(4));
}

#[test]
#[ignore = "takes ten minutes: run by cargo xtask endurance"]
fn records_of_fifty_daemons_at_one_broker_arrive_once() {
    a_fleet(50, Duration::from_secs(600));
}
