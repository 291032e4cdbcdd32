//! The source `gstreamer` against real pipelines, and against cameras on the loopback address: an
//! RTSP server, an MJPEG server, and Aravis' GigE Vision camera, each a process that is killed.
//!
//! Run by `cargo xtask gstreamer-test`, which installs what this takes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the daemon's tests use more of it")]
#[path = "../daemon/bundle.rs"]
mod bundle;
#[allow(dead_code, reason = "the daemon's tests use more of it")]
#[path = "../daemon/line.rs"]
mod line;
#[allow(dead_code, reason = "the daemon's tests use more of it")]
#[path = "../daemon/station.rs"]
mod station;

mod camera;
mod check;
mod killed;
mod pictures;
mod refused;
mod source;
mod times;
