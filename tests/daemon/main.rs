//! The built `flawd` as a process, against a real mosquitto: as subscribers, operators and service
//! managers see it.
//!
//! Nothing here waits for time to pass: tests wait for messages, log lines and ends of processes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bundle;
mod line;
mod log;
mod namespace;
mod pki;
mod station;

mod admit;
mod bench;
mod camera;
mod commands;
mod delivery;
mod depth;
mod drift;
mod earlier;
mod endurance_fleet;
mod endurance_line;
mod endurance_link;
mod endurance_triggers;
mod failing_disk;
mod hostile;
mod loaded_models;
mod map;
mod models;
mod monitor;
mod openvino;
mod outage;
mod records;
mod reload;
mod schema;
mod service;
mod shadow;
mod shutdown;
mod stall;
mod start;
mod storm;
mod subscriber;
mod subscriptions;
mod tls;
mod triggers;
mod wire;
