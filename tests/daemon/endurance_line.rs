//! A line that runs for long: the daemon's memory does not grow with the number of parts.

use std::fs;

use flawd_testing::broker::Broker;
use flawd_testing::process::Process;

use crate::line::Controller;
use crate::station::Station;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    resident_kib: u64,
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn of(process: &Process) -> Self {
        let folder = format!("/proc/{}", process.id());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next());
        let count = |what: &str| fs::read_dir(format!("{folder}/{what}")).unwrap().count();
        Self {
            resident_kib: resident.unwrap().parse().unwrap(),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}

/// Parts are judged as fast as they are consumed; what is held after `early` of them is compared
/// with what is held after `parts`.
fn holdings_do_not_grow(early: u64, parts: u64) {
    let broker = Broker::start_with("allow_anonymous true\nmax_queued_messages 0\n");
    let controller = Controller::connect(broker.port);
    let station = Station::new(&format!(
        "[station]\nname = \"endless\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n[journal]\nsync = \"system\"\ncapacity = \"4MiB\"\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ));
    let mut daemon = station.run_quiet();
    // Records come behind the verdicts; a part is done when its record has come.
    let until = |seq: u64| {
        controller.skip_until(&format!("record {seq}"), |it| {
            it.kind() == "record" && it.payload["seq"].as_u64() >= Some(seq)
        });
    };
    until(early);
    let before = Holdings::of(&daemon);
    until(parts);
    let after = Holdings::of(&daemon);
    println!("after {early} parts: {before:?}; after {parts}: {after:?}");

    let limit = before.resident_kib * 105 / 100;
    assert!(after.resident_kib < limit, "{before:?}, {after:?}");
    // The journal may be about to change from one file to the next.
    assert!(
        after.descriptors <= before.descriptors + 1,
        "{before:?}, {after:?}"
    );
    assert!(after.threads <= before.threads, "{before:?}, {after:?}");
    daemon.terminate();
    controller.skip_until("the end", |it| it.payload == "stopped");
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn memory_descriptors_and_threads_do_not_grow_with_the_parts() {
    // One picture of 27 KiB kept in five would show; `cargo xtask endurance` finds what is smaller.
    holdings_do_not_grow(1_000, 2_500);
}

#[test]
#[ignore = "takes minutes: run by cargo xtask endurance"]
fn memory_descriptors_and_threads_do_not_grow_in_a_hundred_thousand_parts() {
    holdings_do_not_grow(10_000, 100_000);
}
