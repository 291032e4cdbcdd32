//! A multivariate Gaussian, and the Mahalanobis distance from its mean.
//!
//! Rippel, Mertens and Merhof, "Modeling the Distribution of Normal Data in Pre-Trained Deep
//! Features for Anomaly Detection", ICPR 2020: one Gaussian on the spatial means of the features,
//! its covariance shrunk as in Ledoit and Wolf, "A well-conditioned estimator for
//! large-dimensional covariance matrices", Journal of Multivariate Analysis 88, 2004.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::cholesky::Cholesky;
use super::{BaselineError, vectors};
use crate::features::FeatureSet;

/// A mean and a covariance.
pub struct Gaussian {
    mean: Array1<f64>,
    covariance: Cholesky,
}

/// Returns the distance of each image of `test` from the Gaussian of `train`, both seen as one
/// vector per image.
///
/// # Errors
/// If features cannot be read, or the training features do not make a Gaussian.
///
/// # Panics
/// If a set is seen as more than one place.
pub fn scores(train: &FeatureSet, test: &FeatureSet) -> Result<Vec<f64>, BaselineError> {
    let gaussian = Gaussian::shrunk(vectors(train)?.view()).ok_or(BaselineError::Degenerate {
        method: "a Gaussian",
        images: train.len(),
    })?;
    let test = vectors(test)?;
    let rows = test.outer_iter();
    Ok(rows
        .map(|row| gaussian.distance(row.as_slice().expect("rows are contiguous")))
        .collect())
}

impl Gaussian {
    /// Fits on rows `[samples, channels]`, with the covariance shrunk; `None` if there are fewer
    /// than 2 or they do not differ.
    pub fn shrunk(rows: ArrayView2<f64>) -> Option<Self> {
        let (mean, centred) = centre(rows)?;
        let shrinkage = ledoit_wolf(&centred);
        let mut covariance = centred.t().dot(&centred) / centred.nrows() as f64;
        let target = covariance.diag().mean()?;
        covariance *= 1.0 - shrinkage;
        covariance
            .diag_mut()
            .mapv_inplace(|variance| variance + shrinkage * target);
        Self::new(mean, &covariance)
    }

    /// Creates it from a mean and a covariance; `None` if the covariance is not positive definite.
    pub(super) fn new(mean: Array1<f64>, covariance: &Array2<f64>) -> Option<Self> {
        Some(Self {
            mean,
            covariance: Cholesky::of(covariance)?,
        })
    }

    /// Returns the Mahalanobis distance of `x` from the mean.
    ///
    /// # Panics
    /// If `x` has another number of channels.
    pub fn distance(&self, x: &[f64]) -> f64 {
        assert_eq!(x.len(), self.mean.len(), "channels differ");
        let from_mean: Vec<f64> = x.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        self.covariance.inverse_form(&from_mean).sqrt()
    }
}

/// Returns the mean of some rows, and the rows without it; `None` if there are fewer than 2.
fn centre(rows: ArrayView2<f64>) -> Option<(Array1<f64>, Array2<f64>)> {
    if rows.nrows() < 2 {
        return None;
    }
    let mean = rows.mean_axis(Axis(0))?;
    let centred = &rows - &mean;
    Some((mean, centred))
}

/// Returns how far to shrink the covariance of centred rows towards a multiple of the identity, 0
/// to 1: the formula and its order of operations are those of scikit-learn's
/// `ledoit_wolf_shrinkage`.
fn ledoit_wolf(centred: &Array2<f64>) -> f64 {
    let (samples, channels) = (centred.nrows() as f64, centred.ncols() as f64);
    let squares = centred.mapv(|x| x * x);
    let variances = squares.sum_axis(Axis(0)) / samples;
    let target = variances.sum() / channels;
    let products = centred.t().dot(centred);
    let distance = products.mapv(|x| x * x).sum() / (samples * samples);
    let noise = squares.sum_axis(Axis(1)).mapv(|x| x * x).sum();
    let noise = (noise / samples - distance) / (channels * samples);
    let distance = (distance - 2.0 * target * variances.sum()) / channels + target * target;
    match noise.min(distance) {
        0.0 => 0.0,
        noise => noise / distance,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    /// `[samples, channels]`, with scales and their own dependencies.
    fn made_up(samples: usize, channels: usize) -> Array2<f64> {
        Array2::from_shape_fn((samples, channels), |(i, c)| {
            let (i, c) = (i as f64, c as f64);
            (1.0 + c) * (1.3 * i + 0.7 * c).sin() + 0.5 * (2.1 * i).cos() + c
        })
    }

    /// The expected numbers are those of scikit-learn 1.9.1: `LedoitWolf().fit(x)`, its
    /// `shrinkage_`, and the root of its `mahalanobis` of the point `0.5 + 0.25 c`.
    #[test]
    fn shrinkage_and_distance_equal_scikit_learns() {
        for (samples, channels, shrinkage, distance) in [
            (20, 3, 0.071_966_698_026_104_9, 0.948_713_780_578_407_7),
            (12, 30, 0.096_639_141_872_286_1, 15.914_969_165_413_02),
            (200, 8, 0.006_303_721_914_171_691_4, 9.385_515_342_421_554),
        ] {
            let rows = made_up(samples, channels);
            let (_, centred) = centre(rows.view()).expect("rows");
            let found = ledoit_wolf(&centred);
            assert!((found - shrinkage).abs() < 1e-12, "{found} {shrinkage}");
            let gaussian = Gaussian::shrunk(rows.view()).expect("they differ");
            let point: Vec<f64> = (0..channels).map(|c| 0.5 + 0.25 * c as f64).collect();
            let found = gaussian.distance(&point);
            assert!((found / distance - 1.0).abs() < 1e-10, "{found} {distance}");
        }
    }

    #[test]
    fn rows_that_do_not_differ_make_no_gaussian() {
        let one = made_up(1, 3);
        assert!(Gaussian::shrunk(one.view()).is_none());
        let same = Array2::from_elem((5, 3), 2.0);
        assert!(Gaussian::shrunk(same.view()).is_none());
    }

    proptest! {
        /// Without shrinkage any invertible affine map of all features changes no distance.
        #[test]
        fn the_mahalanobis_distance_is_affine_invariant(
            entries in prop::collection::vec(-1.0..1.0_f64, 9),
            shift in prop::collection::vec(-5.0..5.0_f64, 3),
            point in prop::collection::vec(-5.0..5.0_f64, 3),
        ) {
            // Diagonally dominant, and so invertible.
            let map = Array2::from_shape_vec((3, 3), entries).expect("nine")
                + Array2::<f64>::eye(3) * 4.0;
            let shift = Array1::from(shift);
            let point = Array1::from(point);
            let distance = |rows: &Array2<f64>, point: &Array1<f64>| {
                let (mean, centred) = centre(rows.view()).expect("rows");
                let covariance = centred.t().dot(&centred) / rows.nrows() as f64;
                let gaussian = Gaussian::new(mean, &covariance).expect("they differ");
                gaussian.distance(point.as_slice().expect("contiguous"))
            };
            let rows = made_up(20, 3);
            let before = distance(&rows, &point);
            let after = distance(&(rows.dot(&map.t()) + &shift), &(map.dot(&point) + &shift));
            prop_assert!((after / before - 1.0).abs() < 1e-8, "{before} {after}");
        }

        /// With shrinkage a shift and one factor for all features do not.
        #[test]
        fn a_shrunk_gaussian_knows_no_unit_and_no_origin(
            factor in 0.1..10.0_f64,
            shift in -5.0..5.0_f64,
            point in prop::collection::vec(-5.0..5.0_f64, 4),
        ) {
            let rows = made_up(12, 4);
            let moved = |x: f64| factor * x + shift;
            let before = Gaussian::shrunk(rows.view()).expect("they differ").distance(&point);
            let after = Gaussian::shrunk(rows.mapv(moved).view()).expect("they differ");
            let after = after.distance(&point.iter().map(|&x| moved(x)).collect::<Vec<_>>());
            prop_assert!((after / before - 1.0).abs() < 1e-8, "{before} {after}");
        }
    }
}
