//! The published sizes of both families: their names, and how each is scaled.

use std::fmt;
use std::str::FromStr;

use super::architecture::{Architecture, Family};

/// One of the published sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Variant {
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    Lite0,
    Lite1,
    Lite2,
    Lite3,
    Lite4,
}

impl Variant {
    /// All of them: first the standard ones, then the lite ones, the smallest of each first.
    pub const ALL: [Self; 13] = [
        Self::B0,
        Self::B1,
        Self::B2,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::Lite0,
        Self::Lite1,
        Self::Lite2,
        Self::Lite3,
        Self::Lite4,
    ];

    /// Returns what its name ends with.
    fn suffix(self) -> &'static str {
        match self {
            Self::B0 => "b0",
            Self::B1 => "b1",
            Self::B2 => "b2",
            Self::B3 => "b3",
            Self::B4 => "b4",
            Self::B5 => "b5",
            Self::B6 => "b6",
            Self::B7 => "b7",
            Self::Lite0 => "lite0",
            Self::Lite1 => "lite1",
            Self::Lite2 => "lite2",
            Self::Lite3 => "lite3",
            Self::Lite4 => "lite4",
        }
    }

    /// Returns the multipliers of width and depth, and the side of the images that it was trained
    /// with.
    fn scaling(self) -> (f64, f64, usize) {
        match self {
            Self::B0 | Self::Lite0 => (1.0, 1.0, 224),
            Self::B1 | Self::Lite1 => (1.0, 1.1, 240),
            Self::B2 | Self::Lite2 => (1.1, 1.2, 260),
            Self::B3 => (1.2, 1.4, 300),
            Self::B4 => (1.4, 1.8, 380),
            Self::B5 => (1.6, 2.2, 456),
            Self::B6 => (1.8, 2.6, 528),
            Self::B7 => (2.0, 3.1, 600),
            Self::Lite3 => (1.2, 1.4, 280),
            Self::Lite4 => (1.4, 1.8, 300),
        }
    }

    /// Returns what its blocks are made of.
    pub fn family(self) -> Family {
        match self {
            Self::Lite0 | Self::Lite1 | Self::Lite2 | Self::Lite3 | Self::Lite4 => Family::Lite,
            _ => Family::Standard,
        }
    }

    /// Returns its architecture.
    pub fn architecture(self) -> Architecture {
        let (width, depth, _) = self.scaling();
        Architecture::scaled(self.family(), width, depth)
    }

    /// Returns the side, in pixels, of the images that it was trained with.
    pub fn resolution(self) -> usize {
        self.scaling().2
    }
}

impl Architecture {
    /// Returns the published size that this is, in whole or cut short; `None` if it is none of
    /// them, or cut so short that several begin like it.
    pub fn variant(&self) -> Option<Variant> {
        let mut alike = Variant::ALL.into_iter().filter(|variant| {
            let whole = variant.architecture();
            whole.family == self.family
                && whole.stem == self.stem
                && whole.stages.starts_with(&self.stages)
        });
        alike.next().filter(|_| alike.next().is_none())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "efficientnet-{}", self.suffix())
    }
}

/// A name that no variant has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "there is no `{0}`: choose one of efficientnet-b0 to efficientnet-b7 and efficientnet-lite0 to \
     efficientnet-lite4"
)]
pub struct UnknownVariant(String);

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.to_string() == name);
        found.ok_or_else(|| UnknownVariant(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efficientnet::STAGES;

    #[test]
    fn b5_to_stage_6_has_the_published_channels_and_parameters() {
        let b5 = Variant::B5.architecture();
        assert_eq!(
            b5.to_string(),
            "48; 3x24, 5x40, 5x64, 7x128, 7x176, 9x304, 3x512"
        );
        assert_eq!((b5.channels(6), Architecture::stride(6)), (304, 32));
        let gains_and_offsets: usize = b5
            .convolutions(6)
            .filter(|convolution| convolution.role.is_normalised())
            .map(|convolution| 2 * convolution.output)
            .sum();
        assert_eq!(gains_and_offsets, 133_696);
        assert_eq!(b5.parameters(6) - gains_and_offsets, 17_409_508);
        assert_eq!(b5.parameters(6), 17_543_204);
        assert_eq!(b5.blocks(6).len(), 36);
    }

    /// The published parameter counts are of whole networks: head and classifier come on top.
    /// torchvision makes the head four times as wide as the last stage.
    #[test]
    fn every_standard_variant_has_its_published_number_of_parameters() {
        let published = [
            5_288_548, 7_794_184, 9_109_994, 12_233_232, 19_341_616, 30_389_784, 43_040_704,
            66_347_960,
        ];
        for (variant, published) in Variant::ALL.into_iter().zip(published) {
            let head = 4 * variant.architecture().channels(STAGES);
            assert_eq!(with_head(variant, head), published, "{variant}");
        }
    }

    /// The numbers of elements in the weights of lite0 to lite2 as they are published, without
    /// running statistics. The head is 1280 wide in all of them.
    #[test]
    fn every_lite_variant_has_its_published_number_of_parameters() {
        let published = [4_652_008, 5_416_680, 6_092_072];
        for (variant, published) in Variant::ALL[8..].iter().zip(published) {
            assert_eq!(with_head(*variant, 1280), published, "{variant}");
        }
    }

    /// The parameters of a whole network whose classifier has 1000 classes.
    fn with_head(variant: Variant, head: usize) -> usize {
        let architecture = variant.architecture();
        let last = architecture.channels(STAGES);
        let top = last * head + 2 * head + head * 1000 + 1000;
        architecture.parameters(STAGES) + top
    }

    #[test]
    fn every_variant_is_told_by_its_name_and_by_its_shapes() {
        for variant in Variant::ALL {
            assert_eq!(variant.architecture().variant(), Some(variant));
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
    }

    /// Stem, and depth of the first and last stage, are those of lite0 in all of them.
    #[test]
    fn a_lite_network_scales_neither_stem_nor_first_and_last_depth() {
        let lite4 = Variant::Lite4.architecture();
        assert_eq!(
            lite4.to_string(),
            "32; 1x24, 4x32, 4x56, 6x112, 6x160, 8x272, 1x448, without squeeze and excite"
        );
    }

    #[test]
    fn a_network_that_is_cut_short_is_still_told() {
        let mut cut = Variant::B5.architecture();
        cut.stages.truncate(6);
        assert_eq!(cut.variant(), Some(Variant::B5));
        cut.stages[5].repeats -= 1;
        assert_eq!(cut.variant(), None);
        // B1 and B2 begin in the same way.
        let mut cut = Variant::B1.architecture();
        cut.stages.truncate(2);
        assert_eq!(cut.variant(), None);
    }

    #[test]
    fn a_variant_that_is_not_there_is_said_to_be_none() {
        let error = "efficientnet-b9".parse::<Variant>();
        let error = error.expect_err("must be refused").to_string();
        assert!(
            error.contains("efficientnet-b9") && error.contains("efficientnet-b7"),
            "{error}"
        );
    }
}
