//! `flawd train`: turns good images into a calibrated bundle.

mod printer;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::anomaly::MapKind;

use super::args::features::{self, FeatureArgs};
use super::args::flow::FlowArgs;
use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::{PromiseArgs, SelectionArgs, StopFlag, cache, share, without_foreign_input};
use crate::files::path_text;
use crate::lab::training::{HoldOut, TrainingError, TrainingPlan, overfit, train};
use crate::lab::variation::Variation;
use printer::Printer;

/// Arguments of `flawd train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of good images, or a folder that contains train/good
    #[arg(value_name = "DIR")]
    images: PathBuf,
    #[command(flatten)]
    features: FeatureArgs,
    /// Output folder of the bundle
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// How the scales are combined into the anomaly map
    #[arg(long, value_enum, default_value_t = MapArg::Finest)]
    map: MapArg,
    /// Changes that the line may see, the greatest of each kind, such as
    /// light=10%,noise=2%,blur=0.7,jpeg=60,shift=2,zoom=2%,turn=3: the flow is trained on pictures so
    /// changed as well, and the promise covers each end
    #[arg(long, value_name = "CHANGES")]
    vary: Option<Variation>,
    /// Name of the bundle; defaults to the folder's name
    #[arg(long)]
    name: Option<String>,
    /// Share of the images that is held out of training and sets the threshold
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    hold_out: f64,
    /// For 30 to 100 images: train on all of them, and take the scores from K more flows, each
    /// trained without the fold that it scores. The promise is then an estimate, not a bound
    #[arg(long, value_name = "K", conflicts_with = "hold_out", value_parser = folds)]
    cross_calibrate: Option<usize>,
    #[command(flatten)]
    promise: PromiseArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Seed for all randomness
    // A bundle's manifest stores 63 bits of it.
    #[arg(long, default_value_t = 42, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Start again even if an interrupted run could be resumed
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    flow: FlowArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MapArg {
    /// The finest scale alone, as in the paper: a coarse grid
    Finest,
    /// All scales, as in anomalib: their geometric mean, one value per pixel of the input
    Product,
}

impl MapArg {
    pub(crate) fn kind(self) -> MapKind {
        match self {
            Self::Finest => MapKind::Finest,
            Self::Product => MapKind::Product,
        }
    }
}

impl TrainArgs {
    fn plan(self) -> Result<TrainingPlan, Failure> {
        let features = self.features.plan(&self.flow)?;
        let flow = self.flow.settings(self.seed).map_err(Failure::usage)?;
        let name = match self.name {
            Some(name) => name,
            None => bundle_name(&self.out).map_err(Failure::usage)?,
        };
        Ok(TrainingPlan {
            images: self.images,
            features,
            vary: self.vary,
            map: self.map.kind(),
            flow,
            hold_out: match self.cross_calibrate {
                Some(folds) => HoldOut::Folds(folds),
                None => HoldOut::Share(self.hold_out),
            },
            promise: self.promise.promise(),
            selection: self.selection.selection(),
            fresh: self.fresh,
            out: self.out,
            name,
        })
    }
}

/// Parses a number of folds.
fn folds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(folds) if folds >= 2 => Ok(folds),
        _ => Err(format!(
            "`{text}` is not a number of folds: 2 at least, 5 is usual"
        )),
    }
}

/// Returns the default name of a bundle: that of its folder.
pub(crate) fn bundle_name(out: &Path) -> anyhow::Result<String> {
    let name = out.file_name().with_context(|| {
        format!(
            "--out {} names no folder of its own: end it with a name, which the bundle gets",
            out.display()
        )
    })?;
    Ok(path_text::text(Path::new(name)).into_owned())
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: TrainArgs) -> Outcome {
    let runtime = crate::packages::runtime::load(args.runtime.onnxruntime.as_deref())
        .map_err(Failure::config)?;
    let options = args.runtime.session_options();
    let plan = args.plan()?;
    let cache = plan.features.cache.clone();
    let stop = StopFlag::listen()?;
    let mut printer = Printer::new();
    let outcome = train(&plan, runtime.with(&options), &mut |progress| {
        printer.show(&progress);
        stop.check()
    });
    drop(printer);
    let summary = outcome.map_err(|error| match error {
        TrainingError::Features(error) => features::failure(error),
        TrainingError::Export(_)
        | TrainingError::Calibration { .. }
        | TrainingError::CrossCalibration { .. } => Failure::config(error),
        TrainingError::Dataset(_) | TrainingError::NotThere(_) | TrainingError::Depth(_) => {
            Failure::usage(error)
        }
        error => error.into(),
    })?;
    println!("bundle     {}", summary.bundle.display());
    if summary.skipped > 0 {
        println!("skipped    {} images, named above", summary.skipped);
    }
    println!("threshold  {}", summary.calibration.threshold());
    println!("promise    {}", summary.calibration.promise());
    println!("highest    {}", summary.highest);
    let scores = summary.calibration.scores();
    println!(
        "scores     {:.3} to {:.3}, median {:.3}",
        scores[0],
        scores[scores.len() - 1],
        scores[scores.len() / 2]
    );
    for escapes in &summary.escapes {
        println!("made up    {escapes}");
    }
    if let Some(warning) = without_foreign_input(summary.has_foreign_input) {
        println!("note       {warning}");
    }
    if let Some(overfit) = overfit(&summary.epochs) {
        println!("note       {overfit}");
    }
    if let Some(gave_way) = &summary.gave_way {
        println!("note       {}", gave_way.takes);
    }
    println!("cache      {}", cache::size_note(&cache)?);
    Ok(())
}
