//! Whether a calibration kept its promise, measured on good parts.
//!
//! Two questions. Does the rule keep it: good scores are split at random repeatedly, one half
//! calibrates and the other is judged ([`KeptPromise`]). Do these parts meet its conditions: the
//! thresholds of one calibration against other good parts, beside what exchangeable ones would show
//! ([`PromisePoint`]).

use serde::Serialize;

use super::Rate;
use crate::calibration::{Calibration, CalibrationError};
use crate::random::SplitMix64;

/// False-reject rates over random splits of one pool of good scores.
///
/// A random split makes the two parts exchangeable whatever the scores are, so this measures the
/// rule and the ties among the scores, not whether tomorrow's parts are like today's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeptPromise {
    /// The false-reject rate that every split's calibration promised.
    pub promised: f64,
    /// Number of splits.
    pub splits: usize,
    /// Number of scores that calibrate, in each split.
    pub calibration: usize,
    /// Number of scores that are judged, in each split.
    pub test: usize,
    /// Mean of the splits' false-reject rates.
    pub mean: f64,
    /// 95 % interval of the mean over all possible splits of this pool, 0 to 1.
    pub interval: [f64; 2],
    /// The false-reject rate of each split.
    #[serde(skip)]
    pub rates: Vec<f64>,
}

impl KeptPromise {
    /// Splits `pool` at random `splits` times, calibrates for `alpha` on the first half and judges
    /// the second, which has one more if the number is odd. The same seed gives the same splits for
    /// every rate.
    ///
    /// # Errors
    /// If `alpha` is out of range, a score is not finite, or half of the pool is too small for it.
    ///
    /// # Panics
    /// If there are fewer than two splits: one has no spread.
    pub fn measure(
        pool: &[f32],
        alpha: f64,
        splits: usize,
        seed: u64,
    ) -> Result<Self, CalibrationError> {
        assert!(splits > 1, "{splits} splits have no spread");
        let mut random = SplitMix64::new(seed);
        let mut pool = pool.to_vec();
        let half = pool.len() / 2;
        let rates = (0..splits)
            .map(|_| {
                random.shuffle(&mut pool);
                let (calibration, test) = pool.split_at(half);
                let calibration = Calibration::from_scores(calibration.to_vec(), alpha)?;
                let rate = Rate::false_rejects(test, calibration.threshold());
                Ok(rate
                    .expect("the second half is not the smaller one")
                    .value())
            })
            .collect::<Result<Vec<f64>, CalibrationError>>()?;
        let n = splits as f64;
        let mean = rates.iter().sum::<f64>() / n;
        let squares: f64 = rates.iter().map(|rate| (rate - mean).powi(2)).sum();
        let half_width = student_95(splits - 1) * (squares / (n - 1.0) / n).sqrt();
        Ok(Self {
            promised: alpha,
            splits,
            calibration: half,
            test: pool.len() - half,
            mean,
            interval: [(mean - half_width).max(0.0), (mean + half_width).min(1.0)],
            rates,
        })
    }
}

/// Returns the 97.5 % quantile of Student's t distribution: the expansion 26.7.5 of Abramowitz and
/// Stegun, "Handbook of Mathematical Functions", 1964. Off by less than 0.001 from 5 degrees of
/// freedom on, and too small below.
fn student_95(freedom: usize) -> f64 {
    const Z: f64 = 1.959_963_984_540_054;
    let v = freedom as f64;
    let z = |power: i32| Z.powi(power);
    Z + (z(3) + z(1)) / (4.0 * v)
        + (5.0 * z(5) + 16.0 * z(3) + 3.0 * z(1)) / (96.0 * v.powi(2))
        + (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * z(1)) / (384.0 * v.powi(3))
        + (79.0 * z(9) + 776.0 * z(7) + 1482.0 * z(5) - 1920.0 * z(3) - 945.0 * z(1))
            / (92_160.0 * v.powi(4))
}

/// One false-reject rate that a calibration can promise, and the rate that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromisePoint {
    /// The rate.
    pub promised: f64,
    /// The good parts that its threshold rejects.
    pub measured: Rate,
    /// The range in which the measured rate lies in 95 of 100 cases, if the parts are exchangeable
    /// with those of the calibration and no two scores are equal.
    pub expected: [f64; 2],
}

/// Returns every rate that `calibration` can promise, ascending, against other good parts; at most
/// `points` of them, evenly spread. Empty without a good part.
pub fn promised_against_measured(
    calibration: &Calibration,
    good: &[f32],
    points: usize,
) -> Vec<PromisePoint> {
    let n = calibration.n();
    let points = points.min(n);
    let point = |number: usize| {
        let rejected = 1 + number * (n - 1) / (points - 1).max(1);
        let threshold = calibration.scores()[n - rejected];
        let measured = Rate::false_rejects(good, threshold)?;
        let share = |count: usize| count as f64 / good.len() as f64;
        Some(PromisePoint {
            promised: rejected as f64 / (n + 1) as f64,
            measured,
            expected: expected_false_rejects(n, rejected, good.len()).map(share),
        })
    };
    (0..points).map_while(point).collect()
}

/// Returns the range, ends included, of the false rejects among `of` good parts in 95 of 100 cases,
/// if the threshold is the `rejected`-th highest of `n` scores, all parts are exchangeable and no
/// two scores are equal.
///
/// The number has the negative hypergeometric distribution: of all orders of the n + `of` scores,
/// those in which that many of the new ones come before the `rejected`-th old one.
///
/// # Panics
/// If `rejected` is 0 or more than `n`.
pub fn expected_false_rejects(n: usize, rejected: usize, of: usize) -> [usize; 2] {
    assert!((1..=n).contains(&rejected), "rank {rejected} of {n} scores");
    let (n, m, of_all) = (n as f64, rejected as f64, of as f64);
    // Each probability as its ratio to the one before, in logarithms, because the first one can
    // be smaller than any number.
    let mut logarithms = vec![0.0_f64];
    for count in 0..of {
        let k = count as f64;
        let ratio = (k + m) * (of_all - k) / ((k + 1.0) * (of_all - k + n - m));
        logarithms.push(logarithms[count] + ratio.ln());
    }
    let highest = logarithms.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = logarithms.iter().map(|log| (log - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let quantile = |probability: f64| {
        let mut sum = 0.0;
        let reached = |weight: &f64| {
            sum += weight / total;
            sum >= probability
        };
        weights.iter().position(reached).unwrap_or(of)
    };
    [quantile(0.025), quantile(0.975)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Without ties the mean over all splits is the largest multiple of 1 / (n + 1) that is not more
    /// than what is promised. The interval holds it as often as it says, within three standard
    /// deviations of such a share of 300 draws.
    #[test]
    fn the_rule_keeps_its_promise_and_the_interval_holds_the_exact_mean() {
        let pool: Vec<f32> = (0..301).map(|i| (i as f32).sqrt()).collect();
        for alpha in [0.01, 0.05] {
            let exact = (alpha * 151.0_f64).floor() / 151.0;
            let holds = |seed: &u64| {
                let kept = KeptPromise::measure(&pool, alpha, 50, *seed).expect("enough");
                assert_eq!((kept.calibration, kept.test), (150, 151));
                (kept.interval[0]..=kept.interval[1]).contains(&exact)
            };
            let share = (0..300).filter(holds).count() as f64 / 300.0;
            assert!((0.912..=0.988).contains(&share), "{alpha}: {share}");
        }
    }

    #[test]
    fn the_seed_decides_the_splits_for_every_rate() {
        let pool: Vec<f32> = (0..60).map(|i| i as f32).collect();
        let rates =
            |alpha, seed| KeptPromise::measure(&pool, alpha, 20, seed).map(|kept| kept.rates);
        assert_eq!(rates(0.1, 1), rates(0.1, 1));
        assert_ne!(rates(0.1, 1), rates(0.1, 2));
    }

    #[test]
    fn a_pool_that_is_too_small_says_how_many_it_takes() {
        let error = KeptPromise::measure(&[1.0; 100], 0.01, 50, 1).expect_err("50 calibrate");
        assert_eq!(
            error,
            CalibrationError::TooFewScores {
                n: 50,
                alpha: 0.01,
                needed: 99
            }
        );
        assert!(KeptPromise::measure(&[], 0.5, 50, 1).is_err());
        assert!(KeptPromise::measure(&[1.0], 0.5, 50, 1).is_err());
    }

    /// Quantiles of `scipy.stats.t.ppf(0.975, freedom)`, scipy 1.17.1.
    #[test]
    fn the_quantile_is_students() {
        for (freedom, expected) in [
            (5, 2.570_581_835_636_314),
            (9, 2.262_157_162_798_205),
            (49, 2.009_575_237_129_24),
            (999, 1.962_341_461_133_449),
        ] {
            let quantile = student_95(freedom);
            assert!((quantile - expected).abs() < 1e-3, "{freedom}: {quantile}");
        }
    }

    #[test]
    fn every_rate_that_can_be_promised_is_measured() {
        let calibration = Calibration::from_scores(vec![1.0, 2.0, 3.0, 4.0], 0.2).expect("four");
        let points = promised_against_measured(&calibration, &[0.5, 2.5, 3.0, 9.0], 100);
        let seen: Vec<_> = points
            .iter()
            .map(|point| (point.promised, point.measured.count()))
            .collect();
        assert_eq!(seen, [(0.2, 1), (0.4, 1), (0.6, 3), (0.8, 3)]);
        assert!(promised_against_measured(&calibration, &[], 100).is_empty());
        let two = promised_against_measured(&calibration, &[1.0], 2);
        assert_eq!([two[0].promised, two[1].promised], [0.2, 0.8]);
        assert_eq!(promised_against_measured(&calibration, &[1.0], 1).len(), 1);
    }

    proptest! {
        /// The expected range against all possible orders, each equally likely.
        #[test]
        fn the_expected_range_holds_95_of_100_orders_and_no_narrower_one_begins_or_ends_there(
            n in 1_usize..6, of in 1_usize..6, rank in 0_usize..6,
        ) {
            let rejected = 1 + rank % n;
            // An order is which of the n + of places, the highest first, hold calibration scores.
            let places = n + of;
            let mut counts = vec![0_u32; of + 1];
            for order in 0_u32..1 << places {
                if order.count_ones() as usize != n {
                    continue;
                }
                let old = |place: &usize| order >> place & 1 == 1;
                let threshold = (0..places).filter(old).nth(rejected - 1).expect("n are there");
                counts[threshold - (rejected - 1)] += 1;
            }
            let total: u32 = counts.iter().sum();
            let share = |range: &[u32]| f64::from(range.iter().sum::<u32>()) / f64::from(total);
            let [low, high] = expected_false_rejects(n, rejected, of);
            let slack = 1e-9;
            prop_assert!(share(&counts[..low]) <= 0.025 + slack);
            prop_assert!(share(&counts[high + 1..]) <= 0.025 + slack);
            prop_assert!(share(&counts[..=low]) >= 0.025 - slack);
            prop_assert!(share(&counts[high..]) >= 0.025 - slack);
        }
    }
}
