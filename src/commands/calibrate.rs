//! `flawd calibrate`: a new threshold from held-out good images.

use crate::failure::Outcome;

/// Arguments of `flawd calibrate`.
#[derive(Debug, clap::Args)]
pub struct CalibrateArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: CalibrateArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd calibrate` is not written yet").into())
}
