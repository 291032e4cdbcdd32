//! An MQTT broker inside this process, on a free loopback port.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// How long the broker may take until it accepts a connection.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Interval between attempts to connect to a port that is not open yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No port is free, or no thread can be started.
    #[error("cannot start the embedded broker")]
    Start(#[from] io::Error),
    /// Another program took the port between finding and using it.
    #[error("the embedded broker gave up its port {0}; try again")]
    Ended(u16),
    /// It is running but does not answer.
    #[error("the embedded broker does not answer on port {0} after {START_LIMIT:?}")]
    Silent(u16),
}

/// A broker that speaks MQTT 5. It cannot be stopped: it lives as long as the process.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts the broker and returns when it accepts connections.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start() -> Result<Self, BrokerError> {
        // The library requires a port number, so the system is asked for a free one first.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (running, ended) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                // `start` returns only when every server thread has ended; its own log says why.
                Broker::new(config(address)).start().ok();
                drop(running);
            })?;

        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            match ended.recv_timeout(LOOK_INTERVAL) {
                Err(RecvTimeoutError::Timeout) if start.elapsed() < START_LIMIT => {}
                Err(RecvTimeoutError::Timeout) => return Err(BrokerError::Silent(address.port())),
                _ => return Err(BrokerError::Ended(address.port())),
            }
        }
        Ok(Self { address })
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn config(listen: SocketAddr) -> Config {
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 1 << 20,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}
