//! Feeds every reader of outside data with input that no program would write.
//!
//! ```text
//! corpus ─► mutation ─► a target reads it ─► panic, overflow, too much memory, too long: a finding
//!    ▲                        │
//!    └── what reached new code ◄── coverage
//! ```
//! `cargo xtask fuzz` builds this with coverage counters and overflow checks, and runs it; the
//! tests feed the same targets with fewer inputs, and with all earlier findings. The readers know
//! nothing about it.

pub mod corpus;
pub mod coverage;
pub mod feed;
pub mod mutation;
pub mod target;

pub use target::Target;
