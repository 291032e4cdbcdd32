//! One file a verb: its arguments, and the thin function that turns them into calls.
//!
//! Only here and in `main` may anything be printed to standard output. Logic that is worth a
//! test lives in the modules that the commands call.

pub mod bench;
pub mod calibrate;
pub mod check;
pub mod demo;
pub mod doctor;
pub mod evaluate;
pub mod model;
pub mod predict;
pub mod run;
pub mod train;

mod engine;
mod import;
mod progress;

use std::path::Path;

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::anomaly::MapKind;
use flawd_core::normalisation::Normalisation;
use flawd_onnx::Runtime;

use crate::bundle::Bundle;
use crate::cli::RuntimeArgs;
use crate::failure::Failure;
use crate::held_out::Promise;
use crate::scorer::Scorer;

/// What pixels a backbone wants, as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum NormalisationArg {
    /// Mean and deviation of ImageNet, RGB
    Imagenet,
}

impl NormalisationArg {
    fn normalisation(self) -> Normalisation {
        match self {
            Self::Imagenet => Normalisation::IMAGENET,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MapArg {
    /// The finest scale alone, as in the paper: a coarse grid
    Finest,
    /// All scales, as in anomalib: their geometric mean, a value a pixel of the input
    Product,
}

impl MapArg {
    fn kind(self) -> MapKind {
        match self {
            Self::Finest => MapKind::Finest,
            Self::Product => MapKind::Product,
        }
    }
}

/// The name of the folder `out`, which is what a bundle is called where nothing else is said.
fn name_of(out: &Path) -> anyhow::Result<String> {
    let name = out
        .file_name()
        .with_context(|| format!("{} names no folder", out.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// What a threshold promises; shared by the commands that calibrate.
#[derive(Clone, Copy, Debug, Args)]
struct PromiseArgs {
    /// The false-reject rate that the threshold promises
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = share)]
    false_reject_rate: f64,
    /// Where the images are too few for that rate, promise the lowest that they allow
    #[arg(long)]
    accept_achievable: bool,
}

impl PromiseArgs {
    fn promise(self) -> Promise {
        Promise {
            false_reject_rate: self.false_reject_rate,
            accept_achievable: self.accept_achievable,
        }
    }
}

/// A share such as a false-reject rate, as an argument.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err(format!("`{text}` does not lie between 0 and 1")),
    }
}

/// Verifies a bundle and loads its model.
fn open(bundle: &Path, args: &RuntimeArgs) -> Result<(Bundle, Scorer), Failure> {
    let bundle = Bundle::open(bundle).map_err(Failure::config)?;
    let runtime = Runtime::load(args.onnxruntime.as_deref()).map_err(Failure::config)?;
    let scorer = Scorer::open(&bundle, &runtime, &args.session_options());
    Ok((bundle, scorer.map_err(Failure::config)?))
}
