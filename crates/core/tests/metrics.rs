//! Metrics against scikit-learn and scipy, on random scores and maps with ties: numbers of
//! `tests/data/metrics/reference.json`, which the script beside it writes.

use flawd_core::evaluation::{PixelCounts, PixelTruth, Ranking};
use flawd_core::image::Size;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    rankings: Vec<RankingCase>,
    overlaps: Vec<OverlapCase>,
}

#[derive(Deserialize)]
struct RankingCase {
    good: Vec<f32>,
    defect: Vec<f32>,
    auroc: f64,
    average_precision: f64,
    f1_max: f64,
    /// Threshold, false-positive rate, true-positive rate; descending.
    roc: Vec<(f32, f64, f64)>,
    /// Threshold, precision, recall; ascending.
    precision_recall: Vec<(f32, f64, f64)>,
}

#[derive(Deserialize)]
struct OverlapCase {
    pictures: Vec<Picture>,
    aupro: f64,
    regions: usize,
}

#[derive(Deserialize)]
struct Picture {
    values: Vec<Vec<f32>>,
    is_defect: Vec<Vec<u8>>,
}

fn reference() -> Reference {
    let text = include_str!("../../../tests/data/metrics/reference.json");
    serde_json::from_str(text).expect("the script writes this form")
}

/// The tolerance that the metrics are held to.
fn close(actual: f64, expected: f64) -> bool {
    (actual - expected).abs() < 1e-6
}

#[test]
fn metrics_and_curves_of_random_scores_equal_scikit_learns() {
    let cases = reference().rankings;
    assert!(cases.len() >= 5, "the script makes several");
    for (number, case) in cases.iter().enumerate() {
        let ranking = Ranking::new(&case.good, &case.defect).expect("both kinds are there");
        for (name, actual, expected) in [
            ("AUROC", ranking.auroc(), case.auroc),
            ("AP", ranking.average_precision(), case.average_precision),
            ("F1-max", ranking.f1_max().f1, case.f1_max),
        ] {
            assert!(
                close(actual, expected),
                "{name} of case {number}: {actual} and {expected}"
            );
        }
        let curve: Vec<_> = ranking.curve().collect();
        assert_eq!(curve.len(), case.roc.len(), "points of case {number}");
        for (point, &(threshold, false_positives, true_positives)) in curve.iter().zip(&case.roc) {
            assert_eq!(point.threshold, threshold);
            assert!(
                close(point.false_reject_rate, false_positives),
                "case {number}"
            );
            assert!(close(point.recall, true_positives), "case {number}");
        }
        assert_eq!(curve.len(), case.precision_recall.len());
        let ascending = curve.iter().rev();
        for (point, &(threshold, precision, recall)) in ascending.zip(&case.precision_recall) {
            assert_eq!(point.threshold, threshold);
            assert!(close(point.precision, precision), "case {number}");
            assert!(close(point.recall, recall), "case {number}");
        }
    }
}

#[test]
fn aupro_of_random_maps_equals_that_of_scipys_regions() {
    let cases = reference().overlaps;
    assert!(cases.len() >= 3, "the script makes several");
    for (number, case) in cases.iter().enumerate() {
        let mut pixels = PixelCounts::default();
        for picture in &case.pictures {
            let size = Size::new(picture.values.len(), picture.values[0].len());
            let is_defect = picture
                .is_defect
                .concat()
                .iter()
                .map(|&is| is == 1)
                .collect();
            pixels.add(&picture.values.concat(), &PixelTruth::new(size, is_defect));
        }
        let overlap = pixels.overlap().expect("regions and good pixels");
        assert_eq!(overlap.regions, case.regions, "case {number}");
        assert!(
            close(overlap.aupro, case.aupro),
            "case {number}: {} and {}",
            overlap.aupro,
            case.aupro
        );
    }
}
