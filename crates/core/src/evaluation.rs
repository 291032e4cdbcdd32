//! How good scores are, given the truth: ranking metrics, and rates at a threshold.
//!
//! "Good" images are those without a defect, "defect" images those with one. Equal scores are
//! treated as what they are, undecided between their images, so that no metric depends on an
//! order of files.

use serde::Serialize;

/// The scores of good and defect images, put in order once; at least one of each.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// By score, descending; no two have the same score.
    groups: Vec<Group>,
    good: u64,
    defect: u64,
}

/// The images that share a score.
#[derive(Clone, Copy, Debug)]
struct Group {
    score: f32,
    good: u64,
    defect: u64,
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

impl Ranking {
    /// Ranks scores; none if there is no good or no defect one, because then there is nothing
    /// to tell apart. Scores have to be finite.
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

    fn from_groups(groups: Vec<Group>) -> Option<Self> {
        let good = groups.iter().map(|group| group.good).sum();
        let defect = groups.iter().map(|group| group.defect).sum();
        (good > 0 && defect > 0).then_some(Self {
            groups,
            good,
            defect,
        })
    }

    /// The probability that a defect image scores higher than a good one, equal scores counting
    /// half: the area under the ROC curve, 0 to 1.
    pub fn auroc(&self) -> f64 {
        let mut defects_above = 0;
        let mut twice_won: u128 = 0;
        for group in &self.groups {
            twice_won += u128::from(group.good) * u128::from(2 * defects_above + group.defect);
            defects_above += group.defect;
        }
        twice_won as f64 / (2.0 * self.good as f64 * self.defect as f64)
    }

    /// The precision at every threshold, weighted by the recall that it adds; 0 to 1. No
    /// interpolation: scikit-learn's `average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let added = self.rejected_down_to_each().map(|(group, good, defect)| {
            group.defect as f64 * defect as f64 / (good + defect) as f64
        });
        added.sum::<f64>() / self.defect as f64
    }

    /// The best F1 score.
    pub fn f1_max(&self) -> F1Max {
        self.rejected_down_to_each()
            .map(|(group, good, defect)| F1Max {
                f1: 2.0 * defect as f64 / (good + defect + self.defect) as f64,
                threshold: group.score,
            })
            .max_by(|a, b| a.f1.total_cmp(&b.f1))
            .expect("a ranking has at least one score")
    }

    /// Each group with the good and the defect images that have its score or a higher one.
    fn rejected_down_to_each(&self) -> impl Iterator<Item = (&Group, u64, u64)> {
        self.groups.iter().scan((0, 0), |(good, defect), group| {
            *good += group.good;
            *defect += group.defect;
            Some((group, *good, *defect))
        })
    }
}

/// Collects the pixels of anomaly maps for a ranking, in constant memory.
///
/// Values are counted in bins of 1/2048 of their power of two, so that pixels that differ by
/// less count as equal.
#[derive(Default)]
pub struct PixelCounts {
    /// (good, defect) by the leading bits of the value; empty until the first pixel.
    bins: Vec<(u64, u64)>,
}

/// Leading bits of an `f32` that make a bin: sign, exponent and 11 of 23 mantissa bits.
const BIN_BITS: u32 = 20;

impl PixelCounts {
    /// Counts the pixels of one image: their values and, in the same order, whether they are
    /// part of a defect.
    ///
    /// # Panics
    /// If there are not as many values as truths.
    pub fn add(&mut self, values: &[f32], is_defect: &[bool]) {
        assert_eq!(values.len(), is_defect.len(), "one truth a pixel");
        self.bins.resize(1 << BIN_BITS, (0, 0));
        for (&value, &is_defect) in values.iter().zip(is_defect) {
            let bin = &mut self.bins[(ordered_bits(value) >> (32 - BIN_BITS)) as usize];
            if is_defect {
                bin.1 += 1;
            } else {
                bin.0 += 1;
            }
        }
    }

    /// Takes over the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.bins
            .resize(self.bins.len().max(other.bins.len()), (0, 0));
        for (bin, (good, defect)) in self.bins.iter_mut().zip(&other.bins) {
            bin.0 += good;
            bin.1 += defect;
        }
    }

    /// The ranking of all pixels; none if there is no good or no defect one.
    pub fn ranking(&self) -> Option<Ranking> {
        let groups = self
            .bins
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, counts)| **counts != (0, 0))
            .map(|(bin, &(good, defect))| Group {
                score: from_ordered_bits((bin as u32) << (32 - BIN_BITS)),
                good,
                defect,
            });
        Ranking::from_groups(groups.collect())
    }
}

/// Bits that are in the order of the numbers.
fn ordered_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

fn from_ordered_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 {
        bits & !(1 << 31)
    } else {
        !bits
    })
}

/// How often something happened, in how many cases; at least one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: usize,
    of: usize,
}

impl Rate {
    /// `count` of `of` cases; none if there is no case.
    ///
    /// # Panics
    /// If `count` is more than `of`.
    pub fn new(count: usize, of: usize) -> Option<Self> {
        assert!(count <= of, "{count} of {of} cases");
        (of > 0).then_some(Self { count, of })
    }

    /// The share of good images above the threshold: the false-reject rate.
    pub fn false_rejects(good: &[f32], threshold: f32) -> Option<Self> {
        let rejected = good.iter().filter(|&&score| score > threshold).count();
        Self::new(rejected, good.len())
    }

    /// The share of defect images that are not above the threshold: the escape rate.
    pub fn escapes(defect: &[f32], threshold: f32) -> Option<Self> {
        let escaped = defect.iter().filter(|&&score| score <= threshold).count();
        Self::new(escaped, defect.len())
    }

    /// How often it happened.
    pub fn count(self) -> usize {
        self.count
    }

    /// In how many cases.
    pub fn of(self) -> usize {
        self.of
    }

    /// The share, 0 to 1.
    pub fn value(self) -> f64 {
        self.count as f64 / self.of as f64
    }

    /// Wilson's score interval for the underlying probability, at 95 %.
    pub fn interval(self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        let (p, n) = (self.value(), self.of as f64);
        let scale = 1.0 / (1.0 + Z * Z / n);
        let centre = scale * (p + Z * Z / (2.0 * n));
        let half = scale * Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        // At the ends the formula is 0 and 1 but for rounding.
        let low = if self.count == 0 { 0.0 } else { centre - half };
        let high = if self.count == self.of {
            1.0
        } else {
            centre + half
        };
        [low, high]
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

    #[test]
    fn a_score_at_the_threshold_is_good() {
        let threshold = 2.0;
        let false_rejects = Rate::false_rejects(&[1.0, 2.0, 3.0], threshold).expect("three");
        assert_eq!((false_rejects.count(), false_rejects.of()), (1, 3));
        let escapes = Rate::escapes(&[2.0, 2.5], threshold).expect("two");
        assert_eq!((escapes.count(), escapes.of()), (1, 2));
        assert_eq!(Rate::escapes(&[], threshold), None);
    }

    /// Wilson (1927), computed in double precision in Python.
    #[test]
    fn intervals_are_wilsons() {
        let cases = [
            (0, 10, [0.0, 0.277_532_799_862_889_2]),
            (3, 10, [0.107_791_267_406_300_99, 0.603_221_852_538_854_6]),
            (10, 10, [0.722_467_200_137_110_7, 1.0]),
            (1, 96, [0.001_841_170_216_816_252, 0.056_666_176_227_156_25]),
        ];
        for (count, of, [low, high]) in cases {
            let interval = Rate::new(count, of).expect("there are cases").interval();
            assert!(
                close(interval[0], low) && close(interval[1], high),
                "{interval:?}"
            );
        }
    }

    #[test]
    fn pixels_rank_as_their_values_do() {
        let good = [0.0, 0.5, 1.0, 1.5, -2.0];
        let defect = [1.0, 3.0, 1e6];
        let mut pixels = PixelCounts::default();
        pixels.add(&good, &[false; 5]);
        let mut others = PixelCounts::default();
        others.add(&defect, &[true; 3]);
        pixels.merge(&others);
        pixels.merge(&PixelCounts::default());
        let pixels = pixels.ranking().expect("both kinds are there");
        assert_eq!(pixels.auroc(), ranking(&good, &defect).auroc());
        assert_eq!(pixels.f1_max(), ranking(&good, &defect).f1_max());
        assert!(PixelCounts::default().ranking().is_none());
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

        #[test]
        fn ordered_bits_have_the_order_of_the_numbers(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(ordered_bits(a).cmp(&ordered_bits(b)), a.total_cmp(&b));
            prop_assert_eq!(from_ordered_bits(ordered_bits(a)).to_bits(), a.to_bits());
        }
    }
}
