//! `flawd run`: the inspection daemon.

use crate::failure::Outcome;

/// Arguments of `flawd run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: RunArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd run` is not written yet").into())
}
