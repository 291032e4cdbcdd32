//! Results of other methods on the evaluated images, as in published tables: a row per category, a
//! column per method, and the mean.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::ImageMetrics;

/// The flow and other methods on the same images.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Number of images that every method was fitted on.
    pub training_images: usize,
    /// Number of images that every method was measured on: those that the flow scored and that
    /// could still be read.
    pub test_images: usize,
    /// The flow first.
    pub rows: Vec<ComparisonRow>,
}

/// One method.
#[derive(Debug, Serialize)]
pub struct ComparisonRow {
    /// Its name.
    pub method: &'static str,
    /// What it does, in one line.
    pub how: &'static str,
    /// The metrics of its scores.
    #[serde(flatten)]
    pub metrics: ImageMetrics,
}

/// A method over several categories.
#[derive(Debug, PartialEq, Serialize)]
pub struct AcrossCategories<'a> {
    /// Its name.
    pub method: &'static str,
    /// Its image AUROC by category.
    pub image_auroc: BTreeMap<&'a str, f64>,
    /// Their arithmetic mean, all categories weighted equally.
    pub mean: f64,
}

impl<'a> AcrossCategories<'a> {
    /// Returns every method of the comparisons, which have the same methods in the same order.
    pub fn of(comparisons: &[(&'a str, &Comparison)]) -> Vec<Self> {
        let Some((_, first)) = comparisons.first() else {
            return Vec::new();
        };
        let of_method = |place: usize| {
            let auroc = |&(category, comparison): &(&'a str, &Comparison)| {
                (category, comparison.rows[place].metrics.image_auroc)
            };
            let image_auroc: BTreeMap<_, _> = comparisons.iter().map(auroc).collect();
            Self {
                method: first.rows[place].method,
                mean: image_auroc.values().sum::<f64>() / image_auroc.len() as f64,
                image_auroc,
            }
        };
        (0..first.rows.len()).map(of_method).collect()
    }
}
