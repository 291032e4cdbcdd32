//! The second phase: frames and triggers become verdicts, records and evidence.
//!
//! From the bottom up: camera, config, gpio, monitor ← evidence, engine ← pipeline ← models ← daemon ← doctor,
//! benchmark. Nothing here depends on how a bundle was trained.

pub mod benchmark;
pub mod camera;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod engine;
pub(crate) mod event_loop;
pub mod evidence;
pub mod gpio;
pub mod models;
pub mod monitor;
pub mod pipeline;
