//! Bundles that are exchanged while parts are judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flawd::bundle::Bundle;
use flawd::bundle::scorer::Scorer;
use flawd::pictures::decode::decode_file;
use flawd_onnx::{Runtime, SessionOptions};
use flawd_testing::broker::{AT_ONCE, Broker, Message, Subscriber};
use flawd_testing::files::copy_folder;
use flawd_testing::process::Process;

use crate::bundle;
use crate::station::Station;

/// What a bundle makes of the pictures, computed without the daemon.
struct Expected {
    threshold: f64,
    /// By the picture's name.
    scores: BTreeMap<String, f64>,
}

fn expected(folder: &Path, pictures: &Path) -> (String, Expected) {
    let bundle = Bundle::open(folder).unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut scorer = Scorer::open(&bundle, runtime.with(&SessionOptions::default())).unwrap();
    let scores = fs::read_dir(pictures).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let image = decode_file(&entry.path(), None).unwrap();
        let score = scorer.score(&image).unwrap().score;
        (entry.file_name().into_string().unwrap(), f64::from(score))
    });
    let expected = Expected {
        scores: scores.collect(),
        threshold: f64::from(bundle.calibration().threshold()),
    };
    (bundle.manifest().model.digest.to_string(), expected)
}

/// A running line whose bundle lies in its own folder, to be exchanged.
struct Line {
    broker: Broker,
    subscriber: Subscriber,
    station: Station,
    daemon: Process,
    messages: Vec<Message>,
    asked: usize,
}

impl Line {
    fn start() -> Self {
        let broker = Broker::start_with(AT_ONCE);
        let subscriber = broker.subscribe();
        let station = Station::new(&format!(
            "[station]\nname = \"line\"\n[inference]\nbundle = \"bundle\"\nthreads = 1\n\
             [camera.top]\nquality_gate = false\n[camera.top.folder]\npath = \"parts\"\n\
             repeat = true\nrate = 400.0\n[evidence]\nenabled = false\n\
             [journal]\nsync = \"system\"\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
            broker.port
        ));
        copy_folder(
            &bundle::images().join("test/good"),
            &station.folder().join("parts"),
        );
        copy_folder(bundle::path(), &station.folder().join("bundle"));
        let daemon = station.run();
        Self {
            broker,
            subscriber,
            station,
            daemon,
            messages: Vec::new(),
            asked: 0,
        }
    }

    fn bundle(&self) -> PathBuf {
        self.station.folder().join("bundle")
    }

    /// Puts another bundle in the place of the one in use, changed by `change`.
    fn put(&self, bundle: &Path, change: impl FnOnce(&Path)) {
        let new = self.station.folder().join("new");
        copy_folder(bundle, &new);
        change(&new);
        fs::remove_dir_all(self.bundle()).unwrap();
        fs::rename(new, self.bundle()).unwrap();
    }

    /// Asks for a reload, and reads until it is answered.
    fn reload(&mut self) -> serde_json::Value {
        self.asked += 1;
        let correlation = format!("reload-{}", self.asked);
        self.broker.ask("flawd/line/cmd/reload", "", &correlation);
        self.read_until(&correlation, |message| {
            message.topic.ends_with(&correlation)
        });
        self.messages.last().unwrap().payload.clone()
    }

    fn read_until(&mut self, what: &str, is_last: impl Fn(&Message) -> bool) {
        self.messages.extend(self.subscriber.until(what, is_last));
    }

    /// Reads this number of further records. They are complete, whereas a verdict that a busy
    /// broker cannot take in time is dropped.
    fn read_records(&mut self, count: u64) {
        let records = self.messages.iter().rev();
        let last = records
            .filter(|message| message.kind() == "record")
            .find_map(|message| message.payload["seq"].as_u64())
            .unwrap_or(0);
        self.read_until("records", |message| {
            message.kind() == "record" && message.payload["seq"] == last + count
        });
    }

    /// Reads until a part is judged by this model.
    fn read_until_judged_by(&mut self, digest: &str) {
        self.read_until("another model", |message| {
            message.kind() == "record" && message.payload["model"]["digest"] == digest
        });
    }

    /// The digest in the last `state`.
    fn digest_in_state(&self) -> String {
        let states = self.messages.iter().rev();
        let mut digests = states
            .filter(|message| message.kind() == "state")
            .filter_map(|it| it.payload["cameras"]["top"]["model"]["digest"].as_str());
        digests.next().unwrap().to_owned()
    }
}

/// What is done to a bundle's folder, so that it must be refused.
type Damage<'a> = Box<dyn Fn(&Path) + 'a>;

fn replace_in(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn ten_exchanges_in_a_stream_of_parts_leave_each_part_one_verdict_of_the_right_model() {
    ten_exchanges(30);
}

#[test]
#[ignore = "takes a minute: run by cargo xtask endurance"]
fn ten_exchanges_in_a_stream_of_2000_parts_leave_each_part_one_verdict_of_the_right_model() {
    ten_exchanges(190);
}

/// With at least this number of parts before each.
fn ten_exchanges(parts_before: u64) {
    let mut line = Line::start();
    let parts = line.station.folder().join("parts");
    let bundles = [bundle::path(), bundle::other()];
    let known = bundles.map(|folder| expected(folder, &parts));
    let digests = known.each_ref().map(|(digest, _)| digest.clone());
    let known: BTreeMap<_, _> = known.into();

    for exchange in 1..=10 {
        line.read_records(parts_before);
        let in_use = (exchange - 1) % 2;
        let next = exchange % 2;
        // What is refused on the way changes nothing.
        let golden = &Bundle::open(bundles[next]).unwrap().manifest().golden[0].clone();
        let model_digest = &digests[next];
        let damage: Option<Damage> = match exchange {
            3 => Some(Box::new(|folder| {
                let path = folder.join("model.onnx");
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).unwrap();
            })),
            6 => Some(Box::new(|folder| {
                let wrong = bundle_digest_of_nothing();
                replace_in(&folder.join("bundle.toml"), model_digest, &wrong);
            })),
            9 => Some(Box::new(|folder| {
                let score = format!("score = {}", golden.score);
                let wrong = format!("score = {}", golden.score * 1.5);
                replace_in(&folder.join("bundle.toml"), &score, &wrong);
            })),
            _ => None,
        };
        if let Some(damage) = damage {
            line.put(bundles[next], damage);
            let answer = line.reload();
            assert_eq!(answer["ok"], false, "{answer}");
            let problem = answer["problem"].as_str().unwrap();
            let folder = line.bundle().display().to_string();
            assert!(problem.contains(&folder), "{problem}");
            line.daemon.wait_for_line("the refusal", |text| {
                text.contains("Configuration not taken over") && text.contains(&folder)
            });
            line.read_records(20);
            assert_eq!(line.digest_in_state(), digests[in_use]);
        }
        line.put(bundles[next], |_| ());
        let answer = line.reload();
        assert_eq!(answer["ok"], true, "{answer}");
        assert!(answer["problem"].is_null());
        line.read_until_judged_by(&digests[next]);
    }
    line.read_records(100);
    line.daemon.terminate();
    line.messages
        .extend(line.subscriber.until_status("stopped"));
    assert_eq!(line.daemon.wait().code(), Some(0));
    assert_eq!(line.digest_in_state(), digests[0]);

    let records = line.messages.iter().filter(|it| it.kind() == "record");
    let names: Vec<_> = known[&digests[0]].scores.keys().collect();
    let mut exchanges = 0;
    let mut digest = digests[0].clone();
    let mut count = 0;
    for verdict in records {
        let verdict = &verdict.payload;
        // The folder goes round in the order of its names, so a part left out or judged twice
        // would show.
        assert_eq!(verdict["part_id"], *names[count % names.len()], "{verdict}");
        count += 1;
        assert_eq!(verdict["seq"], count, "{verdict}");
        let judged_by = verdict["model"]["digest"].as_str().unwrap();
        if digest != judged_by {
            exchanges += 1;
            judged_by.clone_into(&mut digest);
        }
        let known = &known[judged_by];
        let threshold = verdict["threshold"].as_f64().unwrap();
        let score = verdict["score"].as_f64().unwrap();
        let right = known.scores[verdict["part_id"].as_str().unwrap()];
        assert!((threshold - known.threshold).abs() <= 1e-6, "{verdict}");
        assert!((score - right).abs() <= 1e-5 * right.abs(), "{verdict}");
        let word = if score > threshold { "ng" } else { "ok" };
        assert_eq!(verdict["verdict"], word);
    }
    assert!(count as u64 >= 10 * parts_before + 100, "{count} parts");
    assert_eq!(exchanges, 10);
}

/// A digest that no model of the tests has, as a manifest writes it.
fn bundle_digest_of_nothing() -> String {
    flawd::files::digest::sha256(b"nothing").to_string()
}

#[test]
fn a_model_that_fails_its_golden_test_at_start_ends_with_78_after_saying_stopped() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"bundle\"\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
        broker.port
    ));
    let folder = station.folder().join("bundle");
    copy_folder(bundle::path(), &folder);
    let golden = Bundle::open(&folder).unwrap().manifest().golden[0].score;
    let (right, wrong) = (
        format!("score = {golden}"),
        format!("score = {}", golden * 1.5),
    );
    replace_in(&folder.join("bundle.toml"), &right, &wrong);

    let mut daemon = station.run();
    let messages = subscriber.until_status("stopped");
    assert_eq!(daemon.wait().code(), Some(78), "{}", daemon.seen());
    assert!(daemon.seen().contains(&folder.display().to_string()));
    assert!(messages.iter().any(|message| message.payload == "online"));
    assert!(messages.iter().all(|message| message.kind() != "verdict"));
}
