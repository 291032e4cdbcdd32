//! `flawd demo`: the whole story with nothing attached.

use crate::failure::Outcome;

/// Arguments of `flawd demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: DemoArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd demo` is not written yet").into())
}
