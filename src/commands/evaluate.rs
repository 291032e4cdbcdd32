//! `flawd evaluate`: a bundle measured on labelled images.

use crate::failure::Outcome;

/// Arguments of `flawd evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: EvaluateArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd evaluate` is not written yet").into())
}
