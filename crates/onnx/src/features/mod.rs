//! The first half of every exported graph: one image in, the raw features of three scales out.
//!
//! ```text
//! image u8 [1,H,W,3] ─ cast ─ NCHW ─ light ─ normalise ─┬──────────── backbone ─► [1,C,h,w]
//!                                                       ├─ [::2,::2] ─ backbone ─► [1,C,h/2,w/2]
//!                                                       └─ [::4,::4] ─ backbone ─► [1,C,h/4,w/4]
//! ```
//! The backbone's nodes are copied once per scale, its constants only once. The smaller images are
//! strided slices of the normalised one, as in the published code: no averaging. Several feature
//! outputs are averaged down to the coarsest grid among them and concatenated.

mod error;

use std::collections::{HashMap, HashSet};

use flawd_core::flow::SCALES;
use flawd_core::image::Size;
use flawd_core::light::LightNormalisation;
use flawd_core::normalisation::{ChannelOrder, Normalisation};

use crate::backbone::Backbone;
use crate::builder::{Dimension, ElementType, GraphBuilder, Value};
use crate::light::add_light;
use crate::shapes::infer;

pub use error::FeatureError;

/// The name of the image input, `uint8` `[1, H, W, 3]`, RGB.
pub(crate) const IMAGE: &str = "image";

/// What to take from a backbone.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// Size of the image; the other two scales are its half and its quarter.
    pub size: Size,
    /// Names of the backbone's outputs to use, at least one.
    pub outputs: Vec<String>,
    /// The normalisation that the backbone expects of its pixels.
    pub normalisation: Normalisation,
    /// The light that every image is brought to before; `None` if it is left as it is.
    pub light: Option<LightNormalisation>,
}

/// The feature maps that a [`FeatureSpec`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureShape {
    /// Channels of all chosen outputs together.
    pub channels: usize,
    /// Pixels per cell, in both directions.
    pub stride: usize,
    /// Height and width of each scale's map, finest first; each is half of the one before.
    pub maps: [Size; SCALES],
}

/// What is requested of a backbone; all of it is optional.
#[derive(Clone, Debug, Default)]
pub struct FeatureChoice {
    /// The outputs to use; if empty, those that the file names as its default, or the only one.
    pub outputs: Vec<String>,
    /// The normalisation that it expects of its pixels, if its file does not state it.
    pub normalisation: Option<Normalisation>,
}

impl FeatureChoice {
    /// Completes the choice from what `backbone` states.
    ///
    /// # Errors
    /// If there are several outputs, none was chosen, and the file names no default or a wrong one,
    /// or the normalisation is unknown.
    pub fn complete(&self, backbone: &Backbone, size: Size) -> Result<FeatureSpec, FeatureError> {
        let path = || backbone.path().to_owned();
        let outputs = match (&self.outputs[..], &backbone.outputs()[..]) {
            ([], [only]) => vec![(*only).to_owned()],
            ([], _) if !backbone.default_outputs().is_empty() => default_outputs(backbone)?,
            ([], several) => {
                return Err(FeatureError::ChooseOutput {
                    path: path(),
                    outputs: owned(several),
                });
            }
            (chosen, _) => chosen.to_vec(),
        };
        let normalisation = self.normalisation.or(backbone.normalisation());
        let normalisation =
            normalisation.ok_or_else(|| FeatureError::NoNormalisation { path: path() })?;
        Ok(FeatureSpec {
            size,
            outputs,
            normalisation,
            light: None,
        })
    }
}

impl FeatureSpec {
    /// Returns the maps that this gives with `backbone`, computed without running it.
    ///
    /// # Errors
    /// If an output does not exist or is not a map, or the size does not divide.
    pub fn shape(&self, backbone: &Backbone) -> Result<FeatureShape, FeatureError> {
        self.check_outputs(backbone)?;
        // The strides show at a size that every common stride divides; padding only adds a cell.
        let probe = Size::new(PROBE, PROBE);
        let stride = match output_maps(backbone, &self.outputs, probe) {
            Ok(maps) => {
                self.check_growth(backbone, &maps)?;
                self.check_strides(&maps, probe)?;
                maps.iter().map(|map| map.stride(probe)).max().unwrap_or(1)
            }
            // A model that was exported for one size says nothing about others.
            Err(_) => 1,
        };
        let unit = stride * COARSEST;
        let divides = |side: usize| side > 0 && side.is_multiple_of(unit);
        if !divides(self.size.height) || !divides(self.size.width) {
            return Err(FeatureError::SizeDoesNotDivide {
                size: self.size,
                unit,
                stride,
                nearest: nearest(self.size, unit),
            });
        }
        let mut maps = [self.size; SCALES];
        let mut channels = 0;
        for (scale, map) in maps.iter_mut().enumerate() {
            let size = Size::new(self.size.height >> scale, self.size.width >> scale);
            let outputs =
                output_maps(backbone, &self.outputs, size).map_err(|error| match error {
                    FeatureError::Shape(source) if scale > 0 => FeatureError::OneSize {
                        path: backbone.path().to_owned(),
                        size: self.size,
                        smaller: size,
                        source: Box::new(source),
                    },
                    error => error,
                })?;
            *map = coarsest(&self.outputs, &outputs)?.size;
            channels = outputs.iter().fold(0, |channels: usize, output| {
                channels.saturating_add(output.channels)
            });
        }
        let [fine, middle, coarse] = maps;
        let doubled = |size: Size| Size::new(2 * size.height, 2 * size.width);
        if doubled(coarse) != middle || doubled(middle) != fine || coarse.area() == 0 {
            let maps = maps.to_vec();
            return Err(FeatureError::MapsDoNotHalve {
                size: self.size,
                maps,
            });
        }
        Ok(FeatureShape {
            channels,
            stride: self.size.height / fine.height,
            maps,
        })
    }

    /// Checks that none of the maps, which are those of [`PROBE`], has the same grid for an image of
    /// half that size: a pooled one has no stride.
    fn check_growth(&self, backbone: &Backbone, maps: &[OutputMap]) -> Result<(), FeatureError> {
        let half = Size::new(PROBE / 2, PROBE / 2);
        let Ok(halves) = output_maps(backbone, &self.outputs, half) else {
            return Ok(());
        };
        let mut pairs = maps.iter().zip(&halves);
        match pairs.position(|(map, half)| map.size == half.size) {
            None => Ok(()),
            Some(place) => Err(FeatureError::Pooled {
                path: backbone.path().to_owned(),
                output: self.outputs[place].clone(),
                grid: maps[place].size,
            }),
        }
    }

    /// Checks that the largest stride is a multiple of all others: if it is not, no size has grids
    /// that nest, and none may be proposed.
    fn check_strides(&self, maps: &[OutputMap], probe: Size) -> Result<(), FeatureError> {
        let strides: Vec<usize> = maps.iter().map(|map| map.stride(probe)).collect();
        let largest = strides.iter().copied().max().unwrap_or(1);
        let place = |fits: &dyn Fn(usize) -> bool| strides.iter().position(|&stride| fits(stride));
        let coarse = place(&|stride| stride == largest);
        let fine = place(&|stride| !largest.is_multiple_of(stride));
        match (coarse, fine) {
            (Some(coarse), Some(fine)) => Err(FeatureError::GridsDoNotNest {
                coarse: self.outputs[coarse].clone(),
                fine: self.outputs[fine].clone(),
            }),
            _ => Ok(()),
        }
    }

    fn check_outputs(&self, backbone: &Backbone) -> Result<(), FeatureError> {
        let outputs = backbone.outputs();
        if self.outputs.is_empty() {
            return Err(FeatureError::NoOutput {
                available: owned(&outputs),
            });
        }
        let path = backbone.path().to_owned();
        match first_mistake(&self.outputs, &outputs) {
            None => Ok(()),
            Some((name, Mistake::Unknown)) => Err(FeatureError::UnknownOutput {
                path,
                asked: name.to_owned(),
                available: owned(&outputs),
            }),
            Some((name, Mistake::Repeated)) => Err(FeatureError::Repeated {
                path,
                output: name.to_owned(),
            }),
        }
    }
}

/// Returns the outputs that the file names as its default.
fn default_outputs(backbone: &Backbone) -> Result<Vec<String>, FeatureError> {
    let (named, outputs) = (backbone.default_outputs(), backbone.outputs());
    match first_mistake(named, &outputs) {
        None => Ok(named.to_vec()),
        Some((name, mistake)) => Err(FeatureError::Default {
            path: backbone.path().to_owned(),
            output: name.to_owned(),
            mistake: match mistake {
                Mistake::Unknown => "not one of its outputs",
                Mistake::Repeated => "named twice",
            },
            available: owned(&outputs),
        }),
    }
}

/// What can be wrong with the name of an output.
enum Mistake {
    /// There is no such output.
    Unknown,
    /// It is among the names before it. Its features would count twice.
    Repeated,
}

/// Returns the first of the names that cannot be used.
fn first_mistake<'a>(names: &'a [String], outputs: &[&str]) -> Option<(&'a str, Mistake)> {
    let outputs: HashSet<&str> = outputs.iter().copied().collect();
    let mut seen = HashSet::new();
    names.iter().map(String::as_str).find_map(|name| {
        match (outputs.contains(name), seen.insert(name)) {
            (false, _) => Some((name, Mistake::Unknown)),
            (true, false) => Some((name, Mistake::Repeated)),
            (true, true) => None,
        }
    })
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// How much smaller than the image the coarsest of the three scales is.
const COARSEST: usize = 1 << (SCALES - 1);

/// 2 · lcm(1..=16): every stride up to 16, and every power of two up to 32, divides it.
const PROBE: usize = 1_441_440;

/// Channels and grid of one backbone output.
struct OutputMap {
    channels: usize,
    size: Size,
}

impl OutputMap {
    /// Returns the image pixels per cell, the larger of the two directions.
    fn stride(&self, image: Size) -> usize {
        let along =
            |pixels: usize, cells: usize| (pixels as f64 / cells.max(1) as f64).round() as usize;
        let stride = along(image.height, self.size.height).max(along(image.width, self.size.width));
        // A map may be larger than the image.
        stride.max(1)
    }
}

fn output_maps(
    backbone: &Backbone,
    outputs: &[String],
    image: Size,
) -> Result<Vec<OutputMap>, FeatureError> {
    let nodes = backbone.nodes_behind(outputs);
    let shape = [1, 3, image.height, image.width];
    let shapes = infer(&nodes, &backbone.constants(), backbone.input(), &shape)?;
    let map = |output: &String| match shapes.get(output.as_str()).map(Vec::as_slice) {
        Some(&[1, channels, height, width]) if channels > 0 => Ok(OutputMap {
            channels,
            size: Size::new(height, width),
        }),
        other => Err(FeatureError::NotAMap {
            path: backbone.path().to_owned(),
            output: output.clone(),
            shape: other.unwrap_or_default().to_vec(),
        }),
    };
    outputs.iter().map(map).collect()
}

/// Returns the coarsest of several grids, after checking that all others nest in it.
fn coarsest<'a>(names: &[String], maps: &'a [OutputMap]) -> Result<&'a OutputMap, FeatureError> {
    let (place, coarse) = maps
        .iter()
        .enumerate()
        .min_by_key(|(_, map)| map.size.area())
        .expect("at least one output was checked to be chosen");
    match maps
        .iter()
        .position(|map| ratio(map.size, coarse.size).is_none())
    {
        None => Ok(coarse),
        Some(fine) => Err(FeatureError::GridsDoNotNest {
            coarse: names[place].clone(),
            fine: names[fine].clone(),
        }),
    }
}

/// Returns how many cells of `fine` make one of `coarse` along each side.
fn ratio(fine: Size, coarse: Size) -> Option<usize> {
    let ratio = fine.height.checked_div(coarse.height)?;
    let nests = Size::new(coarse.height * ratio, coarse.width * ratio) == fine;
    (nests && ratio > 0).then_some(ratio)
}

/// Returns the divisible sizes next to `size`: both sides rounded down and both rounded up.
fn nearest(size: Size, unit: usize) -> Vec<Size> {
    let down = |side: usize| (side / unit * unit).max(unit);
    let up = |side: usize| side.div_ceil(unit).max(1).saturating_mul(unit);
    let mut sizes = vec![
        Size::new(down(size.height), down(size.width)),
        Size::new(up(size.height), up(size.width)),
    ];
    sizes.dedup();
    sizes
}

/// Adds the graph from [`IMAGE`] to the features of each scale, `[1, channels, h, w]`.
pub(crate) fn add_features(
    builder: &mut GraphBuilder,
    backbone: &Backbone,
    spec: &FeatureSpec,
) -> Result<[Value; SCALES], FeatureError> {
    let full = normalised_image(builder, spec);
    let half = builder.every("image.half", &full, 2);
    let quarter = builder.every("image.quarter", &full, 4);
    let images = [full, half, quarter];

    let grids = output_maps(backbone, &spec.outputs, spec.size)?;
    let coarse = coarsest(&spec.outputs, &grids)?.size;
    // The ratios between the grids are the same at every scale, because all maps halve.
    let ratios: Option<Vec<usize>> = grids.iter().map(|grid| ratio(grid.size, coarse)).collect();
    let ratios = ratios.expect("the grids were found to nest");

    let copier = Copier::new(builder, backbone, &spec.outputs);
    Ok(std::array::from_fn(|scale| {
        let outputs = copier.copy(builder, scale, &images[scale]);
        let name = format!("features.{scale}");
        let pooled: Vec<Value> = outputs
            .into_iter()
            .zip(&ratios)
            .map(|(value, &ratio)| match ratio {
                1 => value,
                _ => builder.average_pool(&format!("{name}.pooled"), &value, ratio),
            })
            .collect();
        match &pooled[..] {
            [only] => only.clone(),
            several => builder.concat(&name, several, 1),
        }
    }))
}

fn normalised_image(builder: &mut GraphBuilder, spec: &FeatureSpec) -> Value {
    let Size { height, width } = spec.size;
    let shape = [1, height, width, 3].map(Dimension::Fixed);
    let bytes = builder.input(IMAGE, ElementType::Uint8, &shape);
    let floats = builder.cast_to_float("image.float", &bytes);
    let mut planes = builder.transpose("image.nchw", &floats, &[0, 3, 1, 2]);
    if let Some(light) = spec.light {
        planes = add_light(builder, &planes, spec.size, light);
    }
    if spec.normalisation.channel_order == ChannelOrder::Bgr {
        planes = builder.gather("image.bgr", &planes, &[2, 1, 0], 1);
    }
    // (b / 255 - mean) / std, as one multiplication and one addition.
    let Normalisation { mean, std, .. } = spec.normalisation;
    let gain: [f32; 3] = std::array::from_fn(|c| (1.0 / (255.0 * f64::from(std[c]))) as f32);
    let offset: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
    let gain = builder.floats("image.gain", &[1, 3, 1, 1], &gain);
    let offset = builder.floats("image.offset", &[1, 3, 1, 1], &offset);
    let scaled = builder.multiply("image.scaled", &planes, &gain);
    builder.add("image.normalised", &scaled, &offset)
}

/// Copies the part of a backbone that some outputs need, once per scale.
struct Copier<'a> {
    backbone: &'a Backbone,
    outputs: &'a [String],
    /// The constants in the new graph, which all copies share, by their names in the old one.
    constants: HashMap<&'a str, Value>,
}

impl<'a> Copier<'a> {
    fn new(builder: &mut GraphBuilder, backbone: &'a Backbone, outputs: &'a [String]) -> Self {
        let nodes = backbone.nodes_behind(outputs);
        let used: HashSet<&str> = nodes
            .iter()
            .flat_map(|node| &node.input)
            .map(String::as_str)
            .collect();
        let mut constants: Vec<_> = backbone.constants().into_iter().collect();
        constants.retain(|(name, _)| used.contains(name));
        // The same model must give the same file, so the order is fixed.
        constants.sort_by_key(|(name, _)| *name);
        let constants = constants
            .into_iter()
            .map(|(name, tensor)| {
                let copied = builder.copied_constant(&format!("backbone/{name}"), tensor.clone());
                (name, copied)
            })
            .collect();
        builder.require_ir_version(backbone.ir_version());
        Self {
            backbone,
            outputs,
            constants,
        }
    }

    /// Adds the copy for `scale`, which reads `image`; returns the values of the outputs.
    fn copy(&self, builder: &mut GraphBuilder, scale: usize, image: &Value) -> Vec<Value> {
        let renamed = |name: &str| match self.constants.get(name) {
            _ if name.is_empty() => String::new(),
            _ if name == self.backbone.input() => image.name().to_owned(),
            Some(constant) => constant.name().to_owned(),
            None => format!("scale{scale}/{name}"),
        };
        for node in self.backbone.nodes_behind(self.outputs) {
            let mut node = node.clone();
            for name in node.input.iter_mut().chain(&mut node.output) {
                *name = renamed(name);
            }
            node.name = node.name.map(|name| format!("scale{scale}/{name}"));
            builder.copied_node(node);
        }
        let value = |name: &String| builder.copied_value(renamed(name));
        self.outputs.iter().map(value).collect()
    }
}
