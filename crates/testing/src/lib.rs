//! What tests of several crates share: a bench for programs that speak MQTT, the published schemas,
//! and a count of memory and processor time. For tests only.
//!
//! ```text
//! test ──► Process: the program under test ──► Relay ──► Broker: a real mosquitto ──► Subscriber
//!                                         └──► Scripted: a broker that the test plays
//! ```
//! It knows nothing about flawd but the text of its schemas: programs and folders are arguments.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[cfg(feature = "bench")]
pub mod broker;
#[cfg(feature = "bench")]
pub mod bundles;
#[cfg(feature = "bench")]
pub mod cache;
#[cfg(feature = "bench")]
pub mod files;
pub mod memory;
#[cfg(feature = "bench")]
pub mod process;
#[cfg(feature = "bench")]
pub mod relay;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "bench")]
pub mod scripted;
