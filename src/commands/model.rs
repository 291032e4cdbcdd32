//! `flawd model`: inspects and verifies bundles.

use crate::failure::Outcome;

/// Arguments of `flawd model`.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: ModelArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd model` is not written yet").into())
}
