//! What an EfficientNet is, as plain data: the widths and depths of its stages, and so the size of
//! every convolution. It knows nothing about tensor names in files, padding, or ONNX.
//!
//! ```text
//! image ─ stem ─ stage 1 ─ stage 2 ─ … ─ stage 7 ─ (head)
//!         3x3,2  k3, 1     k3, 2         k3, 1
//! block:  [expand 1x1] ─ depthwise k×k ─ [squeeze and excite] ─ project 1x1 ─ (+ input)
//! ```
//! Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
//! 2019: table 1, and the scaling of width and depth in its published code. EfficientNet-Lite is
//! from the same code's folder `lite`, and has no paper.

use std::fmt;

/// The number of stages.
pub const STAGES: usize = 7;

/// What every EfficientNet has in common at a stage.
struct StageLayout {
    kernel: usize,
    stride: usize,
    /// The inner width of a block, as a multiple of its input's.
    expansion: usize,
    /// Channels and blocks at width 1 and depth 1.
    channels: usize,
    repeats: usize,
}

/// Table 1 of the paper, from stage 1 on.
#[rustfmt::skip]
const LAYOUT: [StageLayout; STAGES] = [
    StageLayout { kernel: 3, stride: 1, expansion: 1, channels: 16,  repeats: 1 },
    StageLayout { kernel: 3, stride: 2, expansion: 6, channels: 24,  repeats: 2 },
    StageLayout { kernel: 5, stride: 2, expansion: 6, channels: 40,  repeats: 2 },
    StageLayout { kernel: 3, stride: 2, expansion: 6, channels: 80,  repeats: 3 },
    StageLayout { kernel: 5, stride: 1, expansion: 6, channels: 112, repeats: 3 },
    StageLayout { kernel: 5, stride: 2, expansion: 6, channels: 192, repeats: 4 },
    StageLayout { kernel: 3, stride: 1, expansion: 6, channels: 320, repeats: 1 },
];

/// Channels of the stem at width 1, its kernel and its stride.
const STEM_CHANNELS: usize = 32;
const STEM_KERNEL: usize = 3;
const STEM_STRIDE: usize = 2;

/// Colours of an image.
const IMAGE_CHANNELS: usize = 3;

/// The divisor of a block's input channels in the middle of squeeze and excite.
const SQUEEZE: usize = 4;

/// Returns the kernel of a stage's depthwise convolutions; `stage` counts from 1.
pub(super) fn kernel_of(stage: usize) -> usize {
    LAYOUT[stage - 1].kernel
}

/// Returns whether the blocks of a stage begin with an expansion; `stage` counts from 1, 0 is the
/// stem.
pub(super) fn expands(stage: usize) -> bool {
    stage > 0 && LAYOUT[stage - 1].expansion > 1
}

/// Which of two kinds of block a network is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The paper's: `x · sigmoid(x)` as its activation, and squeeze and excite in every block.
    Standard,
    /// EfficientNet-Lite's: `min(max(x, 0), 6)`, and no squeeze and excite.
    Lite,
}

/// Family, widths and depths: what distinguishes one EfficientNet from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// What its blocks are made of.
    pub family: Family,
    /// Channels of the stem.
    pub stem: usize,
    /// From stage 1 on, up to [`STAGES`]; fewer if the network is cut short.
    pub stages: Vec<Stage>,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Output channels of its blocks.
    pub channels: usize,
    /// Number of its blocks.
    pub repeats: usize,
}

/// Which convolution of a block, or the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Stem,
    Expand,
    Depthwise,
    /// The first of squeeze and excite.
    Squeeze,
    /// The second of squeeze and excite.
    Excite,
    Project,
}

impl Role {
    /// Returns whether batch norm follows; the others have a bias.
    pub(super) fn is_normalised(self) -> bool {
        !matches!(self, Self::Squeeze | Self::Excite)
    }
}

/// The place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1; 0 is the stem.
    pub(super) stage: usize,
    /// In its stage, from 0.
    pub(super) index: usize,
    /// Among all blocks, from 0.
    pub(super) number: usize,
}

impl Place {
    /// Before all blocks.
    pub(super) const STEM: Self = Self {
        stage: 0,
        index: 0,
        number: 0,
    };
}

/// One convolution: its place and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Convolution {
    pub(super) place: Place,
    pub(super) role: Role,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
}

impl Convolution {
    /// Returns the shape of its weight.
    pub(super) fn weight(&self) -> [usize; 4] {
        let Self {
            output,
            input,
            groups,
            kernel,
            ..
        } = *self;
        [output, input / groups, kernel, kernel]
    }
}

/// One inverted residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) place: Place,
    pub(super) expand: Option<Convolution>,
    pub(super) depthwise: Convolution,
    /// Both convolutions of squeeze and excite, unless the family has none.
    pub(super) squeeze_and_excite: Option<[Convolution; 2]>,
    pub(super) project: Convolution,
    /// Whether its output has the shape of its input, which is then added to it.
    pub(super) keeps_shape: bool,
}

impl Block {
    fn convolutions(&self) -> impl Iterator<Item = Convolution> {
        let before = self.expand.into_iter().chain([self.depthwise]);
        let between = self.squeeze_and_excite.into_iter().flatten();
        before.chain(between).chain([self.project])
    }
}

impl Architecture {
    /// Returns the network of `family` that is `width` times as wide and `depth` times as deep as
    /// the paper's first. Of a lite one, the stem keeps its width, and the first and the last stage
    /// their depth.
    pub(super) fn scaled(family: Family, width: f64, depth: f64) -> Self {
        let stages = (1..).zip(&LAYOUT).map(|(number, layout)| {
            let keeps_depth = family == Family::Lite && matches!(number, 1 | STAGES);
            let depth = if keeps_depth { 1.0 } else { depth };
            Stage {
                channels: scaled_channels(layout.channels, width),
                repeats: (layout.repeats as f64 * depth).ceil() as usize,
            }
        });
        let stem_width = match family {
            Family::Standard => width,
            Family::Lite => 1.0,
        };
        Self {
            family,
            stem: scaled_channels(STEM_CHANNELS, stem_width),
            stages: stages.collect(),
        }
    }

    /// Returns the channels after `stage`, at most `self.stages.len()`; 0 is the stem.
    pub fn channels(&self, stage: usize) -> usize {
        match stage {
            0 => self.stem,
            _ => self.stages[stage - 1].channels,
        }
    }

    /// Returns the pixels per cell after `stage`, at most [`STAGES`]; 0 is the stem.
    pub fn stride(stage: usize) -> usize {
        let stages = LAYOUT[..stage].iter().map(|layout| layout.stride);
        STEM_STRIDE * stages.product::<usize>()
    }

    /// Returns the number of parameters up to and including `stage`: weights, biases, and gain and
    /// offset of every batch norm, but not its running statistics.
    pub fn parameters(&self, stage: usize) -> usize {
        self.convolutions(stage)
            .map(|convolution| {
                let weight: usize = convolution.weight().iter().product();
                let a_channel = if convolution.role.is_normalised() {
                    2
                } else {
                    1
                };
                weight + a_channel * convolution.output
            })
            .sum()
    }

    /// Returns all convolutions up to and including `stage`, in the order of the data flow.
    pub(super) fn convolutions(&self, stage: usize) -> impl Iterator<Item = Convolution> {
        let blocks = self.blocks(stage).into_iter();
        let convolutions = blocks.flat_map(|block| block.convolutions().collect::<Vec<_>>());
        [self.stem()].into_iter().chain(convolutions)
    }

    /// Returns the convolution of the stem.
    pub(super) fn stem(&self) -> Convolution {
        Convolution {
            place: Place::STEM,
            role: Role::Stem,
            input: IMAGE_CHANNELS,
            output: self.stem,
            kernel: STEM_KERNEL,
            stride: STEM_STRIDE,
            groups: 1,
        }
    }

    /// Returns all blocks up to and including `stage`.
    pub(super) fn blocks(&self, stage: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut input = self.stem;
        for (number, (stage, layout)) in self.stages[..stage].iter().zip(&LAYOUT).enumerate() {
            for index in 0..stage.repeats {
                let place = Place {
                    stage: number + 1,
                    index,
                    number: blocks.len(),
                };
                blocks.push(block(self.family, place, layout, input, stage.channels));
                input = stage.channels;
            }
        }
        blocks
    }
}

impl fmt::Display for Architecture {
    /// Writes `48; 3x24, 5x40, …`: channels of the stem, then blocks and channels of each stage,
    /// and what a lite network lacks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stem)?;
        for (number, stage) in self.stages.iter().enumerate() {
            let separator = if number == 0 { "; " } else { ", " };
            write!(f, "{separator}{}x{}", stage.repeats, stage.channels)?;
        }
        match self.family {
            Family::Standard => Ok(()),
            Family::Lite => f.write_str(", without squeeze and excite"),
        }
    }
}

/// Returns `channels * width`, rounded to the nearest multiple of 8, but never less than 90 % of
/// it.
fn scaled_channels(channels: usize, width: f64) -> usize {
    const UNIT: f64 = 8.0;
    let exact = channels as f64 * width;
    let near = (((exact + UNIT / 2.0) / UNIT).floor() * UNIT).max(UNIT);
    let rounded = if near < 0.9 * exact {
        near + UNIT
    } else {
        near
    };
    rounded as usize
}

fn block(family: Family, place: Place, layout: &StageLayout, input: usize, output: usize) -> Block {
    // Only a stage's first block changes the size of the map.
    let stride = if place.index == 0 { layout.stride } else { 1 };
    let inner = input * layout.expansion;
    let squeezed = (input / SQUEEZE).max(1);
    let pointwise = |role, input, output| Convolution {
        place,
        role,
        input,
        output,
        kernel: 1,
        stride: 1,
        groups: 1,
    };
    Block {
        place,
        expand: (layout.expansion > 1).then(|| pointwise(Role::Expand, input, inner)),
        depthwise: Convolution {
            kernel: layout.kernel,
            stride,
            groups: inner,
            ..pointwise(Role::Depthwise, inner, inner)
        },
        squeeze_and_excite: (family == Family::Standard).then(|| {
            [
                pointwise(Role::Squeeze, inner, squeezed),
                pointwise(Role::Excite, squeezed, inner),
            ]
        }),
        project: pointwise(Role::Project, inner, output),
        keeps_shape: stride == 1 && input == output,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_those_of_the_paper() {
        let strides = [2, 2, 4, 8, 16, 16, 32, 32];
        for (stage, stride) in strides.into_iter().enumerate() {
            assert_eq!(Architecture::stride(stage), stride);
        }
    }
}
