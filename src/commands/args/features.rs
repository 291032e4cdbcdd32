//! Where features come from, as arguments: backbone, size, and what is cut out of each picture.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::depth::Depth;
use flawd_core::image::Size;
use flawd_core::normalisation::Normalisation;
use flawd_core::preprocess::{Flip, Geometry, RegionOfInterest, Rotation};
use flawd_onnx::FeatureChoice;

use crate::commands::failure::Failure;
use crate::commands::numbers;
use crate::files::cache;
use crate::lab::features::{FeaturePlan, FeaturesError};

/// What features depend on, besides the image.
#[derive(Debug, Args)]
pub(crate) struct FeatureArgs {
    /// ONNX file that computes feature maps; flawd's own filter bank where none is given
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// Output of the backbone to use; repeat for several. Needed where a FILE has several
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
    region: Option<RegionOfInterest>,
    /// Turn each picture clockwise by 0, 90, 180 or 270 degrees, after the region is cut out
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = rotation)]
    rotate: Rotation,
    /// Mirror each picture, last of all
    #[arg(long, value_enum, default_value_t = FlipArg::None)]
    flip: FlipArg,
    #[command(flatten)]
    depth: DepthArg,
    #[command(flatten)]
    cache: CacheFolderArgs,
}

/// What is known of pictures of more than 8 bits; shared by the commands that make bundles.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DepthArg {
    /// Bits that the camera gives where its pictures have 16 a channel and do not say it, 8 to 16. If
    /// unset, their highest value shows it. The bundle keeps it
    #[arg(long, value_name = "BITS", value_parser = depth)]
    pub(crate) depth: Option<Depth>,
}

/// Where work is kept, so that a second run or an interrupted one goes on.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheFolderArgs {
    /// Where features and unfinished work are kept, so that a second run or an interrupted one
    /// goes on; the user's cache if unset (`flawd cache` lists and clears it)
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NormalisationArg {
    /// Mean and deviation of ImageNet, RGB
    Imagenet,
}

impl NormalisationArg {
    pub(crate) fn normalisation(self) -> Normalisation {
        match self {
            Self::Imagenet => Normalisation::IMAGENET,
        }
    }
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

impl FeatureArgs {
    /// The plan.
    ///
    /// # Errors
    /// If there is no place for the cache.
    pub(crate) fn plan(self) -> anyhow::Result<FeaturePlan> {
        Ok(FeaturePlan {
            backbone: self.backbone,
            choice: FeatureChoice {
                outputs: self.outputs,
                normalisation: self.normalisation.map(NormalisationArg::normalisation),
            },
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
            depth: self.depth.depth,
            cache: self.cache.folder()?,
        })
    }
}

impl CacheFolderArgs {
    /// The folder given, or the user's.
    ///
    /// # Errors
    /// If there is neither.
    pub(crate) fn folder(self) -> anyhow::Result<PathBuf> {
        cache_folder(self.cache)
    }
}

/// The folder given, or the user's.
///
/// # Errors
/// If there is neither.
pub(crate) fn cache_folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    given
        .or_else(cache::folder)
        .context("no home folder to keep features in: give --cache DIR")
}

/// The exit code that a failure to get features deserves.
pub(crate) fn failure(error: FeaturesError) -> Failure {
    match error {
        FeaturesError::Backbone(_) | FeaturesError::Outputs(_) | FeaturesError::Graph(_) => {
            Failure::config(error)
        }
        error => error.into(),
    }
}

/// A number of bits.
fn depth(text: &str) -> Result<Depth, String> {
    let bits: u8 = (text.parse()).map_err(|_| format!("`{text}` is not a number of bits"))?;
    Depth::try_from(bits).map_err(|error| error.to_string())
}

/// `LEFT,TOP,WIDTH,HEIGHT`.
fn region(text: &str) -> Result<RegionOfInterest, String> {
    match numbers::<usize>(text)[..] {
        [left, top, width, height] if width > 0 && height > 0 => Ok(RegionOfInterest {
            left,
            top,
            width,
            height,
        }),
        _ => Err(format!(
            "`{text}` is not a region: four whole numbers such as 320,40,640,480"
        )),
    }
}

/// A number of degrees.
fn rotation(text: &str) -> Result<Rotation, String> {
    let degrees: u16 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of degrees"))?;
    Rotation::try_from(degrees).map_err(|error| error.to_string())
}
