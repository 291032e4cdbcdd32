//! The fail-safe subscriber of docs/mqtt.md, run as it stands there: it lets pass what flawd calls
//! good, in time, and nothing else.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use crate::{broker::Broker, line::Controller, station::Station};

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
    /// A gate that waits so many seconds for a verdict.
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
        // It ends its listener by itself when there are no more parts.
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
         [camera.top.trigger]\nmode = \"mqtt\"\nmatch_within = \"1m\"\n[camera.top.synthetic]\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\nrequired_at_start = true\n",
        broker.port
    ))
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
    // A broker may keep what somebody once published: it is about another part.
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
