//! `flawd train`: good images to a calibrated bundle.

use crate::failure::Outcome;

/// Arguments of `flawd train`.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: TrainArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd train` is not written yet").into())
}
