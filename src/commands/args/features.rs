//! Arguments that say where features come from: backbone, size, and the part of each picture to
//! use.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use flawd_core::depth::Depth;
use flawd_core::image::Size;
use flawd_core::light::LightNormalisation;
use flawd_core::normalisation::Normalisation;
use flawd_core::preprocess::{Flip, Geometry, RegionOfInterest, Rotation};
use flawd_onnx::FeatureChoice;

use crate::commands::args::flow::FlowArgs;
use crate::commands::failure::Failure;
use crate::commands::numbers;
use crate::files::cache;
use crate::lab::features::{FeaturePlan, FeaturesError, LightPlan};
use crate::lab::package::{check_fetched, fetched};

/// What features depend on, apart from the image.
#[derive(Debug, Args)]
pub(crate) struct FeatureArgs {
    /// ONNX file that computes feature maps; defaults to what `flawd backbone fetch lite0` has
    /// fetched, else to flawd's own filter bank
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// Output of the backbone to use; repeat for several. Required if FILE has several
    #[arg(long = "feature", value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Size of the network's input, HxW; multiples of four times the backbone's stride
    #[arg(long, value_name = "HxW", default_value = "384x384")]
    size: Size,
    /// Pixel values that the backbone expects, if its file does not say
    #[arg(long, value_enum)]
    normalisation: Option<NormalisationArg>,
    /// Part of each picture to inspect, in pixels; the daemon uses the same part
    #[arg(long, value_name = "LEFT,TOP,WIDTH,HEIGHT", value_parser = region)]
    region: Option<RegionOfInterest>,
    /// Rotate each picture clockwise by 0, 90, 180 or 270 degrees, after the region is cut out
    #[arg(long, value_name = "DEGREES", default_value = "0", value_parser = rotation)]
    rotate: Rotation,
    /// Mirror each picture, as the last step
    #[arg(long, value_enum, default_value_t = FlipArg::None)]
    flip: FlipArg,
    /// Multiply the grey levels of each picture so that it is as bright as the training pictures,
    /// by this much at most; `none` leaves it as it was taken. Part of the model, so the daemon does
    /// the same. Defaults to 25%, with the preset `published` to none
    #[arg(long, value_name = "SHARE%", value_parser = light)]
    light: Option<LightArg>,
    #[command(flatten)]
    depth: DepthArg,
    #[command(flatten)]
    cache: CacheFolderArgs,
}

/// What is known about pictures of more than 8 bits; shared by the commands that make bundles.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DepthArg {
    /// Bits per channel that the camera delivers, 8 to 16, for 16-bit files that do not state it.
    /// If unset, it is derived from their highest value. Stored in the bundle
    #[arg(long, value_name = "BITS", value_parser = depth)]
    pub(crate) depth: Option<Depth>,
}

/// Where work is kept, so that it can be reused or resumed.
#[derive(Clone, Debug, Args)]
pub(crate) struct CacheFolderArgs {
    /// Folder for features and unfinished work, so that they can be reused or resumed; defaults to
    /// the user's cache (`flawd cache` lists and clears it)
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NormalisationArg {
    /// Mean and standard deviation of ImageNet, RGB
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
    /// Swap left and right
    Horizontal,
    /// Swap top and bottom
    Vertical,
}

impl FeatureArgs {
    /// Returns the plan.
    ///
    /// # Errors
    /// If the network that was fetched cannot be used, or no cache folder can be determined.
    pub(crate) fn plan(self, flow: &FlowArgs) -> Result<FeaturePlan, Failure> {
        let backbone = match self.backbone {
            Some(named) => Some(named),
            None => default_backbone()?,
        };
        Ok(FeaturePlan {
            backbone,
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
            light: match self.light {
                Some(light) => light.0,
                None if flow.is_published() => LightPlan::AsTaken,
                None => LightPlan::OfTraining {
                    limit: LightNormalisation::LIMIT,
                },
            },
            cache: self.cache.folder().map_err(Failure::usage)?,
        })
    }
}

/// Returns the network that was fetched; `None` if the filter bank takes its place, which is said.
fn default_backbone() -> Result<Option<PathBuf>, Failure> {
    let Some(path) = fetched() else {
        eprintln!(
            "note: features are those of the filter bank; `flawd backbone fetch lite0` brings a \
             trained network, which is then used and finds more on most parts (docs/detection.md)"
        );
        return Ok(None);
    };
    if let Some(outdated) = check_fetched(&path).map_err(Failure::config)? {
        eprintln!("note: {outdated}");
    }
    Ok(Some(path))
}

impl CacheFolderArgs {
    /// Returns the given folder, or the user's.
    ///
    /// # Errors
    /// If there is neither.
    pub(crate) fn folder(self) -> anyhow::Result<PathBuf> {
        cache_folder(self.cache)
    }
}

/// Returns the given folder, or the user's.
///
/// # Errors
/// If there is neither.
pub(crate) fn cache_folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    given
        .or_else(cache::folder)
        .context("no home folder to keep features in: give --cache DIR")
}

/// Returns the failure with the exit code that fits its cause.
pub(crate) fn failure(error: FeaturesError) -> Failure {
    match error {
        FeaturesError::Backbone(_) | FeaturesError::Outputs(_) | FeaturesError::Graph(_) => {
            Failure::config(error)
        }
        error => error.into(),
    }
}

/// How pictures are brought to one light.
#[derive(Clone, Copy, Debug)]
struct LightArg(LightPlan);

/// Parses `none`, or a share such as `25%`.
fn light(text: &str) -> Result<LightArg, String> {
    if text == "none" {
        return Ok(LightArg(LightPlan::AsTaken));
    }
    let share: Option<f32> = text.strip_suffix('%').and_then(|text| text.parse().ok());
    match share {
        Some(share) if share > 0.0 && share <= 100.0 => Ok(LightArg(LightPlan::OfTraining {
            limit: 1.0 + share / 100.0,
        })),
        _ => Err(format!(
            "`{text}` is neither `none` nor a share above 0% up to 100%, such as 25%"
        )),
    }
}

/// Parses a number of bits.
fn depth(text: &str) -> Result<Depth, String> {
    let bits: u8 = (text.parse()).map_err(|_| format!("`{text}` is not a number of bits"))?;
    Depth::try_from(bits).map_err(|error| error.to_string())
}

/// Parses `LEFT,TOP,WIDTH,HEIGHT`.
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

/// Parses a number of degrees.
fn rotation(text: &str) -> Result<Rotation, String> {
    let degrees: u16 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of degrees"))?;
    Rotation::try_from(degrees).map_err(|error| error.to_string())
}
