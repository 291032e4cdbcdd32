//! `flawd train`: good images to a calibrated bundle.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::image::Size;
use flawd_core::normalisation::Normalisation;
use flawd_core::permutation::PermutationKind;
use flawd_core::preprocess::{Flip, Geometry, Region, Rotation};
use flawd_onnx::Runtime;
use flawd_train::adam::AdamSettings;
use flawd_train::trainer::{Schedule, TrainingSettings};
use flawd_train::transform::TransformKind;

use super::{progress::ProgressLine, share};
use crate::cli::RuntimeArgs;
use crate::failure::{Failure, Outcome};
use crate::training::{Progress, TrainingError, TrainingPlan, train};

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

/// What the flow is and how it is trained. Whatever is not given comes from the recipe.
#[derive(Debug, Args)]
#[command(next_help_heading = "Flow and optimiser (defaults come from the recipe)")]
struct FlowArgs {
    /// Settings to start from
    #[arg(long, value_enum, default_value_t = Recipe::Edge)]
    recipe: Recipe,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Images a step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Hidden channels of the subnets
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Kernel size of each coupling block, such as 3,3,3,5
    #[arg(long, value_name = "K,…", value_delimiter = ',')]
    kernels: Option<Vec<usize>>,
    /// Limit of the soft clamp on the log-scales
    #[arg(long, value_name = "LIMIT")]
    clamp: Option<f32>,
    /// Which published implementation's channel permutations the flow uses
    #[arg(long, value_enum)]
    permutation: Option<PermutationArg>,
    /// What happens to the features before the flow
    #[arg(long, value_enum)]
    transform: Option<TransformArg>,
    /// Step size of Adam
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// How the learning rate changes
    #[arg(long, value_enum)]
    schedule: Option<ScheduleArg>,
    /// Adam's β₁ and β₂; the paper has 0.5,0.9, the published code 0.9,0.999
    #[arg(long, value_name = "B1,B2", value_parser = betas)]
    betas: Option<[f64; 2]>,
    /// Adam's ε
    #[arg(long, value_name = "E")]
    epsilon: Option<f64>,
    /// L2 weight decay
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// Largest norm of a step's whole gradient
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
}

/// Named settings.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recipe {
    /// Small and fast to train on a CPU, for edge devices: what docs/training.md measures
    Edge,
    /// The settings of the published code: full width, raw features, no schedule, 240 epochs
    Published,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NormalisationArg {
    /// Mean and deviation of ImageNet, RGB
    Imagenet,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PermutationArg {
    /// The original code's
    NumpyLegacy,
    /// anomalib's
    NumpyPcg64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransformArg {
    /// None: raw features
    None,
    /// Mean 0 and deviation 1 a channel
    Standardise,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArg {
    /// The same at every step
    Constant,
    /// A short rise, then down to 0 along a half cosine
    Cosine,
}

/// A flow's shape and its training, without the data.
struct Defaults {
    hidden: usize,
    kernels: Vec<usize>,
    transform: TransformKind,
    settings: TrainingSettings,
}

impl Recipe {
    fn defaults(self, seed: u64) -> Defaults {
        match self {
            Self::Edge => Defaults {
                hidden: 64,
                kernels: vec![3; 4],
                transform: TransformKind::Standardise,
                settings: TrainingSettings {
                    epochs: 20,
                    batch: 16,
                    seed,
                    adam: AdamSettings {
                        learning_rate: 2e-3,
                        epsilon: 1e-6,
                        ..AdamSettings::default()
                    },
                    schedule: Schedule::Cosine,
                },
            },
            Self::Published => Defaults {
                hidden: 1024,
                kernels: vec![3, 3, 3, 5],
                transform: TransformKind::None,
                settings: TrainingSettings {
                    epochs: 240,
                    batch: 16,
                    seed,
                    adam: AdamSettings::default(),
                    schedule: Schedule::Constant,
                },
            },
        }
    }
}

impl TrainArgs {
    fn plan(self) -> anyhow::Result<TrainingPlan> {
        let Defaults {
            hidden,
            kernels,
            transform,
            mut settings,
        } = self.flow.recipe.defaults(self.seed);
        let flow = self.flow;
        settings.epochs = flow.epochs.unwrap_or(settings.epochs);
        settings.batch = flow.batch.unwrap_or(settings.batch);
        anyhow::ensure!(settings.epochs > 0, "--epochs must be at least 1");
        anyhow::ensure!(settings.batch > 0, "--batch must be at least 1");
        settings.schedule = match flow.schedule {
            None => settings.schedule,
            Some(ScheduleArg::Constant) => Schedule::Constant,
            Some(ScheduleArg::Cosine) => Schedule::Cosine,
        };
        let adam = &mut settings.adam;
        adam.learning_rate = flow.learning_rate.unwrap_or(adam.learning_rate);
        adam.betas = flow.betas.unwrap_or(adam.betas);
        adam.epsilon = flow.epsilon.unwrap_or(adam.epsilon);
        adam.weight_decay = flow.weight_decay.unwrap_or(adam.weight_decay);
        adam.clip_norm = flow.clip_norm.unwrap_or(adam.clip_norm);
        let name = match self.name {
            Some(name) => name,
            None => bundle_name(&self.out)?,
        };
        Ok(TrainingPlan {
            images: self.images,
            backbone: self.backbone,
            outputs: self.outputs,
            normalisation: self
                .normalisation
                .map(|NormalisationArg::Imagenet| Normalisation::IMAGENET),
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
            hidden: flow.hidden.unwrap_or(hidden),
            kernels: flow.kernels.unwrap_or(kernels),
            clamp: flow.clamp.unwrap_or(3.0),
            permutation: match flow.permutation {
                None => PermutationKind::default(),
                Some(PermutationArg::NumpyLegacy) => PermutationKind::NumpyLegacy,
                Some(PermutationArg::NumpyPcg64) => PermutationKind::NumpyPcg64,
            },
            transform: match flow.transform {
                None => transform,
                Some(TransformArg::None) => TransformKind::None,
                Some(TransformArg::Standardise) => TransformKind::Standardise,
            },
            settings,
            hold_out: self.hold_out,
            false_reject_rate: self.false_reject_rate,
            accept_achievable: self.accept_achievable,
            cache: match self.cache {
                Some(cache) => cache,
                None => default_cache()?,
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

/// `B1,B2`, each at least 0 and below 1.
fn betas(text: &str) -> Result<[f64; 2], String> {
    match numbers::<f64>(text)[..] {
        [first, second] if [first, second].iter().all(|beta| (0.0..1.0).contains(beta)) => {
            Ok([first, second])
        }
        _ => Err(format!(
            "`{text}` are not two numbers from 0 to below 1, such as 0.9,0.999"
        )),
    }
}

/// The numbers between commas; none where one of them is no number.
fn numbers<T: FromStr>(text: &str) -> Vec<T> {
    let numbers: Option<Vec<T>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    numbers.unwrap_or_default()
}

fn bundle_name(out: &Path) -> anyhow::Result<String> {
    let name = out
        .file_name()
        .with_context(|| format!("{} names no folder", out.display()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// `$XDG_CACHE_HOME/flawd`, or `~/.cache/flawd`.
fn default_cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => anyhow::bail!("no home folder to keep features in: give --cache DIR"),
    };
    Ok(base.join("flawd"))
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
        | TrainingError::ChooseOutput { .. }
        | TrainingError::NoNormalisation { .. }
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

/// Shows progress: on a terminal a line that changes, and everywhere a line an epoch.
struct Printer {
    line: ProgressLine,
    epoch_start: Instant,
}

impl Printer {
    fn new() -> Self {
        Self {
            line: ProgressLine::new(),
            epoch_start: Instant::now(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Skipped(image) => {
                self.line.line(&format!(
                    "skipped {}: {}",
                    image.path.display(),
                    image.reason
                ));
            }
            Progress::Features {
                done,
                total,
                cached,
            } => {
                let text = format!("features {done}/{total}, {cached} of them from the cache");
                if done == total {
                    self.line.line(&text)
                } else {
                    self.line.update(&text)
                }
            }
            Progress::Split {
                training,
                held_out,
                parameters,
            } => self.line.line(&format!(
                "{training} images train {parameters} parameters, {held_out} calibrate"
            )),
            Progress::Resumed(epochs) => {
                self.line.line(&format!(
                    "going on after {epochs} epochs of an interrupted run"
                ));
            }
            Progress::Step(step) => {
                let rate = step.step as f64 / self.epoch_start.elapsed().as_secs_f64();
                self.line.update(&format!(
                    "epoch {}  step {}/{}  loss {:.4}  {rate:.2} steps/s",
                    step.epoch, step.step, step.steps, step.loss
                ));
            }
            Progress::Epoch { report, of, left } => {
                self.line.line(&format!(
                    "epoch {}/{of}  loss {:.4}  rate {:.1e}  {:.0} s, {} left",
                    report.epoch,
                    report.loss,
                    report.learning_rate,
                    report.seconds,
                    minutes(*left)
                ));
                self.epoch_start = Instant::now();
            }
            Progress::Exported { difference } => self.line.line(&format!(
                "exported; its scores differ from the trainer's by {difference:.1e} at most"
            )),
            Progress::Calibrated(calibration) => {
                self.line
                    .line(&format!("calibrated on {} images", calibration.n()));
            }
        }
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
