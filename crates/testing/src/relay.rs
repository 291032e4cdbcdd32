//! A network between a client and its broker that can stall: for as long as it is held, nothing
//! passes and nothing breaks.
//!
//! ```text
//! client ──► kernel ──► relay ──► kernel ──► mosquitto
//!               └ fills while it is held
//! ```
//!
//! What is in flight meanwhile lies in the kernel's buffers, those of the sender and those of the
//! relay, and continues when it is released; unless the sender has reset the connection, which
//! drops what was in flight, as in a network that loses packets.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the broker.
    ToBroker,
    /// From the broker to the client.
    FromBroker,
}

/// A relay to one port of this machine, for any number of connections.
pub struct Relay {
    /// Where it listens.
    pub port: u16,
    valves: Arc<Valves>,
}

#[derive(Default)]
struct Valves {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: BTreeSet<Direction>,
    is_over: bool,
}

impl Relay {
    /// Starts a relay to the broker on this port; everything passes at first.
    pub fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let valves = Arc::new(Valves::default());
        let shared = Arc::clone(&valves);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.is_over() {
                    return;
                }
                // A broker that is not there: the client is turned away as by the broker itself.
                if let (Ok(client), Ok(broker)) =
                    (client, TcpStream::connect((Ipv4Addr::LOCALHOST, broker)))
                {
                    connect(&client, &broker, &shared);
                }
            }
        });
        Self { port, valves }
    }

    /// Stops letting anything through in this direction, without breaking the connection.
    pub fn hold(&self, direction: Direction) {
        self.valves.change(|state| {
            state.held.insert(direction);
        });
    }

    /// Lets everything through again in this direction, what has come meanwhile first.
    pub fn release(&self, direction: Direction) {
        self.valves.change(|state| {
            state.held.remove(&direction);
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.valves.change(|state| {
            state.held.clear();
            state.is_over = true;
        });
        // For the listener to see it.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl Valves {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over
    }

    /// Waits until messages may go this way.
    fn wait_for(&self, direction: Direction) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self
            .changed
            .wait_while(state, |it| it.held.contains(&direction));
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Joins two connections, on a thread for each direction.
fn connect(client: &TcpStream, broker: &TcpStream, valves: &Arc<Valves>) {
    for (direction, from, to) in [
        (Direction::ToBroker, client, broker),
        (Direction::FromBroker, broker, client),
    ] {
        from.set_nodelay(true).unwrap();
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let valves = Arc::clone(valves);
        thread::spawn(move || pass_on(&from, &to, direction, &valves));
    }
}

/// Passes on what comes until the connection ends on either side, and then ends the other.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, direction: Direction, valves: &Valves) {
    let mut chunk = [0; 4096];
    loop {
        valves.wait_for(direction);
        let length = match from.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        // It may have been held meanwhile.
        valves.wait_for(direction);
        let is_reset = !matches!(from.take_error(), Ok(None));
        if is_reset || length == 0 || to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

#[test]
fn what_is_held_comes_late_and_what_is_reset_meanwhile_never() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let relay = Relay::to(listener.local_addr().unwrap().port());
    for is_reset in [false, true] {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).unwrap();
        let (mut broker, _) = listener.accept().unwrap();
        client.write_all(b"before").unwrap();
        let mut received = [0; 6];
        broker.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"before");

        relay.hold(Direction::ToBroker);
        client.write_all(b"during").unwrap();
        // The other direction still passes.
        broker.write_all(b"answer").unwrap();
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"answer");
        if is_reset {
            rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO))
                .unwrap();
        }
        drop(client);
        relay.release(Direction::ToBroker);
        let mut rest = Vec::new();
        broker.read_to_end(&mut rest).ok();
        let expected: &[u8] = if is_reset { b"" } else { b"during" };
        assert_eq!(rest, expected);
    }
}
