//! A real broker for a test: mosquitto, on a free port.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::files;
use crate::process::Step;

/// A mosquitto on a free port of the loopback address, ended when this is dropped.
pub(crate) struct Broker {
    port: String,
    process: Child,
    /// Kept open, because mosquitto goes on writing.
    log: BufReader<ChildStderr>,
}

impl Broker {
    /// Starts it with these settings and its configuration in `folder`, and waits until it listens.
    pub(crate) fn start(folder: &Path, settings: &str) -> Result<Self, String> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| format!("no port is free: {error}"))?;
        let configuration = folder.join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\n\
             log_dest stderr\nlog_type information\nconnection_messages false\n{settings}",
            free.port()
        );
        files::write(&configuration, &text)?;
        let mut process = Command::new(program())
            .arg("-c")
            .arg(&configuration)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run mosquitto: {error}"))?;
        let log = process.stderr.take().expect("it was asked for");
        let mut broker = Self {
            port: free.port().to_string(),
            process,
            log: BufReader::new(log),
        };
        broker.wait_until_it_listens()?;
        Ok(broker)
    }

    /// Returns its port.
    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// Has it read its access rules again.
    pub(crate) fn reload(&self) -> Result<(), String> {
        Step::new("kill", &["-HUP", &self.process.id().to_string()]).run()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let mut line = String::new();
        while !line.trim_end().ends_with("running") {
            line.clear();
            match self.log.read_line(&mut line) {
                Ok(1..) => {}
                _ => return Err("mosquitto ends before it listens".to_owned()),
            }
        }
        Ok(())
    }

    /// Subscribes for a client that is away, so that nothing is missed.
    pub(crate) fn subscribe(&self, client: &str, topic: &str) -> Result<(), String> {
        self.subscriber(client, topic)
            .args(&["-E"])
            .answer()
            .map(drop)
            .ok_or_else(|| format!("mosquitto does not accept a subscription to {topic}"))
    }

    /// Returns what has arrived since, as one line per message.
    pub(crate) fn arrived(
        &self,
        client: &str,
        topic: &str,
        count: usize,
    ) -> Result<String, String> {
        self.subscriber(client, topic)
            .args(&["-C", &count.to_string(), "-W", "60"])
            .answer()
            .ok_or_else(|| format!("fewer than {count} messages arrived on {topic}"))
    }

    fn subscriber(&self, client: &str, topic: &str) -> Step {
        Step::new("mosquitto_sub", &["-h", "127.0.0.1", "-p", &self.port])
            .args(&["-i", client, "-c", "-q", "1", "-t", topic])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// mosquitto's path; Debian puts it where users other than root do not look.
fn program() -> PathBuf {
    let place = Path::new("/usr/sbin/mosquitto");
    if place.exists() {
        place.to_owned()
    } else {
        "mosquitto".into()
    }
}
