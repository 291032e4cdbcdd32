//! `flawd backbone`: writes feature extractors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use flawd_core::normalisation::{ChannelOrder, Normalisation};
use flawd_import::TensorFile;
use flawd_onnx::efficientnet::{
    Architecture, EfficientNet, GraphOptions, Padding, Variant, output_name,
};
use flawd_onnx::filter_bank::{CHANNELS, filter_bank};

use super::failure::{Failure, Outcome};
use super::output::OutputFile;

/// Arguments of `flawd backbone`.
#[derive(Debug, Args)]
pub struct BackboneArgs {
    #[command(subcommand)]
    command: BackboneCommand,
}

#[derive(Debug, Subcommand)]
enum BackboneCommand {
    /// Write an EfficientNet, from weights saved by a deep-learning library
    Build(BuildArgs),
    /// Write flawd's own backbone, a fixed bank of filters that needs no download
    FilterBank {
        /// Where to write the ONNX file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// Weights from torchvision, efficientnet_pytorch or timm: a .safetensors or .pth file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// How each convolution pads its map with zeros
    #[arg(long, value_enum)]
    padding: PaddingArg,
    /// Where to write the ONNX file
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Expected architecture, efficientnet-b0 to efficientnet-b7; defaults to the one that the
    /// weights' shapes imply
    #[arg(long, value_name = "NAME")]
    arch: Option<Variant>,
    /// Stages whose features to output, 1 to 7, or 0 for the stem
    #[arg(
        long = "stage",
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "6",
        value_parser = stage
    )]
    stages: Vec<usize>,
    /// Image side for which the lukemelas padding is computed; defaults to the architecture's
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    resolution: Option<u16>,
    /// Value that batch norm adds to the variance; defaults to that of the weights' library
    #[arg(long, value_name = "NUMBER")]
    epsilon: Option<f32>,
    /// Mean and standard deviation for normalising the pixels
    #[arg(long, value_enum, default_value_t = PixelsArg::Imagenet)]
    pixels: PixelsArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaddingArg {
    /// Half the kernel on every side: torchvision and anomalib; timm's models without `tf_`
    Torchvision,
    /// TensorFlow's, computed once for the architecture's resolution: efficientnet_pytorch and the
    /// published CS-Flow
    Lukemelas,
    /// TensorFlow's, computed for the actual map: timm's models with `tf_`
    Tensorflow,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PixelsArg {
    /// ImageNet's, as nearly all weights expect
    Imagenet,
    /// From -1 to 1, as weights trained with AdvProp expect
    Inception,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the weights, with its exit code.
pub fn run(args: BackboneArgs) -> Outcome {
    match args.command {
        BackboneCommand::Build(args) => build(&args),
        BackboneCommand::FilterBank { out } => write_filter_bank(&out),
    }
}

fn build(args: &BuildArgs) -> Outcome {
    let file = OutputFile::create(&args.out)?;
    let weights = TensorFile::open(&args.weights).map_err(Failure::config)?;
    let tensors = weights.read_network().map_err(Failure::config)?;
    let network = EfficientNet::new(tensors, args.arch)
        .with_context(|| format!("cannot use {}", args.weights.display()))
        .map_err(Failure::config)?;
    let padding = args.padding(&network).map_err(Failure::usage)?;
    let options = GraphOptions {
        padding,
        epsilon: args.epsilon.unwrap_or_else(|| network.epsilon(padding)),
        stages: args.stages.clone(),
        normalisation: match args.pixels {
            PixelsArg::Imagenet => Normalisation::IMAGENET,
            PixelsArg::Inception => Normalisation {
                mean: [0.5; 3],
                std: [0.5; 3],
                channel_order: ChannelOrder::Rgb,
            },
        },
    };
    let graph = network.graph(&options).map_err(Failure::usage)?;
    file.write(&graph)?;

    let architecture = network.architecture();
    let variant = match architecture.variant() {
        Some(variant) => variant.to_string(),
        None => format!("an EfficientNet of {architecture}"),
    };
    println!(
        "{}: {variant}, names of {}, {padding}, epsilon {}",
        args.out.display(),
        network.naming(),
        options.epsilon
    );
    for &stage in &BTreeSet::from_iter(options.stages) {
        println!(
            "output {}: {} channels, {} pixels a cell",
            output_name(stage),
            architecture.channels(stage),
            Architecture::stride(stage)
        );
    }
    Ok(())
}

impl BuildArgs {
    fn padding(&self, network: &EfficientNet) -> anyhow::Result<Padding> {
        if self.resolution.is_some() && !matches!(self.padding, PaddingArg::Lukemelas) {
            bail!("--resolution goes with --padding lukemelas only");
        }
        match self.padding {
            PaddingArg::Torchvision => Ok(Padding::Symmetric),
            PaddingArg::Tensorflow => Ok(Padding::TensorFlow),
            PaddingArg::Lukemelas => {
                let architecture = network.architecture();
                let given = self.resolution.map(usize::from);
                let resolution = given.or(architecture.variant().map(Variant::resolution));
                let resolution = resolution.with_context(|| {
                    format!(
                        "the weights are those of an EfficientNet of {architecture}, which is \
                         none of efficientnet-b0 to b7, so the resolution that it is padded for is \
                         not known: give it with --resolution"
                    )
                })?;
                Ok(Padding::Same { resolution })
            }
        }
    }
}

/// Parses the number of a stage whose features are output.
fn stage(text: &str) -> Result<usize, String> {
    let known = text.parse().ok().filter(|stage| (0..=7).contains(stage));
    known.ok_or_else(|| format!("`{text}` is not a stage: 0 for the stem, or 1 to 7"))
}

fn write_filter_bank(out: &Path) -> Outcome {
    OutputFile::create(out)?.write(&filter_bank())?;
    println!(
        "{}: outputs features_s16 and features_s32, {CHANNELS} channels each",
        out.display()
    );
    Ok(())
}
