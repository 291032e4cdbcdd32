//! Triggers without end, and everything that may happen to a daemon in between: each trigger that
//! was accepted has exactly one verdict, and each verdict its record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use flawd_testing::broker::{AT_ONCE, Broker};
use flawd_testing::process::Process;

use crate::bundle;
use crate::line::{Controller, Heard};
use crate::station::Station;

const TRIGGER: &str = "flawd/press/top/trigger";

/// Triggers that wait for their verdict at a time: more than may wait for the camera, so that some
/// give way.
const WINDOW: usize = 12;

/// Triggers that are sent in the very moment of an end.
const AT_THE_END: usize = 40;

/// For how long the network stalls: less than what ends a connection.
const STALL: Duration = Duration::from_millis(500);

/// What happens on the line.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// SIGTERM under triggers, and another start.
    Stop,
    /// SIGKILL under triggers, and another start.
    Kill,
    /// Another model.
    Reload,
    /// Inspection is paused for a while.
    Pause,
    /// The network stalls for a while.
    Stall,
}

const DISTURBANCES: [Disturbance; 5] = [
    Disturbance::Reload,
    Disturbance::Stop,
    Disturbance::Pause,
    Disturbance::Kill,
    Disturbance::Stall,
];

/// A line under disturbances, and all that was heard of it.
struct Ordeal {
    broker: Broker,
    controller: Controller,
    station: Station,
    daemon: Process,
    asked: usize,
    /// Asked, and neither verdict nor record was heard.
    open: BTreeSet<usize>,
    /// Open when their daemon ended, or sent while there was none.
    excused: BTreeSet<usize>,
    /// By number: which part.
    verdicts: BTreeMap<u64, usize>,
    records: BTreeMap<u64, usize>,
    reasons: BTreeMap<String, usize>,
    /// Of those that ended in an orderly way.
    accepted: u64,
    refused: u64,
    is_other_model: bool,
}

fn configuration(port: u16, bundle: &str) -> String {
    format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{bundle}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n[journal]\nsync = \"system\"\n\
         [camera.top]\nframe_timeout = \"300ms\"\n\
         [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"\nqueue = 8\n\
         [camera.top.synthetic]\nsize = \"96x96\"\n\
         fault.stall = {{ after = 100, lasts = \"900ms\" }}\n\
         fault.loss = {{ after = 150, lasts = \"500ms\" }}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\nrequired_at_start = true\n"
    )
}

impl Ordeal {
    fn begin() -> Self {
        let broker = Broker::start_with(AT_ONCE);
        let controller = Controller::connect(broker.port);
        let station = Station::new(&configuration(broker.port, "{bundle}"));
        let daemon = station.run_quiet();
        let mut ordeal = Self {
            broker,
            controller,
            station,
            daemon,
            asked: 0,
            open: BTreeSet::new(),
            excused: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            records: BTreeMap::new(),
            reasons: BTreeMap::new(),
            accepted: 0,
            refused: 0,
            is_other_model: false,
        };
        ordeal.until("ready", |it| it.payload["ready"] == true);
        ordeal
    }

    fn ask(&mut self) {
        let payload = format!(r#"{{"part_id":"{}"}}"#, self.asked);
        self.controller.publish(TRIGGER, payload, false);
        self.open.insert(self.asked);
        self.asked += 1;
    }

    /// Receives until this has come, and notes everything.
    fn until(&mut self, what: &str, is_it: impl Fn(&Heard) -> bool) -> Heard {
        loop {
            let heard = self.controller.next(what, |_| true);
            self.note(&heard);
            if is_it(&heard) {
                return heard;
            }
        }
    }

    fn note(&mut self, heard: &Heard) {
        let is_record = heard.kind() == "record";
        if !is_record && heard.kind() != "verdict" {
            return;
        }
        let payload = &heard.payload;
        let seq = payload["seq"].as_u64().unwrap();
        let part: usize = payload["part_id"].as_str().unwrap().parse().unwrap();
        self.open.remove(&part);
        if is_record {
            // What was on its way when a connection ended comes again, and says the same.
            let known = self.records.insert(seq, part);
            assert!(known.is_none_or(|known| known == part), "{payload}");
        } else {
            let known = self.verdicts.insert(seq, part);
            assert_eq!(known, None, "a verdict came twice: {payload}");
            let reason = payload["reason"].as_str().unwrap_or("judged").to_owned();
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn happen(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Stop => {
                self.daemon.terminate();
                self.ask_at_the_end();
                self.end_in_order();
                self.start_again();
            }
            Disturbance::Kill => {
                self.ask_at_the_end();
                self.daemon.signal("KILL");
                self.daemon.wait();
                self.until("its last will", |it| it.payload == "offline");
                self.start_again();
            }
            Disturbance::Reload => {
                self.is_other_model = !self.is_other_model;
                let other = bundle::other().display().to_string();
                let bundle = if self.is_other_model {
                    &other
                } else {
                    "{bundle}"
                };
                let port = self.broker.port;
                self.station.configure(&configuration(port, bundle));
                let reload = ("flawd/press/cmd/reload", "plc/reload");
                self.controller.ask(reload.0, "", reload.1, b"1");
                self.under_triggers("a reload", |it| it.topic == reload.1);
            }
            Disturbance::Pause => {
                self.controller.publish("flawd/press/cmd/pause", "", false);
                self.under_triggers("a pause", |it| it.payload["reason"] == "paused");
                self.controller.publish("flawd/press/cmd/resume", "", false);
                self.under_triggers("its end", |it| it.payload["ready"] == true);
            }
            Disturbance::Stall => {
                self.broker.freeze();
                self.ask_at_the_end();
                let mut heard = Vec::new();
                let until = Instant::now() + STALL;
                self.controller.hear_until(until, &mut heard);
                self.broker.thaw();
                heard.iter().for_each(|it| self.note(it));
            }
        }
    }

    fn ask_at_the_end(&mut self) {
        for _ in 0..AT_THE_END {
            self.ask();
        }
    }

    /// Asks for parts until this has come.
    fn under_triggers(&mut self, what: &str, is_it: impl Fn(&Heard) -> bool) {
        loop {
            if self.open.len() < WINDOW {
                self.ask();
            }
            let heard = self.controller.next(what, |_| true);
            self.note(&heard);
            if is_it(&heard) {
                return;
            }
        }
    }

    /// A daemon that ends in order has answered all that it accepted, and says so.
    fn end_in_order(&mut self) {
        let mut last = None;
        loop {
            let heard = self.controller.next("the end", |_| true);
            self.note(&heard);
            if heard.kind() == "state" {
                last = Some(heard);
            } else if heard.payload == "stopped" {
                break;
            }
        }
        assert_eq!(self.daemon.wait().code(), Some(0), "{}", self.daemon.seen());
        let camera = last.expect("a state").payload["cameras"]["top"].clone();
        let count = |name: &str| camera[name].as_u64().unwrap_or(0);
        let verdicts: u64 = ["ok", "ng", "no_decision"].map(count).iter().sum();
        assert_eq!(count("triggers_accepted"), verdicts, "{camera}");
        self.accepted += verdicts;
        self.refused += count("triggers_refused");
    }

    fn start_again(&mut self) {
        self.daemon = self.station.run_quiet();
        self.until("ready", |it| it.payload["ready"] == true);
        self.excused.append(&mut self.open);
    }

    /// Receives until every verdict has its record, and everything has its verdict.
    fn settle(&mut self) {
        loop {
            let last = self.verdicts.last_key_value().map(|(seq, _)| *seq);
            let is_recorded = self.records.len() as u64 >= last.unwrap_or(0);
            if self.open.is_empty() && is_recorded {
                return;
            }
            let heard = self.controller.next("verdicts and records", |_| true);
            self.note(&heard);
        }
    }

    fn judge(&self) {
        let numbers = self.records.keys().copied();
        assert!(numbers.eq(1..=self.records.len() as u64), "a gap in `seq`");
        let parts: BTreeSet<_> = self.records.values().copied().collect();
        assert_eq!(parts.len(), self.records.len(), "a part has two verdicts");
        for (seq, part) in &self.verdicts {
            assert_eq!(self.records.get(seq), Some(part), "the record of {seq}");
        }
        for part in (0..self.asked).filter(|part| !parts.contains(part)) {
            assert!(self.excused.contains(&part), "part {part} has no verdict");
        }
    }
}

/// Sends this number of triggers, with an interruption after every `between` of them.
fn each_has_one_verdict_and_each_verdict_its_record(triggers: usize, between: usize) {
    let mut ordeal = Ordeal::begin();
    let mut disturbances = DISTURBANCES.iter().cycle();
    let (mut next, mut happened) = (between, 0);
    while ordeal.asked < triggers {
        while ordeal.open.len() < WINDOW {
            ordeal.ask();
        }
        let heard = ordeal.controller.next("a verdict", |_| true);
        ordeal.note(&heard);
        if ordeal.asked >= next {
            next = ordeal.asked + between;
            happened += 1;
            ordeal.happen(*disturbances.next().expect("they come in turn"));
        }
    }
    ordeal.settle();
    ordeal.daemon.terminate();
    ordeal.end_in_order();
    ordeal.judge();
    println!(
        "{} triggers, {happened} disturbances; {} verdicts recorded, of which {} were not heard \
         in real time; {} sent when a daemon ended or was away, of which {} have no verdict; \
         {} accepted by daemons that ended in order, {} refused by them; {:?}",
        ordeal.asked,
        ordeal.records.len(),
        ordeal.records.len() - ordeal.verdicts.len(),
        ordeal.excused.len(),
        ordeal.asked - ordeal.records.len(),
        ordeal.accepted,
        ordeal.refused,
        ordeal.reasons
    );
}

#[test]
fn two_thousand_triggers_through_stops_kills_reloads_and_stalls_have_one_verdict_each() {
    each_has_one_verdict_and_each_verdict_its_record(2_000, 300);
}

#[test]
#[ignore = "takes minutes: run by cargo xtask endurance"]
fn so_have_a_hundred_thousand() {
    each_has_one_verdict_and_each_verdict_its_record(100_000, 1_000);
}

/// The longest trigger that is allowed.
fn longest(part: usize) -> String {
    let part_id = format!("{part:06}{}", "\u{1f600}".repeat(1018));
    let recipe = "\u{1f600}".repeat(256);
    serde_json::json!({ "part_id": part_id, "recipe": recipe, "deadline_ms": 3_599_999 })
        .to_string()
}

/// What a process has held at most, in KiB.
fn most_held(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// The longest triggers come as fast as a broker gives them. What the daemon holds of them is
/// bounded, what it does not take is counted, and it still obeys commands.
fn a_storm_is_bounded(triggers: usize) {
    /// 1,024 triggers, 256 verdicts that wait to be sent, and the client's own buffers take some 40
    /// MiB; allocators keep more than that.
    const ALLOWED_KIB: u64 = 160 * 1024;
    let broker = Broker::start_with(AT_ONCE);
    let controller = Controller::connect(broker.port);
    let station = Station::new(&configuration(broker.port, "{bundle}"));
    let mut daemon = station.run_quiet();
    controller.until_ready();
    let before = most_held(&daemon);
    let begun = Instant::now();
    let answers = "x".repeat(1024);
    let mut verdicts_meanwhile = 0;
    for part in 0..triggers {
        controller.ask(TRIGGER, longest(part), &answers, &[7; 1024]);
        let mut heard = Vec::new();
        controller.hear_until(Instant::now(), &mut heard);
        verdicts_meanwhile += heard.iter().filter(|it| it.kind() == "verdict").count();
    }
    let sent = begun.elapsed();
    controller.ask("flawd/press/cmd/pause", "", "plc/done", b"1");
    controller.skip_until("an answer behind the storm", |it| {
        // The order may have gone with a connection.
        if it.payload == "online" {
            controller.ask("flawd/press/cmd/pause", "", "plc/done", b"1");
        }
        verdicts_meanwhile += usize::from(it.kind() == "verdict");
        it.topic == "plc/done"
    });
    let took = begun.elapsed();
    let after = most_held(&daemon);
    daemon.terminate();
    let mut last = None;
    controller.skip_until("the end", |it| {
        if it.kind() == "state" {
            last = Some(it.payload.clone());
        }
        it.payload == "stopped"
    });
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let camera = &last.expect("a state")["cameras"]["top"];
    let count = |name: &str| camera[name].as_u64().unwrap_or(0);
    println!(
        "{triggers} of the longest triggers sent in {sent:.1?}, read in {took:.1?}, with \
         {verdicts_meanwhile} verdicts heard by then: {} accepted, {} refused; at most {before} KiB \
         held before, {after} KiB after",
        count("triggers_accepted"),
        count("triggers_refused")
    );
    let seen = count("triggers_accepted") + count("triggers_refused");
    // mosquitto 2.0.11 keeps to Receive Maximum up to the first acknowledgement, and then writes
    // whatever it has queued: 4 MiB of its kernel's buffer, and its acknowledgements behind that.
    // If that makes them too old, the connection is cut, and what the broker held then is lost with
    // it.
    let lost = "Connection to the broker lost";
    let is_cut = daemon.seen().contains(lost);
    println!("the connection was cut: {is_cut}");
    assert!(seen == triggers as u64 || is_cut, "{}", daemon.seen());
    let verdicts: u64 = ["ok", "ng", "no_decision"].map(count).iter().sum();
    assert_eq!(count("triggers_accepted"), verdicts, "{camera}");
    assert!(after - before < ALLOWED_KIB, "{before} KiB, {after} KiB");
}

#[test]
fn a_storm_of_the_longest_triggers_is_bounded_and_each_that_is_accepted_has_its_verdict() {
    a_storm_is_bounded(3_000);
}

#[test]
#[ignore = "takes minutes: run by cargo xtask endurance"]
fn a_storm_of_half_a_minute_is_no_different() {
    a_storm_is_bounded(100_000);
}
