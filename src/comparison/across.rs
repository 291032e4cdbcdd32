//! One comparison for each of several categories, as published tables have them: a row a category, a
//! column a method, and the mean.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Comparison;

/// A method over several categories.
#[derive(Debug, PartialEq, Serialize)]
pub struct AcrossCategories<'a> {
    /// Its name.
    pub method: &'static str,
    /// Its image AUROC by category.
    pub image_auroc: BTreeMap<&'a str, f64>,
    /// Their arithmetic mean, each category counting the same.
    pub mean: f64,
}

impl<'a> AcrossCategories<'a> {
    /// Of every method of the comparisons, which have the same ones in the same order.
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
