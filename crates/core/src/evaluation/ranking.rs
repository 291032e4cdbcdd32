//! Rankings of scores: AUROC, average precision, F1-max, and the curves behind them.

use serde::Serialize;

/// The scores of good and defect images, sorted once; at least one of each.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// By score, descending; no two have the same score.
    groups: Vec<Group>,
    good: u64,
    defect: u64,
}

/// The images that share a score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) score: f32,
    pub(super) good: u64,
    pub(super) defect: u64,
}

/// The best F1 score over all thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct F1Max {
    /// 2 · precision · recall / (precision + recall), with defects as the positive class.
    pub f1: f64,
    /// The lowest score that counts as a defect there; the lowest such threshold if several
    /// give the same F1.
    pub threshold: f32,
}

/// The rates when every score of at least a threshold counts as a defect. Each rate lies between 0
/// and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// The threshold.
    pub threshold: f32,
    /// Share of the good images that count as defects.
    pub false_reject_rate: f64,
    /// Share of the defect images that do, and so do not escape.
    pub recall: f64,
    /// Share of defects among the images that count as one.
    pub precision: f64,
}

impl Ranking {
    /// Ranks scores; `None` if there is no good or no defect one, because then there is nothing to
    /// tell apart. Scores have to be finite.
    pub fn new(good: &[f32], defect: &[f32]) -> Option<Self> {
        let group = |score: &f32, good, defect| Group {
            // Makes the two zeros one.
            score: score + 0.0,
            good,
            defect,
        };
        let mut groups: Vec<Group> = good
            .iter()
            .map(|score| group(score, 1, 0))
            .chain(defect.iter().map(|score| group(score, 0, 1)))
            .collect();
        groups.sort_by(|a, b| b.score.total_cmp(&a.score));
        groups.dedup_by(|next, kept| {
            let same = next.score == kept.score;
            if same {
                kept.good += next.good;
                kept.defect += next.defect;
            }
            same
        });
        Self::from_groups(groups)
    }

    /// Makes a ranking from groups in descending order, each with a distinct score.
    pub(super) fn from_groups(groups: Vec<Group>) -> Option<Self> {
        let good = groups.iter().map(|group| group.good).sum();
        let defect = groups.iter().map(|group| group.defect).sum();
        (good > 0 && defect > 0).then_some(Self {
            groups,
            good,
            defect,
        })
    }

    /// Returns the probability that a defect image scores higher than a good one, equal scores
    /// counting half: the area under the ROC curve, 0 to 1.
    pub fn auroc(&self) -> f64 {
        let mut defects_above = 0;
        let mut twice_won: u128 = 0;
        for group in &self.groups {
            twice_won += u128::from(group.good) * u128::from(2 * defects_above + group.defect);
            defects_above += group.defect;
        }
        twice_won as f64 / (2.0 * self.good as f64 * self.defect as f64)
    }

    /// Returns the precision at every threshold, weighted by the recall that it adds; 0 to 1. No
    /// interpolation: scikit-learn's `average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let added = self.rejected_down_to_each().map(|(group, good, defect)| {
            group.defect as f64 * defect as f64 / (good + defect) as f64
        });
        added.sum::<f64>() / self.defect as f64
    }

    /// Returns the best F1 score.
    pub fn f1_max(&self) -> F1Max {
        self.rejected_down_to_each()
            .map(|(group, good, defect)| F1Max {
                f1: 2.0 * defect as f64 / (good + defect + self.defect) as f64,
                threshold: group.score,
            })
            .max_by(|a, b| a.f1.total_cmp(&b.f1))
            .expect("a ranking has at least one score")
    }

    /// Returns one point for each distinct score, the highest first.
    ///
    /// Recall over false-reject rate, with a point at 0 before, is the ROC curve (scikit-learn's
    /// `roc_curve` without dropping any); precision over recall is the precision-recall curve
    /// (its `precision_recall_curve`).
    pub fn curve(&self) -> impl Iterator<Item = CurvePoint> {
        self.rejected_down_to_each()
            .map(|(group, good, defect)| CurvePoint {
                threshold: group.score,
                false_reject_rate: good as f64 / self.good as f64,
                recall: defect as f64 / self.defect as f64,
                precision: defect as f64 / (good + defect) as f64,
            })
    }

    /// Returns each group with the good and the defect images that have its score or a higher one.
    fn rejected_down_to_each(&self) -> impl Iterator<Item = (&Group, u64, u64)> {
        self.groups.iter().scan((0, 0), |(good, defect), group| {
            *good += group.good;
            *defect += group.defect;
            Some((group, *good, *defect))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranking(good: &[f32], defect: &[f32]) -> Ranking {
        Ranking::new(good, defect).expect("both kinds are there")
    }

    fn close(actual: f64, expected: f64) -> bool {
        (actual - expected).abs() < 1e-12
    }

    /// The expected values are those of scikit-learn 1.9.1: `roc_auc_score`,
    /// `average_precision_score`, and the largest F1 over `precision_recall_curve` with its
    /// threshold. The last case is `(i * i * 7 + i * 3) % 31 / 8` for i below 40 against
    /// `(i * i * 5 + i * 11) % 37 / 7 + 0.5` for i below 25.
    #[test]
    fn metrics_equal_scikit_learns() {
        let made_good: Vec<f32> = (0..40)
            .map(|i| ((i * i * 7 + i * 3) % 31) as f32 / 8.0)
            .collect();
        let made_defect: Vec<f32> = (0..25)
            .map(|i| (f64::from((i * i * 5 + i * 11) % 37) / 7.0 + 0.5) as f32)
            .collect();
        type Case<'a> = (&'a [f32], &'a [f32], f64, f64, f64, f32);
        let cases: [Case<'_>; 5] = [
            (
                &[0.1, 0.2, 0.2, 0.3, 0.5],
                &[0.2, 0.3, 0.4, 0.5, 0.5, 0.9],
                0.783_333_333_333_333_3,
                0.769_047_619_047_619,
                0.769_230_769_230_769_2,
                0.3,
            ),
            (&[0.1, 0.2], &[0.3, 0.4], 1.0, 1.0, 1.0, 0.3),
            (
                &[0.3, 0.4],
                &[0.1, 0.2],
                0.0,
                0.416_666_666_666_666_63,
                0.666_666_666_666_666_6,
                0.1,
            ),
            (&[1.0; 3], &[1.0; 2], 0.5, 0.4, 0.571_428_571_428_571_5, 1.0),
            (
                &made_good,
                &made_defect,
                0.733,
                0.744_360_735_295_118_5,
                0.636_363_636_363_636_4,
                2.785_714_4,
            ),
        ];
        for (good, defect, auroc, average_precision, f1, threshold) in cases {
            let ranking = ranking(good, defect);
            assert!(close(ranking.auroc(), auroc), "{good:?}");
            assert!(
                close(ranking.average_precision(), average_precision),
                "{good:?}"
            );
            assert!(close(ranking.f1_max().f1, f1), "{good:?}");
            assert_eq!(ranking.f1_max().threshold, threshold);
        }
    }

    #[test]
    fn one_kind_of_image_alone_has_no_ranking() {
        assert!(Ranking::new(&[1.0], &[]).is_none());
        assert!(Ranking::new(&[], &[1.0]).is_none());
    }

    proptest! {
        #[test]
        fn the_auroc_is_the_share_of_pairs_in_the_right_order(
            good in prop::collection::vec((0_u8..9).prop_map(f32::from), 1..30),
            defect in prop::collection::vec((0_u8..9).prop_map(f32::from), 1..30),
        ) {
            let mut won = 0.0;
            for good in &good {
                for defect in &defect {
                    won += match defect.total_cmp(good) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
            let pairs = (good.len() * defect.len()) as f64;
            prop_assert!(close(ranking(&good, &defect).auroc(), won / pairs));
        }

        /// Each curve has its area: that under the ROC curve is the AUROC, and the steps under the
        /// precision-recall curve add up to the average precision.
        #[test]
        fn the_curves_have_the_areas_that_the_metrics_say(
            good in prop::collection::vec((0_u8..9).prop_map(f32::from), 1..30),
            defect in prop::collection::vec((0_u8..9).prop_map(f32::from), 1..30),
        ) {
            let ranking = ranking(&good, &defect);
            let (mut roc, mut steps) = (0.0, 0.0);
            let mut last = (0.0, 0.0);
            for point in ranking.curve() {
                let (x, y) = (point.false_reject_rate, point.recall);
                roc += (x - last.0) * (y + last.1) / 2.0;
                steps += (y - last.1) * point.precision;
                last = (x, y);
            }
            prop_assert_eq!(last, (1.0, 1.0));
            prop_assert!(close(ranking.auroc(), roc));
            prop_assert!(close(ranking.average_precision(), steps));
        }
    }
}
