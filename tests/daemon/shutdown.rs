//! How the daemon ends, and what subscribers see of it.

use std::os::unix::process::ExitStatusExt;

use flawd_testing::broker::Broker;

use crate::station::Station;

fn line(broker: &Broker) -> Station {
    line_with(broker, "")
}

/// With these further keys of `[mqtt]`.
fn line_with(broker: &Broker, more: &str) -> Station {
    Station::new(&format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{{bundle}}\"\n\
         [camera.top.synthetic]\nrate = 20.0\nsize = \"96x96\"\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n{more}",
        broker.port
    ))
}

#[test]
fn sigterm_drains_says_stopped_and_ends_with_0() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(&broker);
    let mut daemon = station.run();
    let mut messages = subscriber.until("verdict 5", |message| message.payload["seq"] == 5);
    daemon.terminate();
    messages.extend(subscriber.until_status("stopped"));
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());

    // Every frame that was captured got its verdict before the end, but for one that came behind
    // the order to stop.
    let verdicts: Vec<_> = messages
        .iter()
        .filter(|message| message.kind() == "verdict")
        .map(|message| message.payload["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(verdicts, (1..=verdicts.len() as u64).collect::<Vec<_>>());
    let last_state = messages
        .iter()
        .rev()
        .find(|message| message.kind() == "state")
        .unwrap();
    let top = &last_state.payload["cameras"]["top"];
    let count = |what: &str| top[what].as_u64().unwrap_or(0);
    let (captured, unused) = (count("captured"), count("unused"));
    assert!(unused <= 1, "{top}");
    assert_eq!(captured, verdicts.len() as u64 + unused, "{top}");
}

#[test]
fn after_sigkill_the_broker_says_offline() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(&broker);
    let mut daemon = station.run();
    subscriber.until("a verdict", |message| message.kind() == "verdict");
    daemon.signal("KILL");
    assert_eq!(daemon.wait().signal(), Some(9));
    let messages = subscriber.until_status("offline");
    assert!(messages.iter().all(|message| message.payload != "stopped"));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = line(&broker);
    let mut daemon = station.run();
    subscriber.until("a verdict", |message| message.kind() == "verdict");
    // A broker that stalls keeps the clean disconnect waiting.
    broker.freeze();
    daemon.terminate();
    daemon.wait_for_line("the first signal", |line| line.contains("Asked to stop"));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(128 + 15), "{}", daemon.seen());
    broker.thaw();
    broker.stop();
}

#[test]
fn a_broker_that_stands_still_does_not_hold_up_the_end() {
    let mut broker = Broker::start();
    let subscriber = broker.subscribe();
    // The limit of a verdict on its way would be reached at the same time.
    let station = line_with(&broker, "stall_timeout = \"1h\"\n");
    let mut daemon = station.run();
    subscriber.until("a verdict", |message| message.kind() == "verdict");
    broker.freeze();
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    let seen = daemon.seen();
    assert!(seen.contains("does not confirm the end"), "{seen}");
    broker.thaw();
    broker.stop();
}

/// ONNX Runtime's global objects must not be destroyed under the thread that loads a model. When
/// they were, each of these had a chance of one in twelve to crash.
#[test]
fn an_end_in_the_middle_of_loading_a_model_is_an_end_like_any_other() {
    let broker = Broker::start();
    let station = line(&broker);
    for _ in 0..30 {
        let mut daemon = station.run();
        daemon.wait_for_line("the model", |line| line.contains("loading the model of"));
        daemon.terminate();
        assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
    }
}
