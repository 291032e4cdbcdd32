//! `flawd train`: good images to a calibrated bundle.

mod printer;
mod recipe;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::image::Size;
use flawd_core::preprocess::{Flip, Geometry, Region, Rotation};
use flawd_onnx::Runtime;

use super::{MapArg, NormalisationArg, name_of, share};
use crate::cache;
use crate::cli::RuntimeArgs;
use crate::failure::{Failure, Outcome};
use crate::training::{TrainingError, TrainingPlan, train};
use printer::Printer;
use recipe::FlowArgs;

/// Arguments of `flawd train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of good images, or one with train/good below it
    #[arg(value_name = "DIR")]
    images: PathBuf,
    /// ONNX file that computes feature maps
    #[arg(long, value_name = "FILE")]
    backbone: PathBuf,
    /// Where to write the bundle
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,
    /// Output of the backbone to use; repeat for several. Needed where the backbone has several
    #[arg(long = "feature", value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Size of the network's input, HxW; multiples of four times the backbone's stride
    #[arg(long, value_name = "HxW", default_value = "384x384")]
    size: Size,
    /// Pixels that the backbone wants, where its file does not say
    #[arg(long, value_enum)]
    normalisation: Option<NormalisationArg>,
    /// Part of each picture to inspect, in pixels; the daemon then cuts out the same
    #[arg(long, value_name = "LEFT,TOP,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    /// Turn each picture clockwise by 0, 90, 180 or 270 degrees, after the region is cut out
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = rotation)]
    rotate: Rotation,
    /// Mirror each picture, last of all
    #[arg(long, value_enum, default_value_t = FlipArg::None)]
    flip: FlipArg,
    /// How the anomaly map is made of the scales
    #[arg(long, value_enum, default_value_t = MapArg::Finest)]
    map: MapArg,
    /// Name of the bundle; the folder's name where this is not given
    #[arg(long)]
    name: Option<String>,
    /// Share of the images that sets the threshold and never trains
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    hold_out: f64,
    /// The false-reject rate that the threshold promises
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = share)]
    false_reject_rate: f64,
    /// Where the held-out images are too few for that rate, promise the lowest that they allow
    #[arg(long)]
    accept_achievable: bool,
    /// Seed of all randomness
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where features and checkpoints are kept, so that a second run or an interrupted one goes on
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Start again although an interrupted run could go on
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    flow: FlowArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlipArg {
    /// As it is
    None,
    /// Left and right change places
    Horizontal,
    /// Top and bottom change places
    Vertical,
}

impl TrainArgs {
    fn plan(self) -> anyhow::Result<TrainingPlan> {
        let flow = self.flow.settings(self.seed)?;
        let name = match self.name {
            Some(name) => name,
            None => name_of(&self.out)?,
        };
        Ok(TrainingPlan {
            images: self.images,
            backbone: self.backbone,
            outputs: self.outputs,
            normalisation: self.normalisation.map(NormalisationArg::normalisation),
            size: self.size,
            geometry: Geometry {
                region: self.region,
                rotate: self.rotate,
                flip: match self.flip {
                    FlipArg::None => Flip::None,
                    FlipArg::Horizontal => Flip::Horizontal,
                    FlipArg::Vertical => Flip::Vertical,
                },
            },
            map: self.map.kind(),
            hidden: flow.hidden,
            kernels: flow.kernels,
            clamp: flow.clamp,
            permutation: flow.permutation,
            transform: flow.transform,
            settings: flow.training,
            hold_out: self.hold_out,
            false_reject_rate: self.false_reject_rate,
            accept_achievable: self.accept_achievable,
            cache: match self.cache {
                Some(cache) => cache,
                None => cache::folder()
                    .context("no home folder to keep features in: give --cache DIR")?,
            },
            fresh: self.fresh,
            out: self.out,
            name,
        })
    }
}

/// `LEFT,TOP,WIDTH,HEIGHT`.
fn region(text: &str) -> Result<Region, String> {
    match numbers::<usize>(text)[..] {
        [left, top, width, height] if width > 0 && height > 0 => Ok(Region {
            left,
            top,
            width,
            height,
        }),
        _ => Err(format!(
            "`{text}` is no region: four whole numbers such as 320,40,640,480"
        )),
    }
}

/// A number of degrees.
fn rotation(text: &str) -> Result<Rotation, String> {
    let degrees: u16 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of degrees"))?;
    Rotation::try_from(degrees).map_err(|error| error.to_string())
}

/// The numbers between commas; none where one of them is no number.
fn numbers<T: FromStr>(text: &str) -> Vec<T> {
    let numbers: Option<Vec<T>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    numbers.unwrap_or_default()
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: TrainArgs) -> Outcome {
    let runtime = Runtime::load(args.runtime.onnxruntime.as_deref()).map_err(Failure::config)?;
    let options = args.runtime.session_options();
    let plan = args.plan().map_err(Failure::usage)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut printer = Printer::new();
    let outcome = train(&plan, &runtime, &options, &mut |progress| {
        printer.show(&progress);
        if stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(printer);
    let summary = outcome.map_err(|error| match error {
        TrainingError::Backbone(_)
        | TrainingError::Outputs(_)
        | TrainingError::Export(_)
        | TrainingError::Calibration { .. } => Failure::config(error),
        TrainingError::Dataset(_) => Failure::usage(error),
        error => error.into(),
    })?;
    println!("bundle     {}", summary.bundle.display());
    if summary.skipped > 0 {
        println!("skipped    {} images, named above", summary.skipped);
    }
    println!("threshold  {}", summary.calibration.threshold());
    println!("promise    {}", summary.calibration.promise());
    Ok(())
}
