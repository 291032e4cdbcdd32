//! Against listeners of this process: one that swallows, one that answers, none at all.

use std::net::{Ipv4Addr, TcpListener, TcpStream as StdTcpStream};
use std::sync::mpsc;

use super::*;
use crate::line::config::{Document, MqttVersion, ValidConfig};
use crate::line::pipeline::publish::connection::tests::settings;

/// Much longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Returns an address that swallows every attempt to connect, as a firewall does: a listener whose
/// queue is full. It does so as long as the second value lives.
fn swallowing() -> (SocketAddr, impl Sized) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(client) = StdTcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        queue.push(client);
    }
    (address, (listener, queue))
}

#[test]
fn an_address_that_swallows_packets_holds_up_none_of_the_others() {
    let (swallows, _keep) = swallowing();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let answers = listener.local_addr().unwrap();
    let stream = run(async { time::timeout(LIMIT, race(vec![swallows, answers])).await });
    assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), answers);
}

#[test]
fn where_no_address_answers_each_is_named_with_its_reason() {
    let refusing = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let addresses = [refusing(), refusing()];
    let error = run(race(addresses.to_vec())).unwrap_err().to_string();
    for address in addresses {
        assert!(
            error.contains(&format!("{address}: Connection refused")),
            "{error}"
        );
    }
}

#[test]
fn the_kinds_of_address_take_turns_and_the_systems_first_comes_first() {
    let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
    let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]);
    assert_eq!(by_turns(found), expected);
}

#[test]
fn an_address_in_place_of_a_name_is_not_looked_up() {
    let asks = |_: &str, _| panic!("there is nothing to look up");
    for (host, expected) in [
        ("127.0.0.1", "127.0.0.1:7"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
    ] {
        let found = run(addresses(host.to_owned(), 7, asks)).unwrap();
        assert_eq!(found, [expected.parse().unwrap()]);
    }
}

#[test]
fn name_servers_that_do_not_answer_are_said_and_hold_up_no_end() {
    let settings = MqttSettings {
        host: "broker.plant.example".to_owned(),
        connect_timeout: Duration::from_millis(50),
        ..settings(MqttVersion::V5, 1)
    };
    let (keep, never) = mpsc::channel::<()>();
    // `getaddrinfo` may take forever, as far as is known.
    let look_up = move |_: &str, _| {
        never.recv().ok();
        Ok(Vec::new())
    };
    // The runtime ends within `run`, with the look-up still in progress.
    let failure = run(dial(settings.clone(), look_up)).err().unwrap();
    assert_eq!(
        failure.explain(&settings, false),
        "no name server has said where `broker.plant.example` is within 50ms"
    );
    drop(keep);
}

/// A file on a file system that does not answer, as far as its reader can tell: a pipe that nothing
/// writes to. It was another file when the configuration was read.
#[test]
fn a_password_file_that_hangs_is_named_and_holds_up_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "secret").unwrap();
    let text = format!(
        "[station]\nname = \"press\"\nstate = \"state\"\n[inference]\nbundle = \"bundle\"\n[camera.top.synthetic]\n\
         [mqtt]\nhost = \"127.0.0.1\"\nusername = \"press\"\npassword_file = \"{}\"\n",
        file.display()
    );
    let document = Document::new("flawd.toml", text);
    let config = ValidConfig::parse(&document, &std::collections::BTreeMap::new()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = MqttSettings {
        login: config.mqtt.login,
        connect_timeout: Duration::from_millis(50),
        ..settings(MqttVersion::V5, listener.local_addr().unwrap().port())
    };
    for _ in 0..2 {
        let failure = run(dial(settings.clone(), look_up)).err().unwrap();
        assert_eq!(
            failure.explain(&settings, false),
            "mqtt.password_file could not be read within 50ms"
        );
    }
    // Names are resolved meanwhile.
    let named = MqttSettings {
        host: "broker.plant.example".to_owned(),
        login: None,
        connect_timeout: LIMIT,
        ..settings
    };
    let nowhere = |_: &str, _| Ok(Vec::new());
    let failure = run(dial(named.clone(), nowhere)).err().unwrap();
    let problem = failure.explain(&named, false);
    assert!(problem.contains("the name has no address"), "{problem}");
    // The hanging thread is released.
    std::fs::write(&file, "secret").unwrap();
}
