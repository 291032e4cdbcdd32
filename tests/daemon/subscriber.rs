//! The fail-safe subscriber of docs/mqtt.md, run as printed there: it passes only what flawd calls
//! good in time.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use flawd_testing::broker::Broker;
use tempfile::TempDir;

use crate::line::Controller;
use crate::station::Station;

const VERDICT: &str = "flawd/press/top/verdict";

/// The program in docs/mqtt.md, at work.
struct Gate {
    _folder: TempDir,
    child: Child,
    /// `None` once it is to end.
    parts: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Gate {
    /// A gate that waits this number of seconds for a verdict.
    fn start(broker: &Broker, seconds: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let program: PathBuf = folder.path().join("gate.py");
        fs::write(&program, text()).unwrap();
        let mut child = Command::new("python3")
            .arg(program)
            .args(["127.0.0.1", &broker.port.to_string(), "flawd/press", "top"])
            .arg(seconds)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        broker.until_subscribed();
        Self {
            _folder: folder,
            parts: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, part: &str) {
        writeln!(self.parts.as_mut().unwrap(), "{part}").unwrap();
    }

    /// What the gate does, and why.
    fn answer(&mut self, part: &str) -> (String, String) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [name, does, why] = &words[..] else {
            panic!("{part}: {line:?}");
        };
        assert_eq!(name, part);
        (does.clone(), why.clone())
    }

    fn decide(&mut self, part: &str) -> (String, String) {
        self.ask(part);
        self.answer(part)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It ends its listener on its own when there are no more parts.
        drop(self.parts.take());
        self.child.wait().ok();
    }
}

/// The only Python in the document.
fn text() -> &'static str {
    let document = include_str!("../../docs/mqtt.md");
    let (_, rest) = document.split_once("```python\n").expect("a program");
    let (program, rest) = rest.split_once("```\n").expect("its end");
    assert!(!rest.contains("```python"), "there is one program");
    program
}

fn station(broker: &Broker) -> Station {
    Station::new(&format!(
        "[station]\nname = \"press\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
         [evidence]\nenabled = false\n[journal]\nsync = \"system\"\n\
         [camera.top]\nquality_gate = false\nframe_timeout = \"1h\"\n\
         [camera.top.trigger]\nmode = \"mqtt\"\nrequire_sent_at = true\nmax_age = \"1m\"\n\
         match_within = \"1m\"\n[camera.top.synthetic]\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
}

/// Every line with `mosquitto_pub` in the documents, for a broker on this port.
fn documented_messages(port: u16) -> Vec<String> {
    let documents = [
        include_str!("../../README.md"),
        include_str!("../../docs/mqtt.md"),
        include_str!("../../docs/operations.md"),
        include_str!("../../docs/config.md"),
    ];
    let lines = documents.iter().flat_map(|document| document.lines());
    lines
        .map(|line| line.trim_start_matches("$ "))
        .filter(|line| line.starts_with("mosquitto_pub"))
        .map(|line| line.replace("-h broker ", ""))
        .map(|line| line.replace("mosquitto_pub", &format!("mosquitto_pub -p {port}")))
        .collect()
}

#[test]
fn every_documented_message_says_when_it_was_sent_and_is_taken() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = station(&broker).root("flawd/press-3");
    let mut daemon = station.run();
    controller.until_ready();
    let messages = documented_messages(broker.port);
    assert!(messages.len() >= 3, "{messages:?}");
    for message in &messages {
        assert!(message.contains("sent_at"), "{message}");
        let status = Command::new("sh").arg("-c").arg(message).status().unwrap();
        assert!(status.success(), "{message}");
        if message.contains("/trigger") {
            let verdict = controller.next("its verdict", |it| it.kind() == "verdict");
            assert_eq!(verdict.payload["part_id"], "SN-0042");
        } else {
            daemon.wait_for_line("its command", |line| line.contains("Command received"));
        }
    }
    daemon.terminate();
    let last = controller.until("the end", |it| it.payload == "stopped");
    let state = last.iter().rfind(|it| it.kind() == "state").unwrap();
    assert_eq!(
        state.payload.get("commands_refused"),
        None,
        "{}",
        state.payload
    );
    let camera = &state.payload["cameras"]["top"];
    assert_eq!(camera.get("triggers_refused"), None, "{camera}");
    daemon.wait();
}

fn is(does: &str, why: &str) -> (String, String) {
    (does.to_owned(), why.to_owned())
}

#[test]
fn the_documented_subscriber_lets_pass_what_is_called_good_and_nothing_else() {
    let broker = Broker::start();
    let controller = Controller::connect(broker.port);
    let station = station(&broker);
    let mut daemon = station.run();
    controller.until_ready();
    // A broker may keep an old retained message: it is about another part.
    controller.publish(
        VERDICT,
        r#"{"part_id":"kept","seq":1,"verdict":"ok"}"#,
        true,
    );
    let mut gate = Gate::start(&broker, "30");

    let mut decided = Vec::new();
    for part in 0..30 {
        if part == 15 {
            let strict = r#"{"false_reject_rate":0.9}"#;
            controller.ask("flawd/press/cmd/threshold", strict, "plc/done", b"1");
            controller.next("another threshold", |it| it.topic == "plc/done");
        }
        let name = format!("part-{part}");
        let (does, why) = gate.decide(&name);
        let said = controller.next("its verdict", |it| {
            it.topic == VERDICT && it.payload["part_id"] == name.as_str()
        });
        assert_eq!(said.payload["verdict"], why.as_str());
        assert_eq!(does == "pass", why == "ok");
        decided.push(does);
    }
    assert!(decided.contains(&"pass".to_owned()), "{decided:?}");
    assert!(decided.contains(&"reject".to_owned()), "{decided:?}");

    controller.publish("flawd/press/cmd/pause", "", false);
    controller.next("a pause", |it| {
        it.kind() == "state" && it.payload["ready"] == false
    });
    assert_eq!(gate.decide("paused"), is("reject", "no_decision"));
    controller.publish("flawd/press/cmd/resume", "", false);
    controller.until_ready();
    let (_, why) = gate.decide("resumed");
    assert!(why == "ok" || why == "ng", "{why}");

    // A daemon that hangs says nothing at all, and what it says afterwards is for no other part.
    let mut hasty = Gate::start(&broker, "1");
    daemon.signal("STOP");
    assert_eq!(hasty.decide("kept"), is("reject", "silence"));
    daemon.signal("CONT");
    controller.next("the late verdict", |it| {
        it.topic == VERDICT && it.payload["part_id"] == "kept" && it.payload["seq"] != 1
    });
    drop(hasty);
    let (_, why) = gate.decide("after-the-pause");
    assert!(why == "ok" || why == "ng", "{why}");

    // A daemon that is gone: whatever still comes is not believed.
    daemon.signal("KILL");
    daemon.wait();
    controller.next("the last will", |it| it.payload == "offline");
    gate.ask("orphan");
    controller.next("its trigger", |it| {
        it.kind() == "trigger" && it.payload["part_id"] == "orphan"
    });
    controller.publish(
        VERDICT,
        r#"{"part_id":"orphan","seq":99,"verdict":"ok"}"#,
        false,
    );
    assert_eq!(gate.answer("orphan"), is("reject", "ok"));
}
