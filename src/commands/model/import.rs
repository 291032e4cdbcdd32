//! `flawd model import`: turns a published checkpoint into a model or, with held-out good images,
//! into a bundle.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use flawd_core::image::Size;
use flawd_core::manifest::Implementation;
use flawd_onnx::FeatureChoice;

use crate::bundle::Draft;
use crate::commands::args::features::{DepthArg, NormalisationArg};
use crate::commands::args::runtime::RuntimeArgs;
use crate::commands::failure::{Failure, Outcome};
use crate::commands::output::{Content, OutputFile};
use crate::commands::progress::ProgressLine;
use crate::commands::train::{MapArg, bundle_name};
use crate::commands::{PromiseArgs, SelectionArgs, StopFlag, ways_out, without_foreign_input};
use crate::lab::calibration::{CalibrationProgress, ThresholdError};
use crate::lab::dataset::{Images, images_in};
use crate::lab::import::{ImportError, ImportPlan, ImportedModel};
use crate::pictures::depth::{self, SetError};

/// Arguments of `flawd model import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Checkpoint: a state dict of the original code or of anomalib (.safetensors, .pth, .pt), or
    /// an anomalib checkpoint (.ckpt)
    checkpoint: PathBuf,
    /// Output: the bundle's folder or, without --calibrate, a model file FILE.onnx
    #[arg(long, value_name = "BUNDLE|FILE.onnx")]
    out: PathBuf,
    /// Folder of good images that did not train the checkpoint. They set the threshold, and turn
    /// the model into a bundle
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    promise: PromiseArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// ONNX file of the network whose features the flow was trained on, if the checkpoint does not
    /// contain it
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// Output of the backbone that the flow was trained on; repeat for several
    #[arg(long = "feature", value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Pixel values that the backbone expects, if its file does not say
    #[arg(long, value_enum)]
    normalisation: Option<NormalisationArg>,
    /// Size of the images that the flow was trained on, HxW. Defaults to the size stated in the
    /// checkpoint, else to 768x768 for the original code and 256x256 for anomalib
    #[arg(long, value_name = "HxW")]
    size: Option<Size>,
    #[command(flatten)]
    depth: DepthArg,
    /// Limit of the soft clamp on the log-scales. Defaults to the limit stated in the checkpoint,
    /// else to 3
    #[arg(long, value_name = "LIMIT")]
    clamp: Option<f32>,
    /// How the scales are combined into the anomaly map. Defaults to finest for the original code
    /// and to product for anomalib
    #[arg(long, value_enum)]
    map: Option<MapArg>,
    /// Name of the model; defaults to the name of --out
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code; nothing is written in that case.
pub(crate) fn run(args: ImportArgs) -> Outcome {
    let plan = ImportPlan {
        checkpoint: args.checkpoint.clone(),
        clamp: args.clamp,
        backbone: args.backbone.clone(),
        features: FeatureChoice {
            outputs: args.outputs.clone(),
            normalisation: args.normalisation.map(NormalisationArg::normalisation),
        },
        size: args.size,
        map: args.map.map(MapArg::kind),
        name: match &args.name {
            Some(name) => name.clone(),
            None if args.calibrate.is_some() => bundle_name(&args.out).map_err(Failure::usage)?,
            None => bundle_name(&args.out.with_extension("")).map_err(Failure::usage)?,
        },
    };
    match &args.calibrate {
        Some(images) => bundle(&args, &plan, images),
        None => model(&args, &plan),
    }
}

/// Writes the model alone.
fn model(args: &ImportArgs, plan: &ImportPlan) -> Outcome {
    if args
        .out
        .extension()
        .is_none_or(|extension| extension != "onnx")
    {
        return Err(Failure::usage(anyhow!(
            "a bundle takes held-out good images: give --calibrate DIR; or write the model alone, \
             to --out FILE.onnx"
        )));
    }
    let file = OutputFile::create(&args.out, Content::Onnx)?;
    let model = build(plan)?;
    file.write(model.bytes())?;
    println!("model      {}", args.out.display());
    println!(
        "no bundle  it has no threshold and no golden inputs, so flawd does not run it: give \
         --calibrate DIR with good images that did not train it"
    );
    Ok(())
}

/// Writes the model with a threshold.
fn bundle(args: &ImportArgs, plan: &ImportPlan, images: &Path) -> Outcome {
    let Images { paths, left_out } = images_in(images).map_err(Failure::usage)?;
    ProgressLine::new().left_out(&left_out);
    let found = paths.len();
    let promise = args.promise.promise();
    promise.check(found).map_err(ways_out)?;
    let runtime = crate::packages::runtime::load(args.runtime.onnxruntime.as_deref())
        .map_err(Failure::config)?;
    let draft = Draft::begin(&args.out)?;
    let stop = StopFlag::listen()?;
    let selection = args.selection.selection();
    let used: Vec<&Path> = paths
        .iter()
        .map(PathBuf::as_path)
        .filter(|path| !selection.leaves_out(path))
        .collect();
    let found_depth = depth::of_set(used.into_iter(), args.depth.depth, &mut |_, _| stop.check())
        .map_err(|error| match error {
        SetError::Interrupted(_) => Failure::from(error),
        error => Failure::usage(error),
    })?;
    if found_depth.is_worth_saying() {
        println!("depth      {found_depth}");
    }
    let model = build(plan)?;
    let mut progress = ProgressLine::new();
    let bundle = model.calibrate(
        draft,
        (paths, found_depth.depth),
        (&promise, &selection),
        runtime.with(&args.runtime.session_options()),
        &mut |of: CalibrationProgress<'_>| {
            progress.held_out(&of);
            stop.check()
        },
    );
    let (bundle, highest) = bundle.map_err(|error| match error {
        ImportError::Threshold(ThresholdError::Calibration(error)) => ways_out(error),
        ImportError::NotThere(error) => Failure::usage(error),
        error => error.into(),
    })?;
    progress.clear();
    let calibration = bundle.calibration();
    println!("bundle     {}", bundle.folder().display());
    println!(
        "images     {}, {} left out",
        calibration.n(),
        found - calibration.n()
    );
    println!("threshold  {}", calibration.threshold());
    println!("promise    {}", calibration.promise());
    println!("highest    {highest}");
    if let Some(warning) = without_foreign_input(bundle.has_foreign_input()) {
        println!("note       {warning}");
    }
    println!("provided   that the images did not train the checkpoint, which flawd cannot know");
    Ok(())
}

/// Builds the model, and prints what was found and which parts are not used.
fn build(plan: &ImportPlan) -> Result<ImportedModel, Failure> {
    let model = ImportedModel::build(plan).map_err(|error| match error {
        ImportError::Unreadable { .. } => Failure::from(error),
        error => Failure::config(error),
    })?;
    let flow = &model.flow;
    println!(
        "checkpoint {} of {}",
        model.import.file, model.import.implementation
    );
    println!(
        "flow       {} channels, {} hidden, kernels {:?}, clamp {}, {} parameters",
        flow.channels,
        flow.hidden,
        flow.kernels,
        flow.clamp,
        flow.layout().len
    );
    println!(
        "backbone   {}, {}",
        model.backbone.file,
        model.backbone.outputs.join(" + ")
    );
    println!("input      {} (height x width)", model.size);
    println!("map        {}", model.map);
    if let Some(key) = &model.differs {
        eprintln!(
            "note: the checkpoint has a second copy of its extractor, which differs in {key}; the \
             copy that runs in anomalib was taken"
        );
    }
    for (name, value) in &model.import.post_processor {
        println!("not used   {name} = {value}");
    }
    if model.import.implementation == Implementation::Anomalib {
        eprintln!(
            "note: anomalib's scores grow with the batch that the model was trained with, so \
             neither its thresholds nor those of other models hold here: only good images set one"
        );
    }
    Ok(model)
}
