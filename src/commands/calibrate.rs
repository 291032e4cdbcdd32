//! `flawd calibrate`: a new threshold from held-out good images.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::progress::ProgressLine;
use super::{PromiseArgs, StopFlag, open};
use crate::cli::RuntimeArgs;
use crate::dataset::images_in;
use crate::failure::{Failure, Outcome};
use crate::held_out::{HeldOut, Progress, usable};

/// Arguments of `flawd calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// The bundle, which gets the new threshold
    bundle: PathBuf,
    /// Folder of good images that did not train the model
    #[arg(value_name = "DIR")]
    images: PathBuf,
    #[command(flatten)]
    promise: PromiseArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code; the bundle is then as it was.
pub fn run(args: CalibrateArgs) -> Outcome {
    let paths = images_in(&args.images).map_err(Failure::usage)?;
    let found = paths.len();
    let promise = args.promise.promise();
    promise.check(found)?;
    let (mut bundle, mut scorer) = open(&args.bundle, &args.runtime)?;
    if bundle.manifest().import.is_some() {
        eprintln!(
            "note: this model was imported, so that it never saw these images cannot be checked: \
             the promise holds only if they did not train it"
        );
    }

    let mut progress = ProgressLine::new();
    let stop = StopFlag::listen()?;
    let mut observe = |of: Progress<'_>| {
        progress.held_out(&of);
        stop.control()
    };
    let paths = usable(paths, |image| bundle.was_trained_on(image), &mut observe)?;
    let held_out = HeldOut::score(&mut scorer, paths, &mut observe)?;
    progress.clear();
    let thresholds = held_out.thresholds(&promise)?;
    let golden = held_out.golden(&thresholds.calibration)?;
    let scored = held_out.scores().len();

    let old = bundle.calibration().threshold();
    bundle.recalibrate(thresholds, &golden, Timestamp::now())?;
    let manifest = bundle.manifest();
    println!("bundle     {} {}", manifest.name, manifest.version);
    println!("images     {scored}, {} skipped", found - scored);
    println!(
        "threshold  {} (before: {old})",
        manifest.calibration.threshold()
    );
    println!("promise    {}", manifest.calibration.promise());
    Ok(())
}
