//! The anomaly map: how unusual each place of a picture is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::Size;

/// How a model makes its anomaly map from the latents. Whatever the kind, 1 is about what a good
/// part has, and a place whose latents have the mean square e at every scale has the value e.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// The mean of z² over the channels of the finest scale, on that scale's grid: the paper's.
    #[default]
    Finest,
    /// The geometric mean of all scales' means of z², each brought to the size of the model's
    /// input first, bilinear with `align_corners = false`. Its third power is anomalib's map, the
    /// product; the root has the units of the other kind.
    Product,
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finest => "finest",
            Self::Product => "product",
        })
    }
}

/// How a model makes its score from the latents. Whatever the kind, a picture whose latents have the
/// mean square e everywhere has the score e / 2, and a good one about one half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreKind {
    /// Half the mean of z² over the latents of all scales: the paper's. A small defect is one of many
    /// cells.
    #[default]
    Mean,
    /// Half the power mean, with the exponent [`POWER`], of the cells of the finest scale, each the
    /// mean of z² over its channels. Between the mean (exponent 1) and the maximum (infinite): a
    /// large defect raises it by its area, a small one by its height.
    PowerMean,
}

/// The exponent of [`ScoreKind::PowerMean`]; docs/training.md shows others.
pub const POWER: i32 = 3;

impl fmt::Display for ScoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::PowerMean => "power-mean",
        })
    }
}

/// What a model reads out of its latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readout {
    /// The score.
    pub score: ScoreKind,
    /// The anomaly map.
    pub map: MapKind,
}

/// One value per cell, row-major; 1 is what a good part has on average, more is less usual.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalyMap {
    size: Size,
    values: Vec<f32>,
}

/// Values that do not make an [`AnomalyMap`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnomalyMapError {
    /// The values do not fit the size, or there are none.
    #[error("an anomaly map of {size} cannot hold {actual} values")]
    WrongLength {
        /// The stated size.
        size: Size,
        /// Values that were given.
        actual: usize,
    },
    /// A value is not a number or infinite.
    #[error("the anomaly map holds a value that is not finite in row {row}, column {column}")]
    NotFinite {
        /// Row of the first such value.
        row: usize,
        /// Its column.
        column: usize,
    },
}

impl AnomalyMap {
    /// Takes `size.height * size.width` values in row-major order.
    ///
    /// # Errors
    /// If the number of values does not fit, is zero, or a value is not finite.
    pub fn new(size: Size, values: Vec<f32>) -> Result<Self, AnomalyMapError> {
        if values.len() != size.area() || values.is_empty() {
            return Err(AnomalyMapError::WrongLength {
                size,
                actual: values.len(),
            });
        }
        if let Some(bad) = values.iter().position(|value| !value.is_finite()) {
            return Err(AnomalyMapError::NotFinite {
                row: bad / size.width,
                column: bad % size.width,
            });
        }
        Ok(Self { size, values })
    }

    /// Returns the number of rows and columns.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Returns the values in row-major order; all are finite.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the largest value.
    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(f32::MIN, f32::max)
    }

    /// Returns the map at another size, bilinear with `align_corners = false`: the place in the
    /// source of an output cell `o` is `(o + 0.5) * source / target - 0.5`, held inside the map.
    ///
    /// # Panics
    /// If `target` has no cells.
    pub fn upsample(&self, target: Size) -> Self {
        assert!(target.area() > 0, "a map of {target} has no cells");
        let rows = taps(self.size.height, target.height);
        let columns = taps(self.size.width, target.width);
        let mut values = Vec::with_capacity(target.area());
        for row in &rows {
            let above = &self.values[row.low * self.size.width..][..self.size.width];
            let below = &self.values[row.high * self.size.width..][..self.size.width];
            values.extend(columns.iter().map(|column| {
                let top = lerp(above[column.low], above[column.high], column.weight);
                let bottom = lerp(below[column.low], below[column.high], column.weight);
                lerp(top, bottom, row.weight)
            }));
        }
        Self {
            size: target,
            values,
        }
    }
}

/// The two source cells that one output cell mixes; `weight` is that of `high`.
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

fn taps(source: usize, target: usize) -> Vec<Tap> {
    let step = source as f64 / target as f64;
    let last = source - 1;
    (0..target)
        .map(|o| {
            let place = ((o as f64 + 0.5) * step - 0.5).clamp(0.0, last as f64);
            let low = place.floor() as usize;
            Tap {
                low,
                high: (low + 1).min(last),
                weight: (place - low as f64) as f32,
            }
        })
        .collect()
}

fn lerp(from: f32, to: f32, weight: f32) -> f32 {
    from * (1.0 - weight) + to * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_twice_has_the_quarter_weights_and_held_edges() {
        let map = AnomalyMap::new(Size::new(1, 2), vec![0.0, 4.0]).expect("two values");
        let up = map.upsample(Size::new(2, 4));
        assert_eq!(up.size(), Size::new(2, 4));
        assert_eq!(up.values(), [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let values: Vec<f32> = (0..12).map(|i| (i * i) as f32).collect();
        let map = AnomalyMap::new(Size::new(3, 4), values).expect("twelve values");
        assert_eq!(map.upsample(Size::new(3, 4)), map);
        assert_eq!(map.max(), 121.0);
    }

    #[test]
    fn values_that_are_not_numbers_are_refused_with_their_place() {
        let size = Size::new(2, 2);
        assert_eq!(
            AnomalyMap::new(size, vec![0.0, 0.0, 0.0, f32::NAN]),
            Err(AnomalyMapError::NotFinite { row: 1, column: 1 })
        );
        assert_eq!(
            AnomalyMap::new(size, vec![0.0; 3]),
            Err(AnomalyMapError::WrongLength { size, actual: 3 })
        );
    }
}
