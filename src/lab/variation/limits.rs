//! The changes that a line may see.

use std::fmt;
use std::str::FromStr;

use flawd_core::random::SplitMix64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Change;
use super::kind::{ChangeError, ChangeKind, parts};

/// The best quality that [`Variation::sample`] draws, unless the end is better still: above it, a
/// JPEG is hardly distinguishable from the picture.
const BEST_QUALITY: u8 = 95;

/// The changes that a line may see: the greatest of each kind, `None` for those that do not occur.
///
/// As text, and in files, `light=10%,noise=2%,blur=0.7,jpeg=60,shift=2,zoom=2%,turn=3`, in any
/// order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variation {
    /// Share by which it is darker or brighter, 0 to .5.
    pub light: Option<f64>,
    /// Standard deviation of the noise as a share of white, 0 to .2.
    pub noise: Option<f64>,
    /// Standard deviation of the blur in pixels, 0 to 10.
    pub blur: Option<f64>,
    /// The worst quality of a JPEG, 5 to 100.
    pub jpeg: Option<u8>,
    /// Pixels in each direction, 0 to 64.
    pub shift: Option<f64>,
    /// Share by which it is smaller or larger, 0 to .2.
    pub zoom: Option<f64>,
    /// Degrees in both directions, 0 to 45.
    pub turn: Option<f64>,
}

impl Variation {
    /// Returns the ends of each kind, one change at a time: darker and brighter, four directions,
    /// smaller and larger, both directions of a turn; of noise, blur and JPEG, the one end.
    pub fn ends(&self) -> Vec<Change> {
        let both = |end: Option<f64>| end.into_iter().flat_map(|end| [-end, end]);
        let mut ends = Vec::new();
        ends.extend(both(self.light).map(|share| Change::Light(1.0 + share)));
        ends.extend(self.noise.map(Change::Noise));
        ends.extend(self.blur.map(Change::Blur));
        ends.extend(self.jpeg.map(Change::Jpeg));
        ends.extend(both(self.shift).map(|x| Change::Shift { x, y: 0.0 }));
        ends.extend(both(self.shift).map(|y| Change::Shift { x: 0.0, y }));
        ends.extend(both(self.zoom).map(|share| Change::Zoom(1.0 + share)));
        ends.extend(both(self.turn).map(Change::Turn));
        ends
    }

    /// Draws a picture's changes from what the line may see: every kind at once, each uniform in its
    /// range, in the order in which they happen. A JPEG's quality lies between the end and 95.
    pub fn sample(&self, random: &mut SplitMix64) -> Vec<Change> {
        let mut upto = |end: f64| end * random.unit();
        let mut changes = Vec::new();
        let mut around = |end: f64| 2.0 * upto(end) - end;
        changes.extend(self.turn.map(|end| Change::Turn(around(end))));
        changes.extend(self.zoom.map(|end| Change::Zoom(1.0 + around(end))));
        changes.extend(self.shift.map(|end| Change::Shift {
            x: around(end),
            y: around(end),
        }));
        changes.extend(self.light.map(|end| Change::Light(1.0 + around(end))));
        changes.extend(self.blur.map(|end| Change::Blur(upto(end))));
        changes.extend(self.noise.map(|end| Change::Noise(upto(end))));
        changes.extend(self.jpeg.map(|end| {
            let (worst, best) = (end.min(BEST_QUALITY), end.max(BEST_QUALITY));
            let steps = f64::from(best - worst) + 1.0;
            Change::Jpeg(worst + upto(steps) as u8)
        }));
        changes
    }

    /// Returns the end of a kind.
    fn end(&self, kind: ChangeKind) -> Option<f64> {
        match kind {
            ChangeKind::Light => self.light,
            ChangeKind::Noise => self.noise,
            ChangeKind::Blur => self.blur,
            ChangeKind::Jpeg => self.jpeg.map(f64::from),
            ChangeKind::Shift => self.shift,
            ChangeKind::Zoom => self.zoom,
            ChangeKind::Turn => self.turn,
        }
    }
}

impl FromStr for Variation {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut variation = Self {
            light: None,
            noise: None,
            blur: None,
            jpeg: None,
            shift: None,
            zoom: None,
            turn: None,
        };
        for (kind, value) in parts(text)? {
            let end = Some(kind.limit(value)?);
            match kind {
                ChangeKind::Light => variation.light = end,
                ChangeKind::Noise => variation.noise = end,
                ChangeKind::Blur => variation.blur = end,
                // A whole number from 5 to 100.
                ChangeKind::Jpeg => variation.jpeg = end.map(|quality| quality as u8),
                ChangeKind::Shift => variation.shift = end,
                ChangeKind::Zoom => variation.zoom = end,
                ChangeKind::Turn => variation.turn = end,
            }
        }
        Ok(variation)
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = ChangeKind::ALL
            .into_iter()
            .filter_map(|kind| Some(format!("{kind}={}", kind.value(self.end(kind)?))));
        f.write_str(&ends.collect::<Vec<_>>().join(","))
    }
}

impl Serialize for Variation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Variation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
