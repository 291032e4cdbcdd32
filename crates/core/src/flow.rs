//! The description of a CS-Flow, without running it: its shape and the place of every parameter.
//!
//! All parameters of a flow live in one flat `f32` vector. [`FlowSpec::layout`] says which range
//! holds which tensor, so that an optimiser step, a gradient norm or a checkpoint is one loop over
//! a slice, while the layers still see shaped tensors. The same layout serves the trainer, the
//! exporter and importers.
//!
//! The names (`s1`, `conv_scale0_0`, `up_conv10`, `gamma0`, …) are those of the published code
//! (Rudolph et al., "Fully Convolutional Cross-Scale-Flows for Image-based Defect Detection",
//! WACV 2022), so that a checkpoint can be read beside it.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::permutation::{PermutationKind, block_permutations};

/// The number of scales that the published CS-Flow couples, and the most that a flow can have:
/// full, half and quarter resolution.
pub const SCALES: usize = 3;

/// Negative slope of the leaky ReLU between the two layers of a cross-scale subnet.
pub const LEAKY_SLOPE: f32 = 0.1;

/// Factor of the soft clamp `clamp * 0.636 * atan(s / clamp)`; the published rounding of 2/π.
pub const SOFT_CLAMP_FACTOR: f32 = 0.636;

/// Every block's output is cut to `[-OUTPUT_LIMIT, OUTPUT_LIMIT]`.
pub const OUTPUT_LIMIT: f32 = 1e6;

/// The shape of a flow: everything that is needed to build one, besides its parameters.
///
/// `scales` and `cross_scale` are there for the variants that an ablation compares. A model that
/// is shipped is the published one, [`Self::is_published`], and its manifest does not name them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// Channels of each feature map; even or odd, at least 2.
    pub channels: usize,
    /// Hidden channels of the cross-scale subnets.
    pub hidden: usize,
    /// Kernel size of every convolution in a block, one entry per coupling block; odd numbers.
    pub kernels: Vec<usize>,
    /// Limit of the soft clamp on the log-scale; 0 or below switches it off.
    pub clamp: f32,
    /// Which generator draws the channel permutations.
    pub permutation: PermutationKind,
    /// Number of scales, 1 to [`SCALES`]; each map is half the size of the one before.
    #[serde(
        default = "published_scales",
        skip_serializing_if = "is_published_scales"
    )]
    pub scales: usize,
    /// Whether the subnets link neighbouring scales. Without links a flow of several scales is one
    /// flow per scale.
    #[serde(
        default = "published_links",
        skip_serializing_if = "is_published_links"
    )]
    pub cross_scale: bool,
}

fn published_scales() -> usize {
    SCALES
}

fn is_published_scales(scales: &usize) -> bool {
    *scales == SCALES
}

fn published_links() -> bool {
    true
}

fn is_published_links(cross_scale: &bool) -> bool {
    *cross_scale
}

/// Why a [`FlowSpec`] cannot be built.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FlowSpecError {
    /// Fewer than two channels cannot be split into two halves.
    #[error("a flow needs at least 2 channels, not {0}")]
    TooFewChannels(usize),
    /// A subnet without hidden channels computes nothing.
    #[error("the hidden width must be at least 1")]
    NoHidden,
    /// No coupling block at all.
    #[error("the list of kernel sizes is empty: give one size for each coupling block")]
    NoBlocks,
    /// Only odd kernels keep a map's size with symmetric padding.
    #[error("kernel size {0} is not odd")]
    EvenKernel(usize),
    /// A clamp that is not a number.
    #[error("the clamp must be a finite number")]
    BadClamp,
    /// No scale at all, or more than [`SCALES`].
    #[error("a flow has 1 to {SCALES} scales, not {0}")]
    BadScales(usize),
}

impl FlowSpec {
    /// Checks that the numbers describe a flow.
    ///
    /// # Errors
    /// One [`FlowSpecError`] for the first number that does not.
    pub fn validate(&self) -> Result<(), FlowSpecError> {
        if self.channels < 2 {
            return Err(FlowSpecError::TooFewChannels(self.channels));
        }
        if self.hidden == 0 {
            return Err(FlowSpecError::NoHidden);
        }
        if self.kernels.is_empty() {
            return Err(FlowSpecError::NoBlocks);
        }
        if let Some(&kernel) = self.kernels.iter().find(|&&kernel| kernel % 2 == 0) {
            return Err(FlowSpecError::EvenKernel(kernel));
        }
        if !self.clamp.is_finite() {
            return Err(FlowSpecError::BadClamp);
        }
        if !(1..=SCALES).contains(&self.scales) {
            return Err(FlowSpecError::BadScales(self.scales));
        }
        Ok(())
    }

    /// Returns whether this is the published flow, three scales that see each other, and not a
    /// variant of it.
    pub fn is_published(&self) -> bool {
        self.scales == SCALES && self.cross_scale
    }

    /// Returns the channels of the first and of the second half of a split.
    pub fn halves(&self) -> [usize; 2] {
        let first = self.channels / 2;
        [first, self.channels - first]
    }

    /// Returns the channel permutations, one per scale for each block.
    pub fn permutations(&self) -> Vec<Vec<Vec<usize>>> {
        let of_block =
            |block| block_permutations(self.permutation, block as u32, self.channels, self.scales);
        (0..self.kernels.len()).map(of_block).collect()
    }

    /// Returns the place of every parameter, and with it the number of parameters.
    pub fn layout(&self) -> FlowLayout {
        let [first, second] = self.halves();
        let mut cursor = Cursor { next: 0 };
        let blocks = self
            .kernels
            .iter()
            .map(|&kernel| CouplingLayout {
                s1: cursor.subnet(self, first, 2 * second, kernel),
                s2: cursor.subnet(self, second, 2 * first, kernel),
            })
            .collect();
        FlowLayout {
            blocks,
            len: cursor.next,
        }
    }
}

/// Where each parameter of a flow lies in its flat vector.
#[derive(Clone, Debug)]
pub struct FlowLayout {
    /// One entry per coupling block, in the order in which data passes them.
    pub blocks: Vec<CouplingLayout>,
    /// Number of parameters in all.
    pub len: usize,
}

/// The two subnets of a coupling block.
#[derive(Clone, Debug)]
pub struct CouplingLayout {
    /// Reads the updated first halves, transforms the second halves. Runs second.
    pub s1: SubnetLayout,
    /// Reads the second halves, transforms the first halves. Runs first.
    pub s2: SubnetLayout,
}

/// A subnet: two convolutions and a scalar gain for each scale, and a convolution for each link
/// between neighbours. The published one has ten convolutions.
#[derive(Clone, Debug)]
pub struct SubnetLayout {
    /// `gamma{s}`: the gain of each scale's output.
    pub gamma: Range<usize>,
    /// `conv_scale{s}_0`: input to hidden, one per scale.
    pub conv_0: Vec<ConvLayout>,
    /// `conv_scale{s}_1`: hidden to output, one per scale.
    pub conv_1: Vec<ConvLayout>,
    /// `up_conv10`, `up_conv21`: entry `s` leads from the upsampled scale `s + 1` to scale `s`.
    /// Empty if scales are not linked.
    pub up: Vec<ConvLayout>,
    /// `down_conv01`, `down_conv12`: entry `s` leads from scale `s` to scale `s + 1`, stride 2.
    /// Empty if scales are not linked.
    pub down: Vec<ConvLayout>,
}

/// One convolution: weight `[output, input, kernel, kernel]` in C order, then bias `[output]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvLayout {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Kernel height and width; zero padding is half of it, rounded down.
    pub kernel: usize,
    /// Where the weight lies.
    pub weight: Range<usize>,
    /// Where the bias lies.
    pub bias: Range<usize>,
}

impl ConvLayout {
    /// Returns the number of inputs that feed one output: the fan-in of the published
    /// initialisation.
    pub fn fan_in(&self) -> usize {
        self.input * self.kernel * self.kernel
    }
}

impl SubnetLayout {
    /// Returns the convolutions under their published names, in the published order.
    pub fn convolutions(&self) -> Vec<(&'static str, &ConvLayout)> {
        let conv_0 = ["conv_scale0_0", "conv_scale1_0", "conv_scale2_0"];
        let conv_1 = ["conv_scale0_1", "conv_scale1_1", "conv_scale2_1"];
        let up = ["up_conv10", "up_conv21"];
        let down = ["down_conv01", "down_conv12"];
        named(&conv_0, &self.conv_0)
            .chain(named(&conv_1, &self.conv_1))
            .chain(named(&up, &self.up))
            .chain(named(&down, &self.down))
            .collect()
    }
}

fn named<'a>(
    names: &[&'static str],
    convolutions: &'a [ConvLayout],
) -> impl Iterator<Item = (&'static str, &'a ConvLayout)> {
    names.iter().copied().zip(convolutions)
}

/// Hands out consecutive ranges.
struct Cursor {
    next: usize,
}

impl Cursor {
    fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.next;
        self.next += len;
        start..self.next
    }

    fn conv(&mut self, input: usize, output: usize, kernel: usize) -> ConvLayout {
        let weight = self.take(output * input * kernel * kernel);
        ConvLayout {
            input,
            output,
            kernel,
            weight,
            bias: self.take(output),
        }
    }

    fn convs(
        &mut self,
        count: usize,
        input: usize,
        output: usize,
        kernel: usize,
    ) -> Vec<ConvLayout> {
        let conv = |_| self.conv(input, output, kernel);
        (0..count).map(conv).collect()
    }

    fn subnet(
        &mut self,
        spec: &FlowSpec,
        input: usize,
        output: usize,
        kernel: usize,
    ) -> SubnetLayout {
        let &FlowSpec { scales, hidden, .. } = spec;
        let links = if spec.cross_scale { scales - 1 } else { 0 };
        SubnetLayout {
            gamma: self.take(scales),
            conv_0: self.convs(scales, input, hidden, kernel),
            conv_1: self.convs(scales, hidden, output, kernel),
            up: self.convs(links, hidden, output, kernel),
            down: self.convs(links, hidden, output, kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_size() -> FlowSpec {
        FlowSpec {
            channels: 304,
            hidden: 1024,
            kernels: vec![3, 3, 3, 5],
            clamp: 3.0,
            permutation: PermutationKind::NumpyLegacy,
            scales: SCALES,
            cross_scale: true,
        }
    }

    #[test]
    fn the_full_size_flow_has_the_published_parameter_count() {
        assert_eq!(full_size().layout().len, 275_227_288);
    }

    #[test]
    fn the_layout_covers_every_parameter_once() {
        for (scales, cross_scale) in [(3, true), (3, false), (2, true), (1, true)] {
            let spec = FlowSpec {
                channels: 5,
                hidden: 3,
                kernels: vec![3, 1],
                scales,
                cross_scale,
                ..full_size()
            };
            let layout = spec.layout();
            let mut uses = vec![0_u8; layout.len];
            for block in &layout.blocks {
                for subnet in [&block.s1, &block.s2] {
                    let convolutions = subnet.convolutions().into_iter();
                    let ranges = convolutions.flat_map(|(_, conv)| [&conv.weight, &conv.bias]);
                    for range in ranges.chain([&subnet.gamma]) {
                        uses[range.clone()].iter_mut().for_each(|count| *count += 1);
                    }
                }
            }
            assert!(uses.iter().all(|&count| count == 1), "{spec:?}");
        }
    }

    #[test]
    fn a_subnet_has_a_link_each_way_between_neighbours() {
        let names = |scales, cross_scale| -> Vec<&str> {
            let spec = FlowSpec {
                scales,
                cross_scale,
                ..full_size()
            };
            let layout = spec.layout();
            let convolutions = layout.blocks[0].s1.convolutions();
            convolutions.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(3, true).len(), 10);
        assert_eq!(
            names(2, true),
            [
                "conv_scale0_0",
                "conv_scale1_0",
                "conv_scale0_1",
                "conv_scale1_1",
                "up_conv10",
                "down_conv01"
            ]
        );
        assert_eq!(names(1, true), ["conv_scale0_0", "conv_scale0_1"]);
        assert!(names(3, false).iter().all(|name| name.starts_with("conv_")));
    }

    /// Manifests say nothing about scales and links, and those of older versions cannot.
    #[test]
    fn the_published_flow_is_written_and_read_without_scales_and_links() {
        let text = toml::to_string(&full_size()).expect("plain numbers");
        assert!(!text.contains("scale"), "{text}");
        assert_eq!(toml::from_str(&text), Ok(full_size()));
        let variant = FlowSpec {
            scales: 2,
            cross_scale: false,
            ..full_size()
        };
        let text = toml::to_string(&variant).expect("plain numbers");
        assert_eq!(toml::from_str(&text), Ok(variant));
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let refused = |change: fn(&mut FlowSpec)| {
            let mut spec = full_size();
            change(&mut spec);
            spec.validate().expect_err("must be refused")
        };
        assert_eq!(
            refused(|spec| spec.channels = 1),
            FlowSpecError::TooFewChannels(1)
        );
        assert_eq!(refused(|spec| spec.hidden = 0), FlowSpecError::NoHidden);
        assert_eq!(
            refused(|spec| spec.kernels.clear()),
            FlowSpecError::NoBlocks
        );
        assert_eq!(
            refused(|spec| spec.kernels[1] = 4),
            FlowSpecError::EvenKernel(4)
        );
        assert_eq!(
            refused(|spec| spec.clamp = f32::NAN),
            FlowSpecError::BadClamp
        );
        for scales in [0, 4] {
            let spec = FlowSpec {
                scales,
                ..full_size()
            };
            assert_eq!(spec.validate(), Err(FlowSpecError::BadScales(scales)));
        }
        assert_eq!(full_size().validate(), Ok(()));
    }
}
