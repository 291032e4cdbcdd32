//! Power cuts: the machine is killed while it writes records, and boots again from the same disk.
//!
//! A verdict that a subscriber has seen was in the journal before, so its record has to arrive in
//! the end, whatever was cut in between. In every second boot the broker takes no records: then
//! those of several boots are in the journal alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::image::{INSTALLED, Image};
use super::machine::Machine;
use crate::broker::Broker;
use crate::files;
use crate::json::Json;
use crate::process::Step;

/// After how many verdicts of a boot its power is cut.
const CUTS: [usize; 10] = [1, 40, 5, 80, 20, 3, 60, 10, 2, 30];

/// How long a machine may take to boot and to send what is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// After a cut, the broker passes on the last messages within this time: they are in its memory.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is published under the root.
const TOPICS: [&str; 2] = [VERDICT, RECORD];
const VERDICT: &str = "flawd/vm/top/verdict";
const RECORD: &str = "flawd/vm/top/record";

/// Whether the broker takes records; verdicts it always takes.
const ALLOWED: &str = "topic readwrite #\n";
const NO_RECORDS: &str = "topic read #\ntopic write flawd/vm/status\ntopic write flawd/vm/state\n\
                          topic write flawd/vm/heartbeat\ntopic write flawd/vm/top/verdict\n\
                          topic write flawd/vm/top/defect\n";

/// Cuts the power so many times, and checks that nothing seen is missing.
pub(super) fn run(image: &Image, folder: &Path) -> Result<(), String> {
    let work = folder.join("power-cut");
    files::empty(&work)?;
    let rules = work.join("rules");
    files::write(&rules, ALLOWED)?;
    let broker = Broker::start(&work, &format!("acl_file {}\n", rules.display()))?;
    let disk = work.join("disk.img");
    write_disk(image, &broker, &disk)?;
    let mut witness = Witness::start(&broker)?;
    for (number, &verdicts) in CUTS.iter().enumerate() {
        let takes_records = number % 2 == 0;
        files::write(&rules, if takes_records { ALLOWED } else { NO_RECORDS })?;
        broker.reload()?;
        let machine = Machine::power_on(image, &disk)?;
        let before = witness.verdicts.len();
        witness.watch(|it| it.verdicts.len() >= before + verdicts)?;
        drop(machine);
        witness.catch_up()?;
        println!(
            "    cut {}: {} verdicts and {} records seen, {}",
            number + 1,
            witness.verdicts.len(),
            witness.records.len(),
            if takes_records {
                "records taken"
            } else {
                "records refused"
            }
        );
    }
    files::write(&rules, ALLOWED)?;
    broker.reload()?;
    let machine = Machine::power_on(image, &disk)?;
    let last = witness.last();
    witness.watch(|it| it.records.keys().any(|&seq| seq > last))?;
    drop(machine);
    witness.judge()?;
    files::remove(&work)
}

/// Writes the disk of a machine whose service starts with it and publishes to this broker.
fn write_disk(image: &Image, broker: &Broker, disk: &Path) -> Result<(), String> {
    let mut machine = Machine::restore(image, INSTALLED)?;
    machine.mount_host()?;
    machine.must(&format!(
        "cd /host/case && python3 -c \"import station; station.configure(host='host', \
         mqtt='port = {}', camera='trigger = {{ mode = \\\"interval\\\", interval = \\\"50ms\\\" }}')\"",
        broker.port()
    ))?;
    machine.must("systemctl enable flawd && umount /host && sync")?;
    drop(machine);
    Step::new("qemu-img", &["convert", "-O", "raw"])
        .args(&[image.disk().to_string_lossy(), disk.to_string_lossy()])
        .run()
}

/// One message, as far as a verdict and its record have to agree.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    id: String,
    verdict: Option<String>,
    reason: Option<String>,
    score: Option<f64>,
}

/// A subscriber outside of the machine, and all that it has seen.
struct Witness {
    process: Child,
    lines: Receiver<String>,
    verdicts: BTreeMap<u64, Said>,
    records: BTreeMap<u64, Said>,
    /// Numbers of records in the order of their first arrival.
    order: Vec<u64>,
    /// What can never be right.
    faults: Vec<String>,
}

impl Witness {
    fn start(broker: &Broker) -> Result<Self, String> {
        let mut process = Command::new("mosquitto_sub")
            .args(["-V", "5", "-h", "127.0.0.1", "-p", broker.port()])
            .args(["-q", "1", "-F", "%t %P | %p"])
            .args(TOPICS.iter().flat_map(|topic| ["-t", topic]))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run mosquitto_sub: {error}"))?;
        let output = BufReader::new(process.stdout.take().expect("it was asked for"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            lines,
            verdicts: BTreeMap::new(),
            records: BTreeMap::new(),
            order: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Reads messages until what was seen is enough.
    fn watch(&mut self, is_enough: impl Fn(&Self) -> bool) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !is_enough(self) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|_| {
                format!(
                    "after {} verdicts and {} records nothing more arrives in {PATIENCE:?}",
                    self.verdicts.len(),
                    self.records.len()
                )
            })?;
            self.note(&line)?;
        }
        Ok(())
    }

    /// Reads what was published before a cut and has not been read yet.
    fn catch_up(&mut self) -> Result<(), String> {
        while let Ok(line) = self.lines.recv_timeout(LAST_WORDS) {
            self.note(&line)?;
        }
        Ok(())
    }

    /// Notes one message: `TOPIC NAME:VALUE… | JSON`.
    fn note(&mut self, line: &str) -> Result<(), String> {
        let strange = || format!("a strange message: {line}");
        let (properties, payload) = line.split_once(" | ").ok_or_else(strange)?;
        let mut words = properties.split_whitespace();
        let topic = words.next().ok_or_else(strange)?;
        let id = words.find_map(|word| word.strip_prefix("id:"));
        let payload = Json::parse(payload)?;
        let seq = payload.number("seq").ok_or_else(strange)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let seq = seq as u64;
        let text = |name| payload.text(name).map(str::to_owned);
        let said = Said {
            id: id.ok_or_else(strange)?.to_owned(),
            verdict: text("verdict"),
            reason: text("reason"),
            score: payload.number("score"),
        };
        let seen = if topic == RECORD {
            &mut self.records
        } else {
            &mut self.verdicts
        };
        match seen.insert(seq, said.clone()) {
            None if topic == RECORD => self.order.push(seq),
            Some(earlier) if earlier != said => {
                self.faults
                    .push(format!("{topic} {seq}: {earlier:?}, then {said:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the highest number of a verdict.
    fn last(&self) -> u64 {
        self.verdicts.keys().next_back().copied().unwrap_or(0)
    }

    /// Checks all that was seen.
    fn judge(mut self) -> Result<(), String> {
        let last = self.records.keys().next_back().copied().unwrap_or(0);
        let missing: BTreeSet<u64> = (1..=last)
            .filter(|seq| !self.records.contains_key(seq))
            .collect();
        if !missing.is_empty() {
            self.faults
                .push(format!("records are missing: {missing:?}"));
        }
        if !self.order.is_sorted() {
            self.faults.push("records arrive out of order".to_owned());
        }
        for (seq, verdict) in &self.verdicts {
            match self.records.get(seq) {
                Some(record) if record == verdict => {}
                Some(record) => self
                    .faults
                    .push(format!("{seq}: verdict {verdict:?}, record {record:?}")),
                None if *seq <= last => {}
                None => self
                    .faults
                    .push(format!("the record of verdict {seq} is missing")),
            }
        }
        if !self.faults.is_empty() {
            return Err(self.faults.join("\n"));
        }
        println!(
            "    {} cuts: {} verdicts seen, and the records 1 to {last}, all of them",
            CUTS.len(),
            self.verdicts.len()
        );
        Ok(())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
