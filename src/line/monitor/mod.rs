//! What operators see from outside while the daemon runs: metrics and health.
//!
//! ```text
//! counters, record, publish ─► Metrics ──┐
//!                                        ├──► Server ──► GET /metrics, /healthz, /readyz
//! progress, supervisor ─────► Health ────┘
//! ```
//!
//! Nothing here waits for the pipeline and the pipeline waits for nothing here: a count is an
//! atomic addition, and the server has its own thread. Of cameras, brokers and files, only names
//! and numbers are used.

pub mod counters;
pub mod health;
pub mod metrics;
pub mod progress;
pub mod server;

pub use health::Health;
pub use metrics::{MessageOutcome, Metrics, RejectOutcome};
pub use server::{ListenError, Server};
