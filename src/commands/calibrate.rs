//! `flawd calibrate`: a new threshold, from held-out good images or, for another rate, from the
//! scores stored in a bundle.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use flawd_core::depth::Depth;
use jiff::Timestamp;

use super::args::features::DepthArg;
use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::progress::ProgressLine;
use super::{PromiseArgs, SelectionArgs, StopFlag, open, ways_out, without_foreign_input};
use crate::bundle::{Bundle, RateError, stress};
use crate::lab::calibration::{CalibrationProgress, HeldOut, ThresholdError};
use crate::lab::dataset::{Images, images_in};
use crate::lab::variation::{ChangeError, Variation};

/// Arguments of `flawd calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Bundle to give the new threshold
    bundle: PathBuf,
    /// Folder of good images that did not train the model. If unset, the threshold for
    /// --false-reject-rate is computed from the scores of the bundle's last calibration
    #[arg(value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    promise: PromiseArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    depth: DepthArg,
    /// Changes of the pictures that the promise covers, such as light=10%,noise=2%; `none` for
    /// pictures as they are. Defaults to those of the bundle's last calibration
    #[arg(long, value_name = "CHANGES", value_parser = varied)]
    vary: Option<VaryArg>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code; the bundle is then unchanged.
pub fn run(args: CalibrateArgs) -> Outcome {
    match &args.images {
        Some(images) => with_images(&args, images),
        None => at_another_rate(&args),
    }
}

/// Sets the threshold from other images.
fn with_images(args: &CalibrateArgs, images: &Path) -> Outcome {
    let Images { paths, left_out } = images_in(images).map_err(Failure::usage)?;
    ProgressLine::new().left_out(&left_out);
    let found = paths.len();
    let selection = args.selection.selection();
    let (paths, excluded) = selection.apply(paths).map_err(Failure::usage)?;
    let promise = args.promise.promise();
    promise.check(paths.len()).map_err(ways_out)?;
    let (mut bundle, scorer) = open(&args.bundle, &args.runtime)?;
    let depth = depth(args, &bundle)?;
    let mut scorer = scorer.reading(depth);
    if bundle.manifest().import.is_some() {
        eprintln!(
            "note: this model was imported, so that it never saw these images cannot be checked: \
             the promise holds only if they did not train it"
        );
    }

    let variation = match args.vary {
        Some(VaryArg(variation)) => variation,
        None => kept_variation(&bundle)?,
    };
    let mut progress = ProgressLine::new();
    let stop = StopFlag::listen()?;
    let mut observe = |of: CalibrationProgress<'_>| {
        progress.held_out(&of);
        stop.check()
    };
    let trained = |image| bundle.was_trained_on(image);
    let held_out = HeldOut::score(
        &mut scorer,
        paths,
        trained,
        variation.as_ref(),
        &mut observe,
    )?;
    progress.clear();
    if let Some(light) = bundle.manifest().model.light {
        held_out.check_light(light).map_err(Failure::config)?;
    }
    stress::check(&mut scorer)?;
    let calibrate = |scores| promise.calibrate(scores);
    let thresholds = held_out
        .thresholds(calibrate, &selection, excluded, variation.as_ref())
        .map_err(|error| match error {
            ThresholdError::Calibration(error) => ways_out(error),
            error => error.into(),
        })?;
    let golden = held_out.golden(&mut scorer, &thresholds.calibration, depth)?;
    let scored = held_out.len();

    let old = bundle.calibration().threshold();
    bundle.recalibrate(thresholds, &golden, depth, Timestamp::now())?;
    let images = format!("{scored}, {} left out", found - scored);
    print_promise(&bundle, &images, old);
    println!("highest    {}", held_out.highest(bundle.calibration()));
    Ok(())
}

/// Changes that a promise covers, or none.
#[derive(Clone, Copy, Debug)]
struct VaryArg(Option<Variation>);

/// Parses `none`, or changes.
fn varied(text: &str) -> Result<VaryArg, ChangeError> {
    match text {
        "none" => Ok(VaryArg(None)),
        changes => Ok(VaryArg(Some(changes.parse()?))),
    }
}

/// Returns what the promise of a bundle covers so far.
fn kept_variation(bundle: &Bundle) -> Result<Option<Variation>, Failure> {
    let changes = bundle.calibration().covers();
    let variation = changes.map(str::parse::<Variation>).transpose();
    variation.map_err(|error| {
        Failure::config(anyhow!(error).context(format!(
            "[calibration] vary in {} cannot be read; state it with --vary",
            bundle.folder().display()
        )))
    })
}

/// Returns the depth at which images are read. A model only knows pictures of the brightness that
/// it was trained with, so a bundle that has a depth keeps it.
fn depth(args: &CalibrateArgs, bundle: &Bundle) -> Result<Option<Depth>, Failure> {
    match (bundle.manifest().model.depth, args.depth.depth) {
        (Some(known), Some(asked)) if known != asked => Err(Failure::usage(anyhow!(
            "--depth {}: the model of {} was trained with pictures of {known}: leave --depth out, or \
             train again",
            u8::from(asked),
            bundle.folder().display()
        ))),
        (known, asked) => Ok(known.or(asked)),
    }
}

/// Sets the threshold for another rate, from the same images.
fn at_another_rate(args: &CalibrateArgs) -> Outcome {
    let rate = args.promise.asked().ok_or_else(|| {
        Failure::usage(anyhow!(
            "give a folder of good images, or --false-reject-rate to choose another rate from the \
             scores that the bundle has"
        ))
    })?;
    if args.vary.is_some() {
        return Err(Failure::usage(anyhow!(
            "--vary changes images before they are scored: give a folder of good images with it"
        )));
    }
    if args.depth.depth.is_some() {
        return Err(Failure::usage(anyhow!(
            "--depth says how images are read: give a folder of good images with it"
        )));
    }
    let mut bundle = Bundle::open(&args.bundle).map_err(Failure::config)?;
    let old = bundle.calibration().threshold();
    bundle
        .change_rate(rate, Timestamp::now())
        .map_err(|error| match error {
            RateError::Calibration(error) => ways_out(error),
            error => error.into(),
        })?;
    let images = format!(
        "{}, those of the last calibration",
        bundle.calibration().n()
    );
    print_promise(&bundle, &images, old);
    Ok(())
}

/// Prints what the bundle promises now; `old` is its previous threshold.
fn print_promise(bundle: &Bundle, images: &str, old: f32) {
    let manifest = bundle.manifest();
    println!("bundle     {} {}", manifest.name, manifest.version);
    println!("images     {images}");
    println!(
        "threshold  {} (before: {old})",
        manifest.calibration.threshold()
    );
    println!("promise    {}", manifest.calibration.promise());
    if let Some(warning) = without_foreign_input(bundle.has_foreign_input()) {
        println!("note       {warning}");
    }
}
