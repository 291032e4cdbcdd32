//! A Gaussian for every place of the feature maps.
//!
//! Defard, Setkov, Loesch and Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
//! Detection and Localization", ICPR 2020: the maps of all scales concatenated on the finest grid,
//! some channels of them drawn at random, one Gaussian per place with `0.01` added to its
//! variances, and the highest Mahalanobis distance of a place as the image's score.
//!
//! Unlike there, channels are standardised first, so that the `0.01` means the same with any
//! backbone, and the map is not smoothed.

use flawd_core::random::SplitMix64;
use flawd_core::transform::FeatureTransform;
use ndarray::{Array1, Array2, ArrayView4, Axis};

use super::gaussian::Gaussian;
use super::{BATCH, BaselineError};
use crate::features::{CachedFeatureError, FeatureSet};
use crate::maps::Maps;
use crate::transform::{self, TransformKind};

/// Channels that are drawn if there are more: the paper's number for its smaller backbone.
pub const CHANNELS: usize = 100;

/// Added to the variances.
const REGULARISATION: f64 = 0.01;

/// A fitted model.
pub struct Padim {
    transform: FeatureTransform,
    /// Channels that are used.
    channels: Vec<usize>,
    /// One per place, row by row.
    places: Vec<Gaussian>,
}

/// Returns the score of each image of `test` by the model of `train`, both seen as one map per
/// image; `seed` draws the channels.
///
/// # Errors
/// If features cannot be read, or there are fewer than 2 training images.
///
/// # Panics
/// If a set is seen as more than one map.
pub fn scores(train: &FeatureSet, test: &FeatureSet, seed: u64) -> Result<Vec<f64>, BaselineError> {
    let padim = Padim::fit(train, seed)?;
    let mut scores = Vec::with_capacity(test.len());
    for map in padim.maps(test)? {
        scores.push(map.iter().copied().fold(0.0, f64::max));
    }
    Ok(scores)
}

impl Padim {
    /// Fits on a set that is seen as one map per image.
    ///
    /// # Errors
    /// If features cannot be read, or there are fewer than 2 images.
    pub fn fit(train: &FeatureSet, seed: u64) -> Result<Self, BaselineError> {
        let shapes = train.shapes();
        let &[[channels, height, width]] = &shapes[..] else {
            panic!("one map an image, not {}", shapes.len())
        };
        let mut order: Vec<usize> = (0..channels).collect();
        SplitMix64::new(seed).shuffle(&mut order);
        order.truncate(CHANNELS);
        let transform = transform::fit(TransformKind::Standardise, train)?;
        let mut moments: Vec<VectorMoments> = (0..height * width)
            .map(|_| VectorMoments::new(order.len()))
            .collect();
        for batch in train.batches(BATCH) {
            let maps = chosen(&transform, &order, batch?);
            for (place, moments) in moments.iter_mut().enumerate() {
                moments.add(&vectors_at(maps.view(), place));
            }
        }
        let degenerate = BaselineError::Degenerate {
            method: "PaDiM",
            images: train.len(),
        };
        let places: Option<Vec<Gaussian>> =
            moments.into_iter().map(VectorMoments::gaussian).collect();
        Ok(Self {
            transform,
            channels: order,
            places: places.ok_or(degenerate)?,
        })
    }

    /// Returns the distance of every place of every image, row by row.
    ///
    /// # Errors
    /// If features cannot be read.
    pub fn maps(&self, test: &FeatureSet) -> Result<Vec<Vec<f64>>, CachedFeatureError> {
        let mut maps = Vec::with_capacity(test.len());
        for batch in test.batches(BATCH) {
            let features = chosen(&self.transform, &self.channels, batch?);
            let first = maps.len();
            maps.resize(first + features.dim().1, Vec::new());
            for (place, gaussian) in self.places.iter().enumerate() {
                let vectors = vectors_at(features.view(), place);
                for (map, vector) in maps[first..].iter_mut().zip(vectors.outer_iter()) {
                    let vector = vector.as_slice().expect("rows are contiguous");
                    map.push(gaussian.distance(vector));
                }
            }
        }
        Ok(maps)
    }
}

/// Returns the channels that are used, standardised.
fn chosen(transform: &FeatureTransform, channels: &[usize], batch: Vec<Maps>) -> Maps {
    let mut maps = transform::apply(transform, batch);
    maps.swap_remove(0).select(Axis(0), channels)
}

/// Returns the vectors `[samples, channels]` at a place.
fn vectors_at(maps: ArrayView4<f32>, place: usize) -> Array2<f64> {
    let (channels, samples, _, width) = maps.dim();
    let (row, column) = (place / width, place % width);
    Array2::from_shape_fn((samples, channels), |(sample, channel)| {
        f64::from(maps[[channel, sample, row, column]])
    })
}

/// Running sums of vectors and their products.
struct VectorMoments {
    count: usize,
    sum: Array1<f64>,
    products: Array2<f64>,
}

impl VectorMoments {
    fn new(channels: usize) -> Self {
        Self {
            count: 0,
            sum: Array1::zeros(channels),
            products: Array2::zeros((channels, channels)),
        }
    }

    fn add(&mut self, vectors: &Array2<f64>) {
        self.count += vectors.nrows();
        self.sum += &vectors.sum_axis(Axis(0));
        self.products += &vectors.t().dot(vectors);
    }

    /// Returns `None` if there are fewer than 2 vectors.
    fn gaussian(self) -> Option<Gaussian> {
        if self.count < 2 {
            return None;
        }
        let count = self.count as f64;
        let mean = self.sum / count;
        let mut covariance = self.products / (count - 1.0);
        let bias = count / (count - 1.0);
        for ((row, column), value) in covariance.indexed_iter_mut() {
            *value -= bias * mean[row] * mean[column];
        }
        covariance
            .diag_mut()
            .mapv_inplace(|variance| variance + REGULARISATION);
        Gaussian::new(mean, &covariance)
    }
}
