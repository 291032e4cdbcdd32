//! `flawd check`: validates configuration and bundle without touching hardware.

use crate::failure::Outcome;

/// Arguments of `flawd check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: CheckArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd check` is not written yet").into())
}
