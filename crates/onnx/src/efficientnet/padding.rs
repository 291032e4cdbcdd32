//! The zeros that a convolution sees around its map: the meaning of the weights depends on them.
//!
//! There are two conventions. For a convolution of stride 2 on a map of even side, PyTorch's adds
//! the same on all sides, and TensorFlow's `SAME` adds one more after than before, so the two see
//! pictures shifted by a fraction of a cell against each other. A flow needs the features that it
//! was trained on, so the padding is written out in every convolution.

use std::fmt;

/// Which zeros are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Half the kernel on every side, as torchvision does.
    Symmetric,
    /// TensorFlow's `SAME`, computed once for square images of side `resolution`, and used for
    /// images of any size, as efficientnet_pytorch does.
    Same {
        /// Side of the images in pixels, at least 1.
        resolution: usize,
    },
    /// TensorFlow's `SAME`, computed for the map at hand, as TensorFlow does. That is the same for
    /// every image whose sides are multiples of the output's stride, and flawd takes no others:
    /// each map that a convolution halves is even.
    TensorFlow,
}

/// A side whose maps are all even.
const EVEN: usize = 1024;

impl Padding {
    /// Starts at the image; the zeros of its convolutions are then requested one after the other.
    pub(super) fn start(self) -> Pads {
        Pads {
            side: match self {
                Self::Symmetric => None,
                Self::Same { resolution } => Some(resolution),
                Self::TensorFlow => Some(EVEN),
            },
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symmetric => f.write_str("symmetric padding"),
            Self::Same { resolution } => write!(f, "SAME padding for {resolution} pixels"),
            Self::TensorFlow => f.write_str("SAME padding"),
        }
    }
}

/// Gives the zeros of one convolution after the other.
pub(super) struct Pads {
    /// Side of the map before the next convolution; `None` if it does not matter.
    side: Option<usize>,
}

impl Pads {
    /// Returns the zeros before and after, in both directions, for the next convolution other than
    /// 1x1.
    pub(super) fn next(&mut self, kernel: usize, stride: usize) -> [usize; 2] {
        let Some(side) = self.side else {
            return [(kernel - 1) / 2; 2];
        };
        let places = side.div_ceil(stride);
        self.side = Some(places);
        let zeros = (places.saturating_sub(1) * stride + kernel).saturating_sub(side);
        [zeros / 2, zeros - zeros / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernel and stride of the stem and of the first blocks of the stages that halve the map.
    const HALVING: [(usize, usize); 5] = [(3, 2), (3, 2), (5, 2), (3, 2), (5, 2)];

    fn pads(padding: Padding) -> [[usize; 2]; 5] {
        let mut pads = padding.start();
        HALVING.map(|(kernel, stride)| pads.next(kernel, stride))
    }

    #[test]
    fn half_the_kernel_is_on_every_side_in_torchvision() {
        assert_eq!(
            pads(Padding::Symmetric),
            [[1, 1], [1, 1], [2, 2], [1, 1], [2, 2]]
        );
    }

    /// 456, 228, 114, 57, 29, 15: the two odd maps are padded evenly.
    #[test]
    fn b5_of_efficientnet_pytorch_is_padded_for_456_pixels() {
        let padding = Padding::Same { resolution: 456 };
        assert_eq!(pads(padding), [[0, 1], [0, 1], [1, 2], [1, 1], [2, 2]]);
    }

    #[test]
    fn tensorflows_padding_is_the_same_for_all_multiples_of_32() {
        let expected = pads(Padding::TensorFlow);
        assert_eq!(expected, [[0, 1], [0, 1], [1, 2], [0, 1], [1, 2]]);
        for resolution in (32..2048).step_by(32) {
            assert_eq!(pads(Padding::Same { resolution }), expected, "{resolution}");
        }
    }

    #[test]
    fn a_stride_of_1_is_padded_evenly_by_all() {
        for padding in [Padding::Symmetric, Padding::Same { resolution: 57 }] {
            let mut pads = padding.start();
            assert_eq!([pads.next(3, 1), pads.next(5, 1)], [[1, 1], [2, 2]]);
        }
    }
}
