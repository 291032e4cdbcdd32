//! `flawd model convert`: a bundle whose model computes in half precision.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::bundle::{Bundle, Draft};
use crate::commands::StopFlag;
use crate::commands::args::runtime::RuntimeArgs;
use crate::commands::failure::{Failure, Outcome};
use crate::commands::progress::ProgressLine;
use crate::lab::conversion::{ConversionError, Converted, convert};
use crate::lab::dataset::{Images, images_in};

/// Arguments of `flawd model convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Bundle to convert
    bundle: PathBuf,
    /// Where to write the new bundle
    out: PathBuf,
    /// Compute convolutions, and what lies between them, in half precision
    #[arg(long, required = true)]
    half: bool,
    /// Folder of images, such as those of the calibration, whose verdicts must not change
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, or which picture is judged differently, with its exit code; nothing is written.
pub(crate) fn run(args: ConvertArgs) -> Outcome {
    let paths = match &args.images {
        None => Vec::new(),
        Some(folder) => {
            let Images { paths, left_out } = images_in(folder).map_err(Failure::usage)?;
            ProgressLine::new().left_out(&left_out);
            paths
        }
    };
    let bundle = Bundle::open(&args.bundle).map_err(Failure::config)?;
    if same_place(&args) {
        return Err(Failure::usage(anyhow!(
            "{} is the bundle itself: write the new one to another place",
            args.out.display()
        )));
    }
    let runtime = crate::packages::runtime::load(args.runtime.onnxruntime.as_deref())
        .map_err(Failure::config)?;
    let draft = Draft::begin(&args.out)?;
    let stop = StopFlag::listen()?;
    let mut progress = ProgressLine::new();
    let options = args.runtime.session_options();
    let converted = convert(
        &bundle,
        draft,
        &paths,
        runtime.with(&options),
        &mut |done, total| {
            progress.checked("compared", done, total);
            stop.check()
        },
    );
    progress.clear();
    show(&converted.map_err(failure)?);
    Ok(())
}

/// Returns whether the new bundle would take the place of the old one.
fn same_place(args: &ConvertArgs) -> bool {
    let real = |path: &PathBuf| path.canonicalize().ok();
    real(&args.out).is_some_and(|out| Some(out) == real(&args.bundle))
}

fn show(converted: &Converted) {
    let Converted {
        bundle,
        count,
        largest,
        compared,
    } = converted;
    println!("bundle     {}", bundle.folder().display());
    println!("model      {}", bundle.manifest().model.digest);
    println!(
        "precision  half in {} operators, as it was in {}, changed by {} casts",
        count.half, count.other, count.casts
    );
    println!("compared   {compared} pictures: every verdict is the same");
    println!(
        "largest    {:.4} %: {} scores {} in single precision and {} in half",
        100.0 * largest.relative(),
        largest.picture,
        largest.single,
        largest.half
    );
}

/// A model that is judged unfit is no fault of the bundle.
fn failure(error: ConversionError) -> Failure {
    match error {
        ConversionError::Bundle(error) => Failure::config(error),
        error => error.into(),
    }
}
