//! Metrics of image scores that need no threshold.

use std::collections::BTreeMap;

use flawd_core::evaluation::Ranking;
use serde::{Deserialize, Serialize};

use crate::lab::dataset::GOOD;

/// How well scores separate good images from those with a defect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageMetrics {
    /// Area under the ROC curve.
    pub image_auroc: f64,
    /// Average precision.
    pub image_ap: f64,
    /// Best F1 score over all thresholds.
    pub f1_max: f64,
    /// Area under the ROC curve of one kind of defect against all good images, by kind.
    pub defect_types: BTreeMap<String, f64>,
}

impl ImageMetrics {
    /// Computes the metrics of images, each with its kind and score; `None` unless there are good
    /// ones and defects.
    pub fn new<'a>(images: impl Iterator<Item = (&'a str, f32)>) -> Option<Self> {
        let mut good = Vec::new();
        let mut defects: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
        for (kind, score) in images {
            match kind {
                GOOD => good.push(score),
                kind => defects.entry(kind).or_default().push(score),
            }
        }
        let all: Vec<f32> = defects.values().flatten().copied().collect();
        let ranking = Ranking::new(&good, &all)?;
        let of_kind = |(kind, scores): (&str, Vec<f32>)| {
            let auroc = Ranking::new(&good, &scores)?.auroc();
            Some((kind.to_owned(), auroc))
        };
        Some(Self {
            image_auroc: ranking.auroc(),
            image_ap: ranking.average_precision(),
            f1_max: ranking.f1_max().f1,
            defect_types: defects.into_iter().filter_map(of_kind).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_ranked_against_all_good_images() {
        let images = [
            ("good", 1.0),
            ("crack", 2.0),
            ("good", 3.0),
            ("stain", 4.0),
            ("stain", 5.0),
        ];
        let metrics = ImageMetrics::new(images.into_iter()).expect("both kinds");
        assert_eq!(metrics.defect_types["crack"], 0.5);
        assert_eq!(metrics.defect_types["stain"], 1.0);
        assert_eq!(metrics.image_auroc, 5.0 / 6.0);
        assert!(ImageMetrics::new([("good", 1.0)].into_iter()).is_none());
        assert!(ImageMetrics::new([("stain", 1.0)].into_iter()).is_none());
    }
}
