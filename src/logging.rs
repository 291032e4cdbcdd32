//! Where log lines go: standard error, so that standard output holds results alone.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that holds the filter, in `tracing`'s syntax; default `info`.
pub const FILTER_VARIABLE: &str = "FLAWD_LOG";

/// Installs the process-wide subscriber. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .ok();
}
