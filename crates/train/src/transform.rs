//! Fits the map between features and flow on the training set, and applies it to a batch.

use std::fmt;

use flawd_core::transform::{ChannelTransform, FeatureTransform};
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use crate::features::{CachedFeatureError, FeatureSet};
use crate::maps::{Maps, Scales};

/// What to do to the features before the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransformKind {
    /// Nothing: the published model.
    None,
    /// Mean 0 and deviation 1 for each channel of each scale.
    #[default]
    Standardise,
}

impl fmt::Display for TransformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Standardise => "standardise",
        })
    }
}

/// Images whose features are read at a time.
const BATCH: usize = 64;

/// Fits a transform on all images of a set.
///
/// # Errors
/// If features cannot be read.
pub fn fit(
    kind: TransformKind,
    features: &FeatureSet,
) -> Result<FeatureTransform, CachedFeatureError> {
    let scales = match kind {
        TransformKind::None => vec![ChannelTransform::Identity; features.shapes().len()],
        TransformKind::Standardise => {
            let shapes = features.shapes().into_iter();
            let mut moments: Scales<ChannelMoments> = shapes
                .map(|[channels, ..]| ChannelMoments::new(channels))
                .collect();
            for batch in features.batches(BATCH) {
                for (moments, maps) in moments.iter_mut().zip(batch?) {
                    moments.add(&maps);
                }
            }
            moments
                .into_iter()
                .map(ChannelMoments::standardise)
                .collect()
        }
    };
    Ok(FeatureTransform { scales })
}

/// Running sums over positions, by channel, in double precision.
struct ChannelMoments {
    count: f64,
    sum: Vec<f64>,
    square: Vec<f64>,
}

/// A channel that hardly varies is not blown up beyond this factor of its mean deviation.
const SMALLEST_DEVIATION: f64 = 1e-3;

/// Nor beyond this factor of the channels' mean size: what varies less, in features that hardly
/// vary at all, is rounding to 24 bits after a few layers, and not the parts. Not measured.
const SMALLEST_SHARE: f64 = 1e-5;

impl ChannelMoments {
    fn new(channels: usize) -> Self {
        Self {
            count: 0.0,
            sum: vec![0.0; channels],
            square: vec![0.0; channels],
        }
    }

    fn add(&mut self, maps: &Maps) {
        self.count += (maps.len() / self.sum.len()) as f64;
        for (channel, values) in maps.axis_iter(Axis(0)).enumerate() {
            for &value in values {
                let value = f64::from(value);
                self.sum[channel] += value;
                self.square[channel] += value * value;
            }
        }
    }

    fn standardise(self) -> ChannelTransform {
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.count).collect();
        let deviation: Vec<f64> = (self.square.iter().zip(&mean))
            .map(|(square, mean)| (square / self.count - mean * mean).max(0.0).sqrt())
            .collect();
        let channels = deviation.len() as f64;
        let typical = deviation.iter().sum::<f64>() / channels;
        let size = mean.iter().map(|mean| mean.abs()).sum::<f64>() / channels;
        let floor = match (SMALLEST_DEVIATION * typical).max(SMALLEST_SHARE * size) {
            // Features that are all zeros give no scale by which a size is small.
            0.0 => 1.0,
            floor => floor,
        };
        ChannelTransform::Affine {
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            scale: deviation
                .iter()
                .map(|&d| (1.0 / d.max(floor)) as f32)
                .collect(),
        }
    }
}

/// Applies a transform to a batch.
///
/// # Panics
/// If the transform is for another number of scales or channels.
pub fn apply(transform: &FeatureTransform, features: Scales<Maps>) -> Scales<Maps> {
    assert_eq!(transform.scales.len(), features.len(), "scales differ");
    let scales = transform.scales.iter().zip(features);
    scales
        .map(|(transform, maps)| apply_scale(transform, maps))
        .collect()
}

fn apply_scale(transform: &ChannelTransform, mut maps: Maps) -> Maps {
    match transform {
        ChannelTransform::Identity => maps,
        ChannelTransform::Affine { mean, scale } => {
            assert_eq!(maps.dim().0, mean.len(), "channels differ");
            for ((mut values, mean), scale) in maps.axis_iter_mut(Axis(0)).zip(mean).zip(scale) {
                values.mapv_inplace(|value| (value - mean) * scale);
            }
            maps
        }
    }
}
