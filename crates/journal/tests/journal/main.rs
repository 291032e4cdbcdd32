//! The journal on real files: against a model, damaged, killed, on a full disk, without power, opened
//! twice.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;
mod damage;
mod disk;
mod faults;
mod folder;
mod full;
mod kill;
mod limits;
mod model;
mod power;
mod stumble;
mod written;
