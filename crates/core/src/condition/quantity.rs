//! The quantities, what they are evidence for, and which changes of them matter.

use serde::{Deserialize, Serialize};

/// What may have happened to the pictures of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A lamp ages or was replaced, the exposure or the surroundings changed.
    Light,
    /// The gain was raised, or the sensor is warmer.
    Noise,
    /// The lens turned, is dirty, or the distance changed.
    Focus,
    /// Pictures are compressed more than before.
    Compression,
    /// The part, its fixture or the camera was shifted.
    Position,
    /// The distance or the lens changed.
    Zoom,
    /// The part, its fixture or the camera was turned.
    Turn,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::Light,
        Self::Noise,
        Self::Focus,
        Self::Compression,
        Self::Position,
        Self::Zoom,
        Self::Turn,
    ];

    /// Returns its name in payloads and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Noise => "noise",
            Self::Focus => "focus",
            Self::Compression => "compression",
            Self::Position => "position",
            Self::Zoom => "zoom",
            Self::Turn => "turn",
        }
    }
}

/// A number that differs little between good pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Mean luma of the model's input, 0 to 255.
    Brightness,
    /// Luma that a twentieth of the pixels exceed, 0 to 255. Beside the mean, since it does not
    /// depend on how much of the picture the part covers.
    Highlights,
    /// Deviation of the noise, in grey levels.
    Noise,
    /// Energy of the finest detail as a share of that of the next coarser.
    Focus,
    /// Steepness of the steps between 8x8 blocks against others.
    Compression,
    /// Motion to the right, in percent of the width.
    Right,
    /// Motion down, in percent of the height.
    Down,
    /// Enlargement in percent.
    Zoom,
    /// Turn clockwise in degrees.
    Turn,
}

/// The changes of a quantity that are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only growth: the opposite is the effect of another cause, and does no harm.
    Growth,
    /// Only a loss.
    Loss,
    /// Both.
    Any,
}

impl Quantity {
    /// Returns what it is evidence for.
    pub fn cause(self) -> Cause {
        match self {
            Self::Brightness | Self::Highlights => Cause::Light,
            Self::Noise => Cause::Noise,
            Self::Focus => Cause::Focus,
            Self::Compression => Cause::Compression,
            Self::Right | Self::Down => Cause::Position,
            Self::Zoom => Cause::Zoom,
            Self::Turn => Cause::Turn,
        }
    }

    /// Returns its name in payloads and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Brightness => "brightness",
            Self::Highlights => "highlights",
            Self::Noise => "noise",
            Self::Focus => "focus",
            Self::Compression => "compression",
            Self::Right => "right",
            Self::Down => "down",
            Self::Zoom => "zoom",
            Self::Turn => "turn",
        }
    }

    /// Returns what is looked for. Blur and compression lower the noise, and noise raises the
    /// focus, so that two directions would name a second cause beside the right one.
    pub(crate) fn change(self) -> Change {
        match self {
            Self::Noise | Self::Compression => Change::Growth,
            Self::Focus => Change::Loss,
            _ => Change::Any,
        }
    }

    /// Returns the least change that is worth an alarm if `usual` is the median of good pictures,
    /// in the unit of the quantity. Below it, good pictures may differ so little that the smallest
    /// change is evident and yet without consequence. Not measured.
    pub(crate) fn least_change(self, usual: f32) -> f32 {
        match self {
            // A hundredth of white.
            Self::Brightness | Self::Highlights => 2.5,
            Self::Noise => 0.25,
            Self::Focus => 0.03 * usual,
            Self::Compression => 0.1 * usual,
            // Half a pixel of a model's input of 384.
            Self::Right | Self::Down => 0.13,
            Self::Zoom => 0.5,
            Self::Turn => 0.25,
        }
    }

    /// Returns what its number means, and its unit.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Brightness => ("mean luma", ""),
            Self::Highlights => ("a twentieth of the pixels has a luma above", ""),
            Self::Noise => ("deviation", " grey levels"),
            Self::Focus => ("energy of the finest detail against the next", ""),
            Self::Compression => ("steps between 8x8 blocks against others", ""),
            Self::Right => ("to the right", " % of the width"),
            Self::Down => ("down", " % of the height"),
            Self::Zoom => ("larger", " %"),
            Self::Turn => ("clockwise", " degrees"),
        }
    }
}
