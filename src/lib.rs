//! flawd: learns what good parts look like, calibrates when to call a part bad, and watches a
//! production line.
//!
//! The modules are listed in reading order. The program is this library and a `main` that maps
//! the outcome to an exit code, so that tests run the real thing.

pub mod ablation;
pub mod benchmark;
pub mod bundle;
pub mod cache;
pub mod cli;
pub mod commands;
pub mod comparison;
pub mod config;
pub mod daemon;
pub mod dataset;
pub mod demo;
pub mod depth;
pub mod digest;
pub mod doctor;
pub mod encode;
pub mod engine;
pub mod evaluation;
mod event_loop;
pub mod evidence;
pub mod failure;
pub mod features;
pub mod fleet;
pub mod held_out;
pub mod import;
pub mod monitor;
pub mod overlay;
pub mod path_text;
mod picture;
pub mod pipeline;
pub mod report;
pub mod scorer;
pub mod stress;
pub mod synthetic;
pub mod telemetry;
pub mod training;
pub mod whole_file;

pub use flawd_decode as decode;
