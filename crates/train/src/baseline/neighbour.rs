//! The distance to the nearest training image.
//!
//! The features are the spatial means of all channels, standardised on the training images; the
//! distance is Euclidean.

use ndarray::{ArrayView1, Axis};

use super::{BaselineError, vectors};
use crate::features::FeatureSet;

/// Returns the distance of each image of `test` to the nearest one of `train`, both seen as one
/// vector per image.
///
/// # Errors
/// If features cannot be read.
///
/// # Panics
/// If a set is seen as more than one place.
pub fn scores(train: &FeatureSet, test: &FeatureSet) -> Result<Vec<f64>, BaselineError> {
    let (mut train, mut test) = (vectors(train)?, vectors(test)?);
    let mean = train.mean_axis(Axis(0)).expect("a set has images");
    let deviation = train.std_axis(Axis(0), 0.0);
    for rows in [&mut train, &mut test] {
        *rows -= &mean;
        // A channel that never varied gives no unit for the distance of a new image: it is left as
        // it is.
        *rows /= &deviation.mapv(|deviation| if deviation > 0.0 { deviation } else { 1.0 });
    }
    let nearest = |row: ArrayView1<f64>| {
        let distance = |other: ArrayView1<f64>| {
            let squares = row.iter().zip(other).map(|(a, b)| (a - b) * (a - b));
            squares.sum::<f64>()
        };
        let squares = train.outer_iter().map(distance);
        squares.fold(f64::INFINITY, f64::min).sqrt()
    };
    Ok(test.outer_iter().map(nearest).collect())
}
