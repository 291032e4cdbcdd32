//! A real mosquitto as a child process, and its own `mosquitto_sub` as the subscriber.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;

/// Nothing waits in the broker for a connected subscriber: by default it queues at most a thousand
/// messages, and drops what expires in its queue.
pub const AT_ONCE: &str = "allow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n";

/// A broker on a free port, which keeps its port and its sessions over a restart.
pub struct Broker {
    folder: TempDir,
    /// Where it listens, on the loopback address.
    pub port: u16,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker that lets everyone in.
    pub fn start() -> Self {
        Self::start_with("allow_anonymous true\n")
    }

    /// Starts a broker with these lines in its configuration.
    pub fn start_with(access: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let port = free_port();
        // Persistence keeps a subscriber's session, so that it gets what is published between the
        // broker's restart and its own return.
        fs::write(
            folder.path().join("mosquitto.conf"),
            format!(
                "listener {port} 127.0.0.1\n{access}\nlog_type all\nlog_dest stderr\n\
                 user root\npersistence true\npersistence_location {}/\n",
                folder.path().display()
            ),
        )
        .unwrap();
        let mut broker = Self {
            folder,
            port,
            process: None,
        };
        broker.start_again();
        broker
    }

    /// Starts the broker that was stopped.
    pub fn start_again(&mut self) {
        let mut command = Command::new(program("mosquitto"));
        command
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"));
        let process = Process::spawn(&mut command, "mosquitto", Stdio::null(), Stdio::piped());
        process.wait_for_line("running", |line| line.ends_with(" running"));
        // It says so a moment before it enters its loop, and forgets a signal in between.
        let probe = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        process.wait_for_line("a connection", |line| line.contains("New connection from"));
        drop(probe);
        self.process = Some(process);
    }

    /// Returns the broker's process number.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the broker runs").id()
    }

    /// Stops the broker as a service manager does.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.terminate();
        process.wait();
    }

    /// Kills the broker without a DISCONNECT: what it had only in memory is gone.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the broker runs");
        process.signal("KILL");
        process.wait();
    }

    /// Has the broker read its access list again.
    pub fn reload(&self) {
        self.signal_until("HUP", "Reloading config.");
    }

    /// Has the broker write its sessions to the disk, from which the next one loads them.
    pub fn save(&self) {
        self.signal_until("USR1", "Saving in-memory database");
    }

    /// Sends a signal, and returns once the broker has logged these words.
    fn signal_until(&self, signal: &str, answer: &str) {
        let process = self.process.as_ref().expect("the broker runs");
        process.signal(signal);
        process.wait_for_line(answer, |line| line.contains(answer));
        // It finishes that before it serves clients again.
        let probe = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        process.wait_for_line("a connection", |line| line.contains("New connection from"));
        drop(probe);
    }

    /// Lets the broker stall: its connections stay open and nothing happens on them.
    pub fn freeze(&self) {
        self.process
            .as_ref()
            .expect("the broker runs")
            .signal("STOP");
    }

    /// Lets it continue.
    pub fn thaw(&self) {
        self.process
            .as_ref()
            .expect("the broker runs")
            .signal("CONT");
    }

    /// Waits until a client without its own name has subscribed.
    pub fn until_subscribed(&self) {
        let broker = self.process.as_ref().expect("the broker runs");
        broker.wait_for_line("a subscription", |line| line.contains("SUBACK to auto-"));
    }

    /// Publishes a message, with these further arguments for `mosquitto_pub`, and returns when the
    /// broker has confirmed.
    pub fn publish(&self, topic: &str, payload: &str, arguments: &[&str]) {
        let status = Command::new(program("mosquitto_pub"))
            .args(["-V", "5", "-q", "1", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-t", topic, "-m", payload])
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success(), "mosquitto_pub: {status}");
    }

    /// Publishes what is in a file, of any length.
    pub fn publish_file(&self, topic: &str, file: &Path, arguments: &[&str]) {
        let status = Command::new(program("mosquitto_pub"))
            .args(["-V", "5", "-q", "1", "-h", "127.0.0.1"])
            .args(["-p", &self.port.to_string(), "-t", topic, "-f"])
            .arg(file)
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success(), "mosquitto_pub: {status}");
    }

    /// Publishes a message whose answer is to come on the topic `answers/<correlation>`.
    pub fn ask(&self, topic: &str, payload: &str, correlation: &str) {
        let answers = format!("answers/{correlation}");
        let response = ["-D", "publish", "response-topic", &answers];
        let data = ["-D", "publish", "correlation-data", correlation];
        self.publish(topic, payload, &[response, data].concat());
    }

    /// Subscribes to everything, and returns when the broker has confirmed.
    pub fn subscribe(&self) -> Subscriber {
        self.subscribe_on(self.port)
    }

    /// As [`Broker::subscribe`], on another port that this broker listens on.
    pub fn subscribe_on(&self, port: u16) -> Subscriber {
        let id = "watcher";
        let mut command = Command::new(program("mosquitto_sub"));
        command
            .args(["-V", "5", "-q", "1", "-c", "-i", id, "-t", "#"])
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            // Everything about a message in one JSON object a line.
            .args(["-F", "%j"])
            .args(["-x", "3600"])
            .env("TZ", "UTC");
        let process = Process::spawn(&mut command, "mosquitto_sub", Stdio::piped(), Stdio::null());
        let broker = self.process.as_ref().expect("the broker runs");
        broker.wait_for_line("subscribed", |line| {
            line.ends_with(&format!("SUBACK to {id}"))
        });
        Subscriber { process }
    }
}

/// `mosquitto_sub` on every topic.
pub struct Subscriber {
    process: Process,
}

/// A message as `mosquitto_sub` prints it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// JSON, or text if it is not JSON.
    pub payload: Value,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// The quality of service with which it was delivered.
    pub qos: u64,
    /// The properties of MQTT 5.
    pub properties: Value,
    /// When it arrived at the subscriber.
    pub received: Timestamp,
}

impl Subscriber {
    /// Returns messages up to and with the first that `is_last` accepts.
    pub fn until(&self, what: &str, is_last: impl Fn(&Message) -> bool) -> Vec<Message> {
        let lines = self.process.lines_until(what, |line| is_last(&parse(line)));
        lines.iter().map(|line| parse(line)).collect()
    }

    /// Returns messages up to and including the status `word`.
    pub fn until_status(&self, word: &str) -> Vec<Message> {
        self.until(word, |message| {
            message.topic.ends_with("/status") && message.payload == word
        })
    }
}

impl Message {
    /// Returns the last level of the topic.
    pub fn kind(&self) -> &str {
        self.topic.rsplit('/').next().unwrap_or_default()
    }
}

fn parse(line: &str) -> Message {
    let message: Value = serde_json::from_str(line).unwrap_or_else(|error| {
        panic!("mosquitto_sub printed something else than JSON ({error}): {line}")
    });
    // The payload is text; what is JSON inside is parsed as well.
    let text = message["payload"].as_str().unwrap_or_default();
    Message {
        topic: message["topic"].as_str().unwrap_or_default().to_owned(),
        payload: serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        retained: message["retain"] == 1,
        qos: message["qos"].as_u64().unwrap_or_default(),
        properties: message["properties"].clone(),
        received: received(message["tst"].as_str().unwrap_or_default()),
    }
}

/// A time as `mosquitto_sub` prints it: with the zone twice.
fn received(text: &str) -> Timestamp {
    let time = text.trim_end_matches("+0000").trim_end_matches('Z');
    format!("{time}Z").parse().unwrap()
}

/// Returns a port that nothing listens on, and that the kernel gives to no other process which asks
/// for any port in the next minute.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // The end of a connection that is closed first keeps its port in the state TIME_WAIT, from
    // which only a listener that names it may take it, as brokers and `TcpListener` do.
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    drop(accepted);
    drop(client);
    address.port()
}

/// Debian installs the broker in a folder that is only in root's path.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|folder| folder.join(name))
        .find(|program| Path::new(program).is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; `cargo xtask test` installs it"))
}
