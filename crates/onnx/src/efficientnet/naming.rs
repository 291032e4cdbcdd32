//! What three libraries call the parts of the same network.
//!
//! | | stem | block | inside a block |
//! |---|---|---|---|
//! | torchvision | `features.0.0` | `features.{stage}.{index}.block` | `0.0`, `1.0`, `2.fc1`, … |
//! | efficientnet_pytorch | `_conv_stem` | `_blocks.{number}` | `_expand_conv`, `_se_reduce`, … |
//! | timm | `conv_stem` | `blocks.{stage - 1}.{index}` | `conv_pw`, `se.conv_reduce`, … |
//!
//! A state dict has the names of one of them. Widths and depths follow from its shapes, and the
//! family from the names of squeeze and excite; that they fit together is checked elsewhere.
//! efficientnet_lite_pytorch names the parts of lite networks as efficientnet_pytorch does.

use std::collections::BTreeMap;
use std::fmt;

use super::architecture::{
    Architecture, Block, Convolution, Family, Place, Role, STAGES, Stage, expands, kernel_of,
};
use super::error::EfficientNetError;
use super::{GAIN, MEAN, OFFSET, StateDict, VARIANCE};

/// The library whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// torchvision's, and so anomalib's.
    Torchvision,
    /// Those of efficientnet_pytorch, the library of Luke Melas-Kyriazi.
    EfficientNetPytorch,
    /// timm's.
    Timm,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchvision => "torchvision",
            Self::EfficientNetPytorch => "efficientnet_pytorch",
            Self::Timm => "timm",
        })
    }
}

impl Naming {
    const ALL: [Self; 3] = [Self::Torchvision, Self::EfficientNetPytorch, Self::Timm];

    /// Returns names and shapes of all tensors that an EfficientNet needs.
    pub fn tensors(self, architecture: &Architecture) -> BTreeMap<String, Vec<usize>> {
        let mut all = BTreeMap::new();
        for convolution in architecture.convolutions(architecture.stages.len()) {
            let name = self.convolution(&convolution);
            all.insert(format!("{name}.weight"), convolution.weight().to_vec());
            let mut add = |key| all.insert(key, vec![convolution.output]);
            if convolution.role.is_normalised() {
                let norm = self.batch_norm(&convolution);
                for part in [GAIN, OFFSET, MEAN, VARIANCE] {
                    add(format!("{norm}{part}"));
                }
            } else {
                add(format!("{name}.bias"));
            }
        }
        all
    }

    /// Finds the library whose names these are, by the weight of the stem.
    pub(super) fn of(tensors: &StateDict) -> Result<Self, EfficientNetError> {
        let has_stem = |naming: &Self| tensors.contains_key(&format!("{}.weight", naming.stem()));
        let found = Self::ALL.into_iter().find(has_stem);
        found.ok_or_else(|| EfficientNetError::UnknownNaming {
            stems: Self::ALL
                .map(|naming| format!("{}.weight ({naming})", naming.stem()))
                .join(", "),
            first: match tensors.keys().next() {
                Some(key) => format!("the first tensor is `{key}`"),
                None => "there is no tensor at all".to_owned(),
            },
        })
    }

    fn stem(self) -> &'static str {
        self.parts(Role::Stem, false).0
    }

    /// Returns the prefixes of what comes after the last stage, and is not used.
    fn head(self) -> &'static [&'static str] {
        match self {
            Self::Torchvision => &["features.8.", "classifier."],
            Self::EfficientNetPytorch => &["_conv_head.", "_bn1.", "_fc."],
            Self::Timm => &["conv_head.", "bn2.", "classifier."],
        }
    }

    /// Returns whether a tensor is not part of the network up to its last stage.
    pub(super) fn is_unused(self, key: &str) -> bool {
        // PyTorch counts the training steps of each batch norm.
        key.ends_with(".num_batches_tracked")
            || self.head().iter().any(|start| key.starts_with(start))
    }

    /// Returns the name of a convolution.
    pub(super) fn convolution(self, convolution: &Convolution) -> String {
        let Convolution { place, role, .. } = *convolution;
        self.block(place) + self.parts(role, expands(place.stage)).0
    }

    /// Returns the name of the batch norm after a convolution that has one.
    pub(super) fn batch_norm(self, convolution: &Convolution) -> String {
        let Convolution { place, role, .. } = *convolution;
        self.block(place) + self.parts(role, expands(place.stage)).1
    }

    /// Returns whether the library adds a block's input to its output. efficientnet_pytorch never
    /// does so in a stage's first block, whose stride it keeps as a list, and a list is never equal
    /// to 1. Only in networks narrower than B0 does such a block have equally many output and input
    /// channels.
    pub(super) fn has_residual(self, block: &Block) -> bool {
        block.keeps_shape && (self != Self::EfficientNetPytorch || block.place.index > 0)
    }

    /// Returns the prefix of the names of a block's tensors; empty for the stem.
    fn block(self, place: Place) -> String {
        let Place {
            stage,
            index,
            number,
        } = place;
        match self {
            _ if stage == 0 => String::new(),
            Self::Torchvision => format!("features.{stage}.{index}.block."),
            Self::EfficientNetPytorch => format!("_blocks.{number}."),
            Self::Timm => format!("blocks.{}.{index}.", stage - 1),
        }
    }

    /// Returns the names of a convolution and of its batch norm inside a block, which may begin
    /// with an expansion. The two of squeeze and excite have no batch norm.
    fn parts(self, role: Role, expands: bool) -> (&'static str, &'static str) {
        match self {
            Self::Torchvision => match role {
                Role::Stem => ("features.0.0", "features.0.1"),
                Role::Expand => ("0.0", "0.1"),
                Role::Depthwise if expands => ("1.0", "1.1"),
                Role::Depthwise => ("0.0", "0.1"),
                Role::Squeeze if expands => ("2.fc1", ""),
                Role::Squeeze => ("1.fc1", ""),
                Role::Excite if expands => ("2.fc2", ""),
                Role::Excite => ("1.fc2", ""),
                Role::Project if expands => ("3.0", "3.1"),
                Role::Project => ("2.0", "2.1"),
            },
            Self::EfficientNetPytorch => match role {
                Role::Stem => ("_conv_stem", "_bn0"),
                Role::Expand => ("_expand_conv", "_bn0"),
                Role::Depthwise => ("_depthwise_conv", "_bn1"),
                Role::Squeeze => ("_se_reduce", ""),
                Role::Excite => ("_se_expand", ""),
                Role::Project => ("_project_conv", "_bn2"),
            },
            Self::Timm => match role {
                Role::Stem => ("conv_stem", "bn1"),
                Role::Expand => ("conv_pw", "bn1"),
                Role::Depthwise if expands => ("conv_dw", "bn2"),
                Role::Depthwise => ("conv_dw", "bn1"),
                Role::Squeeze => ("se.conv_reduce", ""),
                Role::Excite => ("se.conv_expand", ""),
                Role::Project if expands => ("conv_pwl", "bn3"),
                Role::Project => ("conv_pw", "bn2"),
            },
        }
    }

    /// Returns the architecture that follows from the shapes, as far as the tensors go.
    pub(super) fn architecture(
        self,
        tensors: &StateDict,
    ) -> Result<Architecture, EfficientNetError> {
        let [stem, ..] = self.weight_shape(tensors, Place::STEM, Role::Stem)?;
        let mut stages = Vec::new();
        let mut number = 0;
        for stage in 1..=STAGES {
            let place = |index| Place {
                stage,
                index,
                number: number + index,
            };
            if !self.is_there(tensors, place(0)) {
                break;
            }
            let channels = self.block_channels(tensors, place(0))?;
            let mut repeats = 1;
            while self.is_there(tensors, place(repeats))
                && self.continues(tensors, place(repeats), channels)?
            {
                repeats += 1;
            }
            number += repeats;
            stages.push(Stage { channels, repeats });
        }
        Ok(Architecture {
            family: self.family(tensors, stages.len()),
            stem,
            stages,
        })
    }

    /// Returns the family: lite if there are blocks, and none has any tensor of squeeze and excite.
    /// torchvision numbers the parts of a block, and has no lite networks.
    fn family(self, tensors: &StateDict, stages: usize) -> Family {
        let parts = [Role::Squeeze, Role::Excite].map(|role| self.parts(role, true).0);
        let belongs = |key: &String| {
            let mut parts = parts.iter();
            parts.any(|part| key.contains(&format!(".{part}.")))
        };
        if self == Self::Torchvision || stages == 0 || tensors.keys().any(belongs) {
            Family::Standard
        } else {
            Family::Lite
        }
    }

    /// Returns whether there is any tensor of a block.
    fn is_there(self, tensors: &StateDict, place: Place) -> bool {
        any_begins_with(tensors, &self.block(place))
    }

    /// Returns whether a block belongs to the stage in question, whose blocks output `channels`. If
    /// blocks are only numbered, expansion, kernel and channels decide: one of the three changes
    /// from every stage to the next.
    fn continues(
        self,
        tensors: &StateDict,
        place: Place,
        channels: usize,
    ) -> Result<bool, EfficientNetError> {
        if self != Self::EfficientNetPytorch {
            return Ok(true);
        }
        let [_, _, kernel, _] = self.weight_shape(tensors, place, Role::Depthwise)?;
        let (convolution, norm) = self.parts(Role::Expand, true);
        let has_expansion = [convolution, norm].iter().any(|part| {
            let start = format!("{}{part}.", self.block(place));
            any_begins_with(tensors, &start)
        });
        Ok(has_expansion == expands(place.stage)
            && kernel == kernel_of(place.stage)
            && self.block_channels(tensors, place)? == channels)
    }

    /// Returns the output channels of a block, by the shape of its last convolution.
    fn block_channels(self, tensors: &StateDict, place: Place) -> Result<usize, EfficientNetError> {
        let [channels, ..] = self.weight_shape(tensors, place, Role::Project)?;
        Ok(channels)
    }

    /// Returns the shape of a convolution's weight.
    fn weight_shape(
        self,
        tensors: &StateDict,
        place: Place,
        role: Role,
    ) -> Result<[usize; 4], EfficientNetError> {
        let part = self.parts(role, expands(place.stage)).0;
        let key = format!("{}{part}.weight", self.block(place));
        let Some(tensor) = tensors.get(&key) else {
            return Err(EfficientNetError::Missing { key });
        };
        match *tensor.shape() {
            [output, input, height, width] if !tensor.is_empty() => {
                Ok([output, input, height, width])
            }
            ref found => Err(EfficientNetError::NoConvolution {
                key,
                found: found.to_vec(),
            }),
        }
    }
}

fn any_begins_with(tensors: &StateDict, start: &str) -> bool {
    let mut following = tensors.range(start.to_owned()..);
    following
        .next()
        .is_some_and(|(key, _)| key.starts_with(start))
}
