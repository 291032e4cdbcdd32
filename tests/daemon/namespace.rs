//! A network of two ends, one of them in its own namespace, and the cable between them, which can
//! be pulled. Takes root and iproute2.

use std::process::Command;

/// The network; it is gone when it is dropped.
pub(crate) struct Namespace {
    name: String,
    /// This machine's end of the cable.
    cable: String,
    /// The address of this machine's end, which the other reaches over the cable alone.
    pub(crate) address: String,
}

impl Namespace {
    /// Creates a network, or says why there can be none here. One test process has one at a time.
    pub(crate) fn new() -> Result<Self, String> {
        let number = std::process::id();
        // Each process has its own of 64 small networks in a range for benchmarks (RFC 2544).
        let subnet = format!("198.18.{}", number % 64);
        let namespace = Self {
            name: format!("flawd-{number}"),
            cable: format!("flawd{number}a"),
            address: format!("{subnet}.1"),
        };
        let Self {
            name,
            cable,
            address,
        } = &namespace;
        let other = format!("flawd{number}b");
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {cable} type veth peer name {other}"))?;
        ip(&format!("link set {other} netns {name}"))?;
        ip(&format!("addr add {address}/24 dev {cable}"))?;
        ip(&format!("link set {cable} up"))?;
        ip(&format!("-n {name} addr add {subnet}.2/24 dev {other}"))?;
        ip(&format!("-n {name} link set {other} up"))?;
        Ok(namespace)
    }

    /// The same command at the other end.
    pub(crate) fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("ip");
        wrapped.args(["netns", "exec", &self.name]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
    }

    /// Pulls the cable: connections stay open, and nothing arrives.
    pub(crate) fn pull(&self) {
        ip(&format!("link set {} down", self.cable)).unwrap();
    }

    /// Plugs it in again.
    pub(crate) fn plug_in(&self) {
        ip(&format!("link set {} up", self.cable)).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One end takes the other with it.
        ip(&format!("link del {}", self.cable)).ok();
        ip(&format!("netns del {}", self.name)).ok();
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", why.trim()))
}
