//! The parts of `flawd demo`: what it trains and runs, a broker, a daemon, a subscriber, and a tally
//! of the results.
//!
//! Each replaces something that a factory has and a laptop lacks. The daemon is the real program
//! with a generated configuration, the connection is TCP on loopback, and the verdicts are read
//! from the broker; nothing here looks inside the daemon.

mod broker;
mod process;
mod scenario;
mod subscriber;
mod tally;

pub use broker::EmbeddedBroker;
pub use process::{DaemonProcess, ProcessError};
pub use scenario::{GOOD_PARTS, SIZE, STATION, Scenario};
pub use subscriber::{Subscriber, SubscriberError};
pub use tally::{DemoSummary, KindCount, Promise, Sighting, Tally, UnknownPart};
