//! Another configuration, accepted on a signal, or not.

use std::process::Stdio;

use flawd_testing::broker::Broker;
use flawd_testing::process::Process;

use crate::bundle;
use crate::station::Station;

fn configuration(port: u16, bundle: &str, level: &str) -> String {
    format!(
        "[station]\nname = \"line\"\n[inference]\nbundle = \"{bundle}\"\nthreads = 1\n\
         [camera.top.synthetic]\nrate = 50.0\nsize = \"96x96\"\n\
         [log]\nlevel = \"{level}\"\n[mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n"
    )
}

#[test]
fn a_bad_configuration_leaves_everything_as_it_is_and_a_good_one_is_taken_over() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&configuration(broker.port, "{bundle}", "info"));
    let mut command = station.command("run");
    command.env_remove("FLAWD_LOG");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    daemon.wait_for_line("ready", |line| line.ends_with("Ready cameras=1"));

    let good = configuration(broker.port, "{bundle}", "info");
    let place = format!("{}:10:", station.configuration().display());
    let cases = [
        (
            good.replace("level =", "lewel ="),
            vec!["unknown key `lewel`", &place],
        ),
        (
            good.replace("name = \"line\"", "name = \"\""),
            vec!["station.name"],
        ),
    ];
    for (text, said) in cases {
        station.configure(&text);
        daemon.signal("HUP");
        let line = daemon.wait_for_line("the refusal", |line| {
            line.contains("the one in use goes on")
        });
        for said in said {
            assert!(line.contains(said), "`{said}` is not in: {line}");
        }
    }

    let other = bundle::other().display().to_string();
    station.configure(&configuration(broker.port, &other, "flawd=trace"));
    daemon.signal("HUP");
    let digest = flawd::bundle::Bundle::open(bundle::other()).unwrap();
    let digest = digest.manifest().model.digest.to_string();
    let messages = subscriber.until("a verdict of the other bundle", |message| {
        message.kind() == "verdict" && message.payload["model"]["digest"] == digest
    });
    assert!(messages.iter().all(|message| message.payload != "stopped"));
    daemon.wait_for_line("a line of level trace", |line| line.contains("TRACE"));
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}

#[test]
fn what_can_be_exchanged_is_and_what_takes_a_restart_is_named_by_its_section() {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let station = Station::new(&configuration(broker.port, "{bundle}", "info"));
    let mut command = station.command("run");
    let mut daemon = Process::spawn(&mut command, "flawd", Stdio::null(), Stdio::piped());
    daemon.wait_for_line("ready", |line| line.ends_with("Ready cameras=1"));

    let other = bundle::other().display().to_string();
    let new = configuration(1, &other, "info")
        + "[camera.side.synthetic]\n[journal]\ncapacity = \"2MiB\"\n";
    station.configure(&new);
    // Each time again, for as long as it has not come to the restart.
    for round in 0..2 {
        let correlation = format!("reload-{round}");
        broker.ask("flawd/line/cmd/reload", "", &correlation);
        let topic = format!("answers/{correlation}");
        let mut messages = subscriber.until("the answer", |message| message.topic == topic);
        let answer = messages.pop().unwrap().payload;
        let sections = "a change of [mqtt], [journal], [camera.side] takes a restart";
        assert_eq!(answer["ok"], false);
        let problem = answer["problem"].as_str().unwrap();
        assert!(problem.contains(sections), "{problem}");
    }
    let digest = flawd::bundle::Bundle::open(bundle::other()).unwrap();
    let digest = digest.manifest().model.digest.to_string();
    subscriber.until("a verdict of the other bundle", |message| {
        message.kind() == "verdict" && message.payload["model"]["digest"] == digest
    });
    daemon.terminate();
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.seen());
}
