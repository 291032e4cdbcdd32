//! `flawd predict`: scores of single images.

use crate::failure::Outcome;

/// Arguments of `flawd predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: PredictArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd predict` is not written yet").into())
}
