//! Against a real mosquitto and, for what mosquitto cannot be made to send, against a broker that
//! follows a script byte by byte.

mod end;
mod incoming;
mod keep_alive;
mod real;
mod script;
mod sending;

use std::net::Ipv4Addr;

use super::*;
use crate::line::config::MqttVersion;

/// Much longer than anything here takes; only a failing test waits this long.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn settings(version: MqttVersion, port: u16) -> MqttSettings {
    MqttSettings {
        host: Ipv4Addr::LOCALHOST.to_string(),
        port,
        version,
        root: "flawd/press".to_owned(),
        client_id: "press".to_owned(),
        login: None,
        tls: None,
        required_at_start: true,
        connect_timeout: Duration::from_secs(20),
        reconnect_max: Duration::from_secs(1),
        keep_alive: Duration::from_secs(15),
        expiry: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(3),
        heartbeat: Duration::from_secs(1),
    }
}

/// Runs a client to its end.
fn client<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            time::timeout(LIMIT, work)
                .await
                .expect("it comes to an end")
        })
}

/// Opens a connection that the broker has accepted.
async fn connected(settings: &MqttSettings) -> Connection {
    let mut connection = Connection::open(settings, "flawd/press/status", "offline");
    let first = connection.next().await;
    assert!(matches!(first, ConnectionEvent::Connected(_)), "{first:?}");
    connection
}

async fn received(connection: &mut Connection) -> Incoming {
    loop {
        match connection.next().await {
            ConnectionEvent::Received(incoming) => return incoming,
            ConnectionEvent::Lost(cause) => panic!("{cause}"),
            _ => {}
        }
    }
}

async fn refused_topics(connection: &mut Connection, topics: &[&str]) -> String {
    let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    connection.subscribe(&topics).unwrap();
    match connection.next().await {
        ConnectionEvent::Subscribed { refused } => refused.to_string(),
        other => panic!("{other:?}"),
    }
}

fn request(topic: &str) -> Message {
    Message {
        topic: topic.to_owned(),
        payload: b"part 7".to_vec(),
        acknowledged: true,
        ..Message::default()
    }
}
