//! Simple methods on the same features, to see what a flow is worth: it has to beat these to
//! justify its cost.
//!
//! | | looks at | score of an image |
//! |---|---|---|
//! | [`gaussian`] | spatial means | Mahalanobis distance, covariance shrunk by Ledoit and Wolf |
//! | [`neighbour`] | spatial means, standardised | distance to the nearest training image |
//! | [`padim`] | every place, some channels | highest Mahalanobis distance of a place |
//!
//! Each is fitted on good images only, gives higher scores to what is less usual, and returns one
//! score for each image of a set, in order.

pub mod gaussian;
pub mod neighbour;
pub mod padim;

mod cholesky;

use ndarray::Array2;

use crate::features::{CachedFeatureError, FeatureSet};

/// Why a baseline has no scores.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Features could not be read.
    #[error(transparent)]
    Features(#[from] CachedFeatureError),
    /// There is no distribution to fit.
    #[error(
        "{method} cannot be fitted on {images} training images: it takes at least 2 whose features \
         differ"
    )]
    Degenerate {
        /// The method.
        method: &'static str,
        /// The number of images.
        images: usize,
    },
}

/// Images whose features are read at a time.
const BATCH: usize = 64;

/// Returns the features of a set whose view is a single vector per image, `[images, channels]`.
fn vectors(set: &FeatureSet) -> Result<Array2<f64>, CachedFeatureError> {
    let [channels, height, width] = set.shapes()[0];
    assert_eq!([height, width], [1, 1], "a view of one place");
    let mut rows = Vec::with_capacity(set.len() * channels);
    for batch in set.batches(BATCH) {
        let maps = &batch?[0];
        for sample in 0..maps.dim().1 {
            rows.extend((0..channels).map(|channel| f64::from(maps[[channel, sample, 0, 0]])));
        }
    }
    Ok(Array2::from_shape_vec((set.len(), channels), rows).expect("a value a channel and image"))
}
