//! `flawd model`: inspects and verifies bundles, imports checkpoints, builds engines.

pub(crate) mod engine;
pub(crate) mod import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use super::open;
use crate::bundle::{Bundle, stress};

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
    /// Build TensorRT engines for this machine ahead of time, which takes minutes
    Engine(engine::EngineArgs),
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the bundle, with its exit code.
pub fn run(args: ModelArgs) -> Outcome {
    match args.command {
        ModelCommand::Inspect { bundle } => inspect(&bundle),
        ModelCommand::Verify { bundle, runtime } => verify(&bundle, &runtime),
        ModelCommand::Import(args) => import::run(args),
        ModelCommand::Engine(args) => engine::run(args),
    }
}

fn inspect(bundle: &Path) -> Outcome {
    let bundle = Bundle::open(bundle).map_err(Failure::config)?;
    let manifest = bundle.manifest();
    let row = |name: &str, value: &dyn std::fmt::Display| println!("{name:<13} {value}");
    row("bundle", &format!("{} {}", manifest.name, manifest.version));
    row("created", &manifest.created);
    row("model", &manifest.model.digest);
    row(
        "input",
        &format!("{} (height x width)", manifest.model.input),
    );
    if let Some(depth) = manifest.model.depth {
        row("depth", &format!("{depth}, of files that do not say it"));
    }
    row("map", &manifest.model.map);
    row(
        "backbone",
        &format!(
            "{}, {}, {}",
            manifest.backbone.file,
            manifest.backbone.outputs.join(" + "),
            manifest.backbone.digest
        ),
    );
    row(
        "flow",
        &format!(
            "{} channels, {} hidden, kernels {:?}, {} parameters",
            manifest.flow.channels,
            manifest.flow.hidden,
            manifest.flow.kernels,
            manifest.flow.layout().len
        ),
    );
    if let Some(training) = &manifest.training {
        row(
            "training",
            &format!(
                "{} images, {} epochs, seed {}, transform {}, final loss {:.4}",
                training.images,
                training.epochs,
                training.seed,
                training.transform,
                training.final_loss
            ),
        );
        row("data", &training.data);
    }
    if let Some(import) = &manifest.import {
        row(
            "imported",
            &format!(
                "{} of {}, {}; images and settings of the training unknown",
                import.file, import.implementation, import.digest
            ),
        );
        for (name, value) in &import.post_processor {
            row("not used", &format!("{name} = {value}"));
        }
    }
    row("threshold", &manifest.calibration.threshold());
    row("calibration", &manifest.calibration.method());
    row("promise", &manifest.calibration.promise());
    if let Some(pixel) = &manifest.pixel {
        row(
            "regions",
            &format!("above {}; {}", pixel.threshold(), pixel.promise()),
        );
    }
    for name in &manifest.selection.excluded {
        row("left out", &format!("{name}, by hand"));
    }
    for picture in &manifest.selection.accepted {
        row("accepted", &format!("by hand: {picture}"));
    }
    if let Some(quality) = &manifest.quality {
        let limits = &quality.limits;
        row(
            "pictures",
            &format!(
                "mean luma {:.1} to {:.1}, sharpness from {:.2}; from {} good images",
                limits.brightness_min, limits.brightness_max, limits.sharpness_min, quality.n
            ),
        );
    }
    if let Some(metrics) = &manifest.metrics {
        row(
            "metrics",
            &format!(
                "image AUROC {:.4}, AP {:.4}, F1-max {:.4} on {} good and {} defect images; false \
                 rejects {:.1} %, escapes {:.1} %",
                metrics.image_auroc,
                metrics.image_ap,
                metrics.f1_max,
                metrics.good,
                metrics.defect,
                100.0 * metrics.false_reject_rate,
                100.0 * metrics.escape_rate
            ),
        );
    }
    row("golden", &format!("{} inputs", manifest.golden.len()));
    Ok(())
}

fn verify(bundle: &Path, runtime: &RuntimeArgs) -> Outcome {
    let (bundle, mut scorer) = open(bundle, runtime)?;
    println!("digests  ok");
    let reproduced = scorer.self_test(&bundle).map_err(Failure::config)?;
    for golden in reproduced {
        println!(
            "golden   {}: {} here, {} where it was calibrated",
            golden.golden.file, golden.score, golden.golden.score
        );
    }
    stress::check(&mut scorer).map_err(Failure::config)?;
    println!("stress   ok: black, white and noise have finite scores");
    println!("ok on {}", scorer.provider());
    Ok(())
}
