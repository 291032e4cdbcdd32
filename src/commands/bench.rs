//! `flawd bench`: latency a stage and throughput.

use crate::failure::Outcome;

/// Arguments of `flawd bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(_args: BenchArgs) -> Outcome {
    Err(anyhow::anyhow!("`flawd bench` is not written yet").into())
}
