//! One file a verb: its arguments, and the thin function that turns them into calls.
//!
//! Only here and in `main` may anything be printed to standard output. Logic that is worth a
//! test lives in the modules that the commands call.

pub mod bench;
pub mod calibrate;
pub mod check;
pub mod demo;
pub mod evaluate;
pub mod model;
pub mod predict;
pub mod run;
pub mod train;
