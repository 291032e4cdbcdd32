//! The condition of a picture: light, noise, focus, compression, and where the part lies.
//!
//! ```text
//! picture ─► inspected region, own pixels ─► highlights, noise, focus, compression ─┐
//!        └─► model's input ─┬─► mean luma ──────────────────────────────────────────┼─► values
//!                           └─► view ─► motion against the mean view ───────────────┘
//! ```
//! A model trained on one line's pictures scores others higher as soon as a lamp ages, a lens turns
//! or a camera is moved, by amounts that a look at the picture does not show. Each of these changes
//! one of a few numbers, which differ little between good pictures. They are compared with those of
//! the calibration in [`ConditionWatch`](crate::drift::ConditionWatch); nothing is judged here.
//!
//! Each value is rounded to what it means, so that the manifest stays short. Calibration and line
//! round alike.

mod detail;
mod quantity;
mod view;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::{RgbImage, Size};
use crate::preprocess::{Geometry, PreprocessError};
use view::{MeanView, Reference};

pub(crate) use quantity::Change;
pub use quantity::{Cause, Quantity};
pub(crate) use view::ViewSums;
pub use view::{GreyView, ViewError};

/// The number of calibration pictures whose values are kept at most. With more, a change is hardly
/// seen sooner: in simulations, one by 1.5 deviations after 14 parts with 100 and 150 alike.
const MOST: usize = 200;

/// What is measured of a picture, except where the part lies, which takes a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Mean luma of the model's input, 0 to 255.
    pub brightness: f32,
    /// Luma that a twentieth of the inspected pixels exceed, 0 to 255.
    pub highlights: f32,
    /// Deviation of the noise of luma in smooth places, in grey levels.
    pub noise: f32,
    /// Energy of the differences between neighbouring pixels as a share of that over two pixels,
    /// both without noise: from a quarter (blurred) to about a half (sharp). Does not depend on
    /// light and contrast.
    pub focus: f32,
    /// How many times steeper the steps between 8x8 blocks are than those elsewhere; 1 without.
    pub compression: f32,
    /// Width of the inspected region as a multiple of its height.
    pub aspect: f32,
    /// The model's input, very small.
    pub view: GreyView,
}

impl Condition {
    /// Measures the part of `picture` that `geometry` inspects; `brightness` and `view` are those of
    /// the model's input made of it. `None` if the region is too small: a side is shorter than 16 pixels.
    ///
    /// # Errors
    /// If the region of interest does not lie inside the picture.
    pub fn measure(
        picture: &RgbImage,
        geometry: &Geometry,
        brightness: f64,
        view: GreyView,
    ) -> Result<Option<Self>, PreprocessError> {
        let region = geometry.view(picture)?;
        let size = region.size();
        let rows: Vec<&[u8]> = region.rows().collect();
        let turned = geometry.turn(size);
        Ok(detail::measure(&rows, size).map(|detail| Self {
            brightness: rounded(brightness, 1),
            highlights: rounded(detail.highlights, 0),
            noise: rounded(detail.noise, 2),
            focus: rounded(detail.focus, 3),
            compression: rounded(detail.compression, 3),
            aspect: aspect(turned),
            view,
        }))
    }
}

fn aspect(size: Size) -> f32 {
    size.width as f32 / size.height as f32
}

/// Returns a value with this number of decimals.
fn rounded(value: f64, decimals: i32) -> f32 {
    let scale = 10_f64.powi(decimals);
    ((value * scale).round() / scale) as f32
}

/// What the pictures of a calibration were like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsualPictures {
    /// Width of the inspected region as a multiple of its height.
    pub aspect: f32,
    /// Their mean view, which positions are measured against.
    pub view: GreyView,
    /// The values of each quantity, ascending; of at most 200 pictures.
    pub values: BTreeMap<Quantity, Vec<f32>>,
    /// Lowest and highest of the medians of each quantity under the changes that the promise covers;
    /// empty if it covers none. Between them a change is no news.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covered: BTreeMap<Quantity, [f32; 2]>,
}

impl UsualPictures {
    /// Summarises good pictures, in an order that does not depend on them; `None` for fewer than
    /// two. Of more than 200, evenly spaced ones are kept: a choice that does not look at the values
    /// leaves them exchangeable with those of the line.
    ///
    /// Each picture lies where it lies against the mean view of all others: against a mean that
    /// contains it, it would lie closer than the next picture of the line. That left 2 of 50 lines
    /// of unchanged printed circuits with a false alarm.
    pub fn from_good(good: &[&Condition]) -> Option<Self> {
        let mut aspects: Vec<f32> = good.iter().map(|it| it.aspect).collect();
        aspects.sort_by(f32::total_cmp);
        let mean = MeanView::new(good.iter().map(|it| &it.view));
        let mut usual = Self {
            aspect: *aspects.get(aspects.len() / 2)?,
            view: mean.of_all()?,
            values: BTreeMap::new(),
            covered: BTreeMap::new(),
        };
        let kept = good.len().min(MOST);
        let kept = (0..kept).map(|rank| good[rank * good.len() / kept]);
        let measured: Option<Vec<_>> = kept
            .map(|condition| {
                let others = mean.without(&condition.view)?;
                Some(Gauge::new(&others, usual.aspect).values(condition))
            })
            .collect();
        usual.values = ascending(measured?);
        Some(usual)
    }

    /// Covers these pictures too: those of the calibration as one change would make them.
    pub fn cover(&mut self, changed: &[&Condition]) {
        let gauge = self.gauge();
        for (quantity, values) in ascending(changed.iter().map(|it| gauge.values(it))) {
            let (changed, usual) = (median(&values), median(&self.values[&quantity]));
            let [low, high] = self.covered.entry(quantity).or_insert([usual, usual]);
            *low = low.min(changed);
            *high = high.max(changed);
        }
    }

    /// Returns what measures pictures against these.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(&self.view, self.aspect)
    }

    /// Returns `true` if pictures can be compared with these: everything is a number, and there are
    /// values of each quantity in ascending order.
    pub fn is_possible(&self) -> bool {
        let is_fit = |values: &Vec<f32>| {
            !values.is_empty() && values.iter().all(|it| it.is_finite()) && values.is_sorted()
        };
        // Not a number is not at most anything.
        let is_range = |[low, high]: &[f32; 2]| low <= high && high - low < f32::INFINITY;
        self.aspect.is_normal()
            && self.aspect > 0.0
            && self.values.values().all(is_fit)
            && self.covered.values().all(is_range)
    }
}

/// Returns the values of each quantity over some pictures, ascending.
fn ascending(
    pictures: impl IntoIterator<Item = [(Quantity, f32); 9]>,
) -> BTreeMap<Quantity, Vec<f32>> {
    let mut values: BTreeMap<Quantity, Vec<f32>> = BTreeMap::new();
    for (quantity, value) in pictures.into_iter().flatten() {
        values.entry(quantity).or_default().push(value);
    }
    values
        .values_mut()
        .for_each(|values| values.sort_by(f32::total_cmp));
    values
}

/// Returns the middle of ascending values, the lower one of two; 0 if there are none.
pub(crate) fn median(values: &[f32]) -> f32 {
    at_share(values, 0.5)
}

/// Returns the value that has this share of the others below it; 0 if there are none.
pub(crate) fn at_share(values: &[f32], share: f64) -> f32 {
    let last = values.len().saturating_sub(1);
    let rank = (last as f64 * share).round() as usize;
    values.get(rank).copied().unwrap_or(0.0)
}

/// Turns what was measured of a picture into one number per quantity.
#[derive(Clone, Debug)]
pub struct Gauge {
    reference: Reference,
}

impl Gauge {
    fn new(view: &GreyView, aspect: f32) -> Self {
        Self {
            reference: Reference::new(view, f64::from(aspect)),
        }
    }

    /// Returns the values of a picture.
    pub fn values(&self, condition: &Condition) -> [(Quantity, f32); 9] {
        let motion = self.reference.motion(&condition.view);
        [
            (Quantity::Brightness, condition.brightness),
            (Quantity::Highlights, condition.highlights),
            (Quantity::Noise, condition.noise),
            (Quantity::Focus, condition.focus),
            (Quantity::Compression, condition.compression),
            (Quantity::Right, rounded(100.0 * motion.right, 2)),
            (Quantity::Down, rounded(100.0 * motion.down, 2)),
            (Quantity::Zoom, rounded(100.0 * motion.zoom, 2)),
            (Quantity::Turn, rounded(motion.turn, 2)),
        ]
    }
}

#[cfg(test)]
mod tests;
