//! What a CS-Flow is, without running it: its shape and the place of every parameter.
//!
//! All parameters of a flow live in one flat `f32` vector. [`FlowSpec::layout`] says which range
//! holds which tensor, so that an optimiser step, a gradient norm or a checkpoint is one loop over
//! a slice, while the layers still see shaped tensors. The same layout serves the trainer, the
//! exporter and importers.
//!
//! The names (`s1`, `conv_scale0_0`, `up_conv10`, `gamma0`, …) are those of the published code
//! (Rudolph et al., "Fully Convolutional Cross-Scale-Flows for Image-based Defect Detection",
//! WACV 2022), so that a checkpoint can be read beside it.

use crate::permutation::{PermutationKind, block_permutations};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The number of scales a CS-Flow couples: full, half and quarter resolution.
pub const SCALES: usize = 3;

/// Negative slope of the leaky ReLU between the two layers of a cross-scale subnet.
pub const LEAKY_SLOPE: f32 = 0.1;

/// Factor of the soft clamp `clamp * 0.636 * atan(s / clamp)`; the published rounding of 2/π.
pub const SOFT_CLAMP_FACTOR: f32 = 0.636;

/// Every block's output is cut to `[-OUTPUT_LIMIT, OUTPUT_LIMIT]`.
pub const OUTPUT_LIMIT: f32 = 1e6;

/// The shape of a flow: everything that is needed to build one, besides its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSpec {
    /// Channels of each feature map; even or odd, at least 2.
    pub channels: usize,
    /// Hidden channels of the cross-scale subnets.
    pub hidden: usize,
    /// Kernel size of every convolution in a block, one entry a coupling block; odd numbers.
    pub kernels: Vec<usize>,
    /// Limit of the soft clamp on the log-scale; 0 or below switches it off.
    pub clamp: f32,
    /// Which generator draws the channel permutations.
    pub permutation: PermutationKind,
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
}

impl FlowSpec {
    /// Checks that the numbers make a flow.
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
        Ok(())
    }

    /// Channels of the first and of the second half of a split.
    pub fn halves(&self) -> [usize; 2] {
        let first = self.channels / 2;
        [first, self.channels - first]
    }

    /// The channel permutations, one array of scales for each block.
    pub fn permutations(&self) -> Vec<[Vec<usize>; SCALES]> {
        (0..self.kernels.len())
            .map(|block| block_permutations(self.permutation, block as u32, self.channels))
            .collect()
    }

    /// The place of every parameter, and with it the number of parameters.
    pub fn layout(&self) -> FlowLayout {
        let [first, second] = self.halves();
        let mut cursor = Cursor { next: 0 };
        let blocks = self
            .kernels
            .iter()
            .map(|&kernel| CouplingLayout {
                s1: cursor.subnet(first, self.hidden, 2 * second, kernel),
                s2: cursor.subnet(second, self.hidden, 2 * first, kernel),
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
    /// One entry a coupling block, in the order in which data passes them.
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

/// A cross-scale subnet: ten convolutions and three scalar gains.
#[derive(Clone, Debug)]
pub struct SubnetLayout {
    /// `gamma0..2`: the gain of each scale's output.
    pub gamma: Range<usize>,
    /// `conv_scale{s}_0`: input to hidden, at every scale.
    pub conv_0: [ConvLayout; SCALES],
    /// `conv_scale{s}_1`: hidden to output, at every scale.
    pub conv_1: [ConvLayout; SCALES],
    /// `up_conv10`: from the upsampled middle scale to the finest.
    pub up_10: ConvLayout,
    /// `up_conv21`: from the upsampled coarsest scale to the middle one.
    pub up_21: ConvLayout,
    /// `down_conv01`: from the finest scale to the middle one, stride 2.
    pub down_01: ConvLayout,
    /// `down_conv12`: from the middle scale to the coarsest, stride 2.
    pub down_12: ConvLayout,
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
    /// Inputs that feed one output: the fan-in of the published initialisation.
    pub fn fan_in(&self) -> usize {
        self.input * self.kernel * self.kernel
    }
}

impl SubnetLayout {
    /// The convolutions under their published names, in the published order.
    pub fn convolutions(&self) -> [(&'static str, &ConvLayout); 10] {
        let [in_0, in_1, in_2] = &self.conv_0;
        let [out_0, out_1, out_2] = &self.conv_1;
        [
            ("conv_scale0_0", in_0),
            ("conv_scale1_0", in_1),
            ("conv_scale2_0", in_2),
            ("conv_scale0_1", out_0),
            ("conv_scale1_1", out_1),
            ("conv_scale2_1", out_2),
            ("up_conv10", &self.up_10),
            ("up_conv21", &self.up_21),
            ("down_conv01", &self.down_01),
            ("down_conv12", &self.down_12),
        ]
    }
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

    fn subnet(
        &mut self,
        input: usize,
        hidden: usize,
        output: usize,
        kernel: usize,
    ) -> SubnetLayout {
        SubnetLayout {
            gamma: self.take(SCALES),
            conv_0: std::array::from_fn(|_| self.conv(input, hidden, kernel)),
            conv_1: std::array::from_fn(|_| self.conv(hidden, output, kernel)),
            up_10: self.conv(hidden, output, kernel),
            up_21: self.conv(hidden, output, kernel),
            down_01: self.conv(hidden, output, kernel),
            down_12: self.conv(hidden, output, kernel),
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
        }
    }

    #[test]
    fn the_full_size_flow_has_the_published_parameter_count() {
        assert_eq!(full_size().layout().len, 275_227_288);
    }

    #[test]
    fn the_layout_covers_every_parameter_once() {
        let spec = FlowSpec {
            channels: 5,
            hidden: 3,
            kernels: vec![3, 1],
            ..full_size()
        };
        let layout = spec.layout();
        let mut uses = vec![0_u8; layout.len];
        for block in &layout.blocks {
            for subnet in [&block.s1, &block.s2] {
                let ranges = subnet
                    .convolutions()
                    .map(|(_, conv)| [&conv.weight, &conv.bias]);
                for range in ranges.into_iter().flatten().chain([&subnet.gamma]) {
                    uses[range.clone()].iter_mut().for_each(|count| *count += 1);
                }
            }
        }
        assert!(uses.iter().all(|&count| count == 1));
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
        assert_eq!(full_size().validate(), Ok(()));
    }
}
