//! `flawd model`: inspects, verifies and converts bundles, imports checkpoints, builds engines.

mod convert;
pub(crate) mod engine;
pub(crate) mod import;
mod inspect;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::open;
use crate::bundle::stress;

/// Arguments of `flawd model`.
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Verify the digests of a bundle and print its origin
    Inspect {
        /// Bundle to inspect
        bundle: PathBuf,
    },
    /// Verify the digests, then score the golden inputs on this machine
    Verify {
        /// Bundle to verify
        bundle: PathBuf,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Make a model from a checkpoint of the published code or of anomalib
    Import(import::ImportArgs),
    /// Write a bundle whose model computes in half precision, if it judges alike
    Convert(convert::ConvertArgs),
    /// Build engines of TensorRT or OpenVINO for this machine ahead of time, which may take minutes
    Engine(engine::EngineArgs),
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the bundle, with its exit code.
pub fn run(args: ModelArgs) -> Outcome {
    match args.command {
        ModelCommand::Inspect { bundle } => inspect::run(&bundle),
        ModelCommand::Verify { bundle, runtime } => verify(&bundle, &runtime),
        ModelCommand::Import(args) => import::run(args),
        ModelCommand::Convert(args) => convert::run(args),
        ModelCommand::Engine(args) => engine::run(args),
    }
}

fn verify(bundle: &Path, runtime: &RuntimeArgs) -> Outcome {
    let (bundle, mut scorer) = open(bundle, runtime)?;
    println!("digests  ok");
    let reproduced = scorer.self_test(&bundle).map_err(Failure::config)?;
    for golden in reproduced {
        println!("golden   {golden}");
    }
    stress::check(&mut scorer).map_err(Failure::config)?;
    println!("stress   ok: black, white and noise have finite scores");
    println!("ok on {}", scorer.provider());
    Ok(())
}
