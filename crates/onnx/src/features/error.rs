//! Why features cannot be given as requested.

use std::path::PathBuf;

use flawd_core::image::Size;

use crate::names::{list, shown};
use crate::shapes::ShapeError;

/// Why features cannot be given as requested.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FeatureError {
    /// The backbone has several outputs and none was chosen.
    #[error(
        "the backbone {} has the outputs {}: choose with --feature", path.display(),
        list(outputs)
    )]
    ChooseOutput {
        /// The backbone's file.
        path: PathBuf,
        /// The outputs it has.
        outputs: Vec<String>,
    },
    /// The backbone's file does not state the normalisation of its pixels.
    #[error(
        "the backbone {} does not say how its input is normalised: give --normalisation imagenet, \
         or write the properties mean and std into its metadata", path.display()
    )]
    NoNormalisation {
        /// The backbone's file.
        path: PathBuf,
    },
    /// The file's own default cannot be used.
    #[error(
        "the property default_outputs of the backbone {} names `{}`, which is {mistake}: choose \
         with --feature from {}, or make the file again", path.display(), shown(output),
        list(available)
    )]
    Default {
        /// The backbone's file.
        path: PathBuf,
        /// The first name that cannot be used.
        output: String,
        /// What is wrong with it.
        mistake: &'static str,
        /// The available outputs.
        available: Vec<String>,
    },
    /// No output was named.
    #[error("no backbone output was chosen; the backbone has {}", list(available))]
    NoOutput {
        /// The available outputs.
        available: Vec<String>,
    },
    /// A name that the backbone does not have.
    #[error(
        "the backbone {} has no output `{}`; it has {}", path.display(), shown(asked),
        list(available)
    )]
    UnknownOutput {
        /// The backbone's file.
        path: PathBuf,
        /// The name.
        asked: String,
        /// The available outputs.
        available: Vec<String>,
    },
    /// A name that was given twice.
    #[error(
        "the output `{}` of the backbone {} is chosen more than once: name each once", shown(output),
        path.display()
    )]
    Repeated {
        /// The backbone's file.
        path: PathBuf,
        /// The name.
        output: String,
    },
    /// An output that is not a feature map.
    #[error(
        "the output `{}` of the backbone {} has shape {shape:?}, and a map [1, channels, h, w] is \
         needed: choose another with --feature, or export an earlier layer", shown(output),
        path.display()
    )]
    NotAMap {
        /// The backbone's file.
        path: PathBuf,
        /// The output.
        output: String,
        /// Its shape for one image.
        shape: Vec<usize>,
    },
    /// An output whose grid is not one of the image.
    #[error(
        "the output `{}` of the backbone {} has {grid} cells whatever the size of the picture, and a \
         map that grows with the picture is needed: choose another with --feature, or export the \
         layer before the pooling", shown(output), path.display()
    )]
    Pooled {
        /// The backbone's file.
        path: PathBuf,
        /// The output.
        output: String,
        /// Its grid.
        grid: Size,
    },
    /// The grids of several outputs do not nest.
    #[error(
        "the grids of the chosen outputs do not nest: one cell of `{}` is not a whole square of \
         cells of `{}`; choose outputs whose strides divide each other, with --feature",
        shown(coarse),
        shown(fine)
    )]
    GridsDoNotNest {
        /// The output with the coarser grid.
        coarse: String,
        /// The other one.
        fine: String,
    },
    /// The three scales do not divide the size evenly.
    #[error(
        "{size} does not divide: both sides must be multiples of {unit} (the backbone's stride \
         {stride}, four times). The nearest sizes are {}",
        join(nearest)
    )]
    SizeDoesNotDivide {
        /// The size asked for.
        size: Size,
        /// What both sides must be multiples of.
        unit: usize,
        /// The backbone's stride.
        stride: usize,
        /// Sizes that work.
        nearest: Vec<Size>,
    },
    /// The maps do not halve although the size divides.
    #[error(
        "the feature maps of {size}, its half and its quarter are {}, and each must be half of the \
         one before: the backbone's padding does not suit a flow across scales",
        join(maps)
    )]
    MapsDoNotHalve {
        /// The size asked for.
        size: Size,
        /// The map of each scale.
        maps: Vec<Size>,
    },
    /// The backbone accepts the size, but not the smaller ones that a flow across scales needs too.
    #[error(
        "the backbone {} takes {size}, and not {smaller}, which the flow's smaller scales need too: \
         export it for any height and width; a network that takes one size alone, as most vision \
         transformers do, cannot serve", path.display()
    )]
    OneSize {
        /// The backbone's file.
        path: PathBuf,
        /// The size asked for.
        size: Size,
        /// Its half or its quarter.
        smaller: Size,
        /// Where it does not fit.
        source: Box<ShapeError>,
    },
    /// The shape of the features cannot be determined.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

fn join(sizes: &[Size]) -> String {
    let texts: Vec<String> = sizes.iter().map(Size::to_string).collect();
    texts.join(", ")
}
