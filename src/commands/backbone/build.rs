//! `flawd backbone build`: an EfficientNet, from weights that a library saved.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use flawd_core::normalisation::Normalisation;
use flawd_import::TensorFile;
use flawd_onnx::efficientnet::{EfficientNet, GraphOptions, Padding, Variant};

use super::super::failure::{Failure, Outcome};
use super::super::output::{Content, OutputFile};
use super::{describe, stage};

/// Arguments of `flawd backbone build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Weights from torchvision, efficientnet_pytorch, efficientnet_lite_pytorch or timm: a
    /// .safetensors or .pth file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// How each convolution pads its map with zeros
    #[arg(long, value_enum)]
    padding: PaddingArg,
    /// Where to write the ONNX file
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Expected architecture, efficientnet-b0 to efficientnet-b7 or efficientnet-lite0 to
    /// efficientnet-lite4; defaults to the one that the weights' shapes imply
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
    /// Output the features of flawd's filter bank too, as filters_s16 and filters_s32
    #[arg(long)]
    filters: bool,
    /// Image side for which the lukemelas padding is computed; defaults to the architecture's
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    resolution: Option<u16>,
    /// Value that batch norm adds to the variance; defaults to that of the weights' library
    #[arg(long, value_name = "NUMBER")]
    epsilon: Option<f32>,
    /// Mean and standard deviation for normalising the pixels; defaults to those that nearly all
    /// weights of the architecture expect
    #[arg(long, value_enum)]
    pixels: Option<PixelsArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaddingArg {
    /// Half the kernel on every side: torchvision and anomalib; timm's models without `tf_`
    Torchvision,
    /// TensorFlow's, computed once for the architecture's resolution: efficientnet_pytorch,
    /// efficientnet_lite_pytorch and the published CS-Flow
    Lukemelas,
    /// TensorFlow's, computed for the actual map: timm's models with `tf_`
    Tensorflow,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PixelsArg {
    /// ImageNet's, as nearly all weights of efficientnet-b0 to b7 expect
    Imagenet,
    /// From -1 to 1, as weights trained with AdvProp and timm's tf_efficientnet_lite expect
    Inception,
    /// From -127/128 to 1, as EfficientNet-Lite's authors trained it
    Lite,
}

impl PixelsArg {
    fn normalisation(self) -> Normalisation {
        match self {
            Self::Imagenet => Normalisation::IMAGENET,
            Self::Inception => Normalisation::INCEPTION,
            Self::Lite => Normalisation::LITE,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the weights, with its exit code.
pub(super) fn run(args: &BuildArgs) -> Outcome {
    let file = OutputFile::create(&args.out, Content::Onnx)?;
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
            Some(pixels) => pixels.normalisation(),
            None => network.normalisation(padding),
        },
        filters: args.filters,
    };
    let graph = network.graph(&options).map_err(Failure::usage)?;
    file.write(&graph)?;
    describe(&args.out, &network, &options);
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
                         none of the published ones, so the resolution that it is padded for is \
                         not known: give it with --resolution"
                    )
                })?;
                Ok(Padding::Same { resolution })
            }
        }
    }
}
