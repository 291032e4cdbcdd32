//! The commands that the daemon takes over the broker, and its answers.

use std::fs;

use flawd_testing::broker::{Broker, Message, Subscriber};
use flawd_testing::process::Process;
use serde_json::Value;

use crate::station::Station;

struct Line {
    broker: Broker,
    subscriber: Subscriber,
    station: Station,
    daemon: Process,
}

impl Line {
    fn start() -> Self {
        Self::start_on(Broker::start())
    }

    fn start_on(broker: Broker) -> Self {
        let subscriber = broker.subscribe();
        let station = Station::new(&format!(
            "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\nthreads = 1\n\
             [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\ndefect_rate = 0.0\n\
             [evidence]\nfolder = \"evidence\"\nok_share = 0.0\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n",
            broker.port
        ));
        let daemon = station.run();
        subscriber.until("a verdict", |message| message.kind() == "verdict");
        Self {
            broker,
            subscriber,
            station,
            daemon,
        }
    }

    /// The answer to a command, which comes with the correlation of the question.
    fn ask(&self, verb: &str, payload: &str, correlation: &str) -> Value {
        let topic = format!("flawd/line/cmd/{verb}");
        self.broker.ask(&topic, payload, correlation);
        let answer = self.until(correlation, |it| {
            it.topic == format!("answers/{correlation}")
        });
        let properties = answer.properties.to_string();
        assert!(properties.contains(correlation), "{properties}");
        answer.payload
    }

    fn until(&self, what: &str, is_last: impl Fn(&Message) -> bool) -> Message {
        self.subscriber.until(what, is_last).pop().unwrap()
    }
}

#[test]
fn commands_are_followed_and_answered() {
    let mut line = Line::start();
    let top = r#"{"camera":"top"}"#;

    assert_eq!(line.ask("pause", top, "q1")["ok"], true);
    let state = line.until("paused", |it| {
        it.kind() == "state" && it.payload["cameras"]["top"]["paused"] == true
    });
    assert_eq!(state.payload["ready"], false);
    assert_eq!(line.ask("resume", top, "q2")["ok"], true);
    line.until("ready", |it| {
        it.kind() == "state" && it.payload["ready"] == true
    });

    // Now and then the threshold rejects a good part too, whose picture is kept anyway.
    let kept = loop {
        assert_eq!(line.ask("snapshot", top, "q3")["ok"], true);
        let kept = line.until("a picture", |it| {
            it.kind() == "verdict" && it.payload["evidence"].is_object()
        });
        if kept.payload["verdict"] == "ok" {
            break kept;
        }
    };
    line.broker.ask("flawd/line/cmd/selftest", "", "q4");
    let report = line
        .until("the report", |it| it.topic == "flawd/line/selftest")
        .payload;
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["models"][0]["golden"].as_array().unwrap().len(), 4);
    // The requester is answered last.
    let answer = line.until("the answer", |it| it.topic == "answers/q4");
    assert_eq!(answer.payload, report);

    let rate = r#"{"false_reject_rate":0.5}"#;
    let before = kept.payload["threshold"].as_f64().unwrap();
    assert_eq!(line.ask("threshold", rate, "q5")["ok"], true);
    line.until("the new threshold", |it| {
        it.kind() == "verdict" && it.payload["threshold"].as_f64().unwrap() < before
    });
    assert_eq!(line.ask("reload", "", "q6")["ok"], true);
    line.until("the threshold of the bundle", |it| {
        it.kind() == "verdict" && it.payload["threshold"] == before
    });

    line.daemon.terminate();
    assert_eq!(line.daemon.wait().code(), Some(0), "{}", line.daemon.seen());
    // The writer has drained by now.
    let days = fs::read_dir(line.station.folder().join("evidence/top")).unwrap();
    let pictures: Vec<_> = days
        .flat_map(|day| fs::read_dir(day.unwrap().path()).unwrap())
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let name = format!("{}-ok-", kept.payload["seq"]);
    let is_kept = |it: &String| it.trim_start_matches('0').starts_with(&name);
    assert!(
        pictures.iter().any(is_kept),
        "{name} is not among {pictures:?}"
    );
}

#[test]
fn what_cannot_be_followed_is_answered_with_the_reason() {
    let line = Line::start();
    for (verb, payload, why) in [
        ("threshold", r#"{"false_reject_rate":1e-6}"#, "calibration"),
        ("pause", r#"{"camera":"side"}"#, "no camera `side`"),
        ("halt", "", "no command `halt`"),
        ("pause", "now", "JSON object"),
    ] {
        let answer = line.ask(verb, payload, "why");
        assert_eq!(answer["ok"], false, "{answer}");
        let problem = answer["problem"].as_str().unwrap();
        assert!(problem.contains(why), "{verb} {payload}: {problem}");
    }
}

#[test]
fn a_stale_command_is_refused_answered_and_counted_and_a_fresh_one_is_followed() {
    let mut line = Line::start_on(Broker::start());
    let now = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    for sent_at in [now - hour, now + hour] {
        let payload = format!(r#"{{"sent_at":"{sent_at}"}}"#);
        let answer = line.ask("pause", &payload, "stale");
        assert_eq!(answer["ok"], false, "{answer}");
        let problem = answer["problem"].as_str().unwrap();
        assert!(problem.contains("sent_at"), "{problem}");
    }
    // A little ahead: a message of now would be refused after 2 s on its way.
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1500);
    let payload = format!(r#"{{"sent_at":"{ahead}"}}"#);
    assert_eq!(line.ask("pause", &payload, "fresh")["ok"], true);
    line.daemon.terminate();
    let last = line.until("the last state", |it| {
        it.kind() == "state" && it.payload["state"] == "halted"
    });
    assert_eq!(last.payload["commands_refused"], 2, "{:?}", last.payload);
    assert_eq!(line.daemon.wait().code(), Some(0));
}

#[test]
fn a_command_that_the_broker_is_to_keep_is_refused() {
    let line = Line::start_on(Broker::start());
    line.broker.publish("flawd/line/cmd/pause", "{}", &["-r"]);
    line.daemon.wait_for_line("the refusal", |text| {
        text.contains("Message refused") && text.contains("cmd/pause")
    });
    let verdict = line.until("a verdict", |it| it.kind() == "verdict");
    let decided = [Value::from("ok"), Value::from("ng")];
    let said = &verdict.payload["verdict"];
    assert!(decided.contains(said), "{:?}", verdict.payload);
}

#[test]
fn of_a_flood_of_commands_a_few_are_followed_and_the_rest_is_refused_and_counted() {
    let line = Line::start();
    let unknown = r#"{"camera": "none"}"#;
    let often = ["--repeat", "150"];
    line.broker.publish("flawd/line/cmd/pause", unknown, &often);
    let mut daemon = line.daemon;
    daemon.wait_for_line("a refusal", |text| text.contains("Message refused"));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let said = daemon.seen();
    let written = said.matches("WARN Command not followed").count();
    assert!((1..150).contains(&written), "{written}: {said}");
    let last = line
        .subscriber
        .until("the end", |it| it.payload == "stopped");
    let state = last.iter().rfind(|it| it.kind() == "state").unwrap();
    let refused = state.payload["commands_refused"].as_u64().unwrap();
    assert!(refused > 0 && refused + written as u64 <= 150, "{said}");
}

#[test]
fn a_pause_outlives_a_crash_and_a_restart_until_it_is_ended() {
    let mut line = Line::start_on(Broker::start());
    assert_eq!(line.ask("pause", "", "p1")["ok"], true);
    for end in ["KILL", "TERM"] {
        line.daemon.signal(end);
        line.daemon.wait();
        line.daemon = line.station.run();
        line.daemon.wait_for_line("that it is paused", |text| {
            text.contains("Still paused, as before the restart")
        });
        let online = |it: &Message| it.kind() == "status" && it.payload == "online";
        line.until("the new start", online);
        let state = line.until("its state with a model", |it| {
            it.kind() == "state" && it.payload["cameras"]["top"]["model"].is_object()
        });
        assert_eq!(state.payload["cameras"]["top"]["paused"], true);
    }
    assert_eq!(line.ask("resume", "", "p2")["ok"], true);
    line.until("a verdict", |it| it.kind() == "verdict");
    line.daemon.terminate();
    line.daemon.wait();
    line.daemon = line.station.run();
    line.daemon
        .wait_for_line("a verdict", |text| text.contains(" Verdict "));
    assert!(!line.daemon.seen().contains("Still paused"));
}
