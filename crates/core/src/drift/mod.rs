//! Drift: do today's good parts still score like those of the calibration?
//!
//! ```text
//! score ─► rank among calibration and earlier scores ─► p-value ─► bet against it ─► capital ─► alarm
//! ```
//! As long as the scores are exchangeable with those of the calibration, their p-values are
//! independent and uniform, and betting against that at fair odds does not pay: the capital is a
//! martingale, and by Ville's inequality the probability that it ever reaches 1/δ is at most δ,
//! however often it is checked. So a capital of 1/δ is an alarm with a known rate of false ones.
//!
//! **The rank is among the calibration scores and the earlier scores of the line.** Against the
//! calibration scores alone the p-values would share one error, that of a finite sample standing
//! for a distribution; a bet on that error keeps winning, and the bound would not hold: of 1000
//! simulated epochs of unchanged parts with 100 calibration scores each, 39 % alarmed instead of
//! the promised 1 %, and 0.4 % with the rule used here. Among everything that came before, the
//! p-values are exactly independent (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
//! World", 2005). The price is that a lasting change becomes the normal after a while, so that the
//! alarm stays on until it is reset, and that a small one may never be seen. In simulations at a
//! rate of 1 % with 150 calibration scores, a shift of the mean by one standard deviation raised
//! the alarm after 50 parts (median) if the line began with it and after 206 if 5000 good parts
//! came before; half a deviation after 101 (12 % never) and 415; a quarter mostly not, or after
//! thousands.
//!
//! **Only scores below the threshold count**, of the line and of the calibration alike: what a
//! defect scores is not drift. Those on the threshold are left out, because the threshold is itself
//! one of the calibration scores, and given its value only those strictly below it are exchangeable
//! with one another. If drift carries most parts above the threshold, little is left to see here:
//! that is what the reject rate is for.
//!
//! **A cross-calibration is not used for comparison.** Its scores come from other models than the
//! one in use, which usually scores new good parts lower: that difference is not drift. The watch
//! then ranks among the earlier scores of the line alone, and a change from before it began goes
//! unseen.
//!
//! Equal scores are ordered at random, so that a p-value is uniform even with ties.

mod condition;
mod jumper;
mod martingale;
mod tails;

use crate::calibration::{Calibration, CalibrationMethod};
use jumper::Jumper;
use martingale::Martingale;

pub use condition::{ConditionWatch, Finding};

/// The number of scores after which everything starts again: this bounds memory, and the age of the
/// scores with which a new one is compared.
pub const EPOCH: u64 = 20_000;

/// Why drift cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DriftError {
    /// The rate is not a probability that an alarm could keep to.
    #[error("a rate of false drift alarms lies between 0 and 1, for example 0.01; {0} does not")]
    BadRate(f64),
}

/// The state of the watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftState {
    /// Decimal logarithm of the capital; 0 at the start of an epoch. The alarm is at
    /// log10(1 / rate of false alarms).
    pub martingale_log10: f64,
    /// True once the capital was enough, until it is reset.
    pub alarm: bool,
    /// Scores of this epoch that counted, 0 to [`EPOCH`].
    pub observed: u64,
}

/// Watches the scores of one model on one camera.
#[derive(Clone, Debug)]
pub struct Drift {
    /// Scores below this count.
    limit: f32,
    scores: Martingale<Jumper>,
}

impl Drift {
    /// Creates a watch over parts that should score like those of `calibration`, with at most the
    /// given probability of a false alarm in an epoch; above 0 and below 1. The seed decides how
    /// equal scores are ordered.
    ///
    /// # Errors
    /// If the rate is out of range.
    pub fn new(
        calibration: &Calibration,
        false_alarm_rate: f64,
        seed: u64,
    ) -> Result<Self, DriftError> {
        let limit = calibration.threshold();
        let below = match calibration.method() {
            // Scores of changed pictures say nothing about parts as they are.
            CalibrationMethod::Split if calibration.covers().is_some() => 0,
            CalibrationMethod::Split => {
                calibration.scores().partition_point(|&score| score < limit)
            }
            CalibrationMethod::Cross { .. } => 0,
        };
        let scores = calibration.scores()[..below].to_vec();
        Ok(Self {
            limit,
            scores: Martingale::new(scores, Jumper::new(), false_alarm_rate, seed)?,
        })
    }

    /// Takes the score of the next part, whatever its verdict: one that is not below the
    /// calibration's threshold, or is not a number, changes nothing.
    ///
    /// Costs a binary search and a move of the scores above it, among at most [`EPOCH`] scores and
    /// those of the calibration.
    pub fn observe(&mut self, score: f32) -> DriftState {
        // False also for what is not a number.
        let counts = score < self.limit;
        if counts {
            self.scores.observe(score)
        } else {
            self.state()
        }
    }

    /// The state of the watch.
    pub fn state(&self) -> DriftState {
        self.scores.state()
    }
}

const START: DriftState = DriftState {
    martingale_log10: 0.0,
    alarm: false,
    observed: 0,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::SplitMix64;

    /// A score of a good part: normal around 10 with a deviation of 1, on a grid of `step` if that
    /// is not 0.
    fn good(generator: &mut SplitMix64, step: f64) -> f32 {
        let radius = (-2.0 * (1.0 - generator.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * generator.unit();
        let score = 10.0 + radius * angle.cos();
        let on_grid = if step > 0.0 {
            (score / step).round() * step
        } else {
            score
        };
        on_grid as f32
    }

    fn calibrated(generator: &mut SplitMix64, n: usize, step: f64) -> Calibration {
        let scores = (0..n).map(|_| good(generator, step)).collect();
        Calibration::from_scores(scores, 0.05).expect("enough scores")
    }

    /// The promise: over runs of exchangeable parts, each with its own calibration, the share that
    /// ever raises an alarm is at most the rate; for distinct scores and for tied ones.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        const RUNS: usize = 400;
        const RATE: f64 = 0.05;
        // Three standard deviations of the share of 400 draws.
        let slack = 3.0 * (RATE * (1.0 - RATE) / RUNS as f64).sqrt();
        for (step, n) in [(0.0, 100), (0.5, 40)] {
            let mut generator = SplitMix64::new(1);
            let alarms = (0..RUNS)
                .filter(|&run| {
                    let calibration = calibrated(&mut generator, n, step);
                    let mut drift = Drift::new(&calibration, RATE, run as u64).expect("a rate");
                    (0..4000).any(|_| drift.observe(good(&mut generator, step)).alarm)
                })
                .count();
            let share = alarms as f64 / RUNS as f64;
            assert!(share <= RATE + slack, "{share} with steps of {step}");
            assert!(alarms > 0, "a watch that never alarms would pass as well");
        }
    }

    /// The model in use scores good parts a deviation lower than the models that calibrated it.
    #[test]
    fn the_other_models_of_a_cross_calibration_are_no_drift_and_a_later_shift_is() {
        const RUNS: u64 = 100;
        let mut generator = SplitMix64::new(5);
        let mut false_alarms = 0;
        for run in 0..RUNS {
            let split = calibrated(&mut generator, 60, 0.0);
            let cross = CalibrationMethod::Cross { folds: 5 };
            let cross = split.clone().with_method(cross).expect("60 in 5 folds");
            let [mut of_split, mut of_cross] = [split, cross]
                .map(|calibration| Drift::new(&calibration, 0.01, run).expect("a rate"));
            let mut is_false = false;
            for _ in 0..500 {
                let score = good(&mut generator, 0.0) - 1.0;
                of_split.observe(score);
                is_false |= of_cross.observe(score).alarm;
            }
            assert!(
                of_split.state().alarm,
                "the same scores after a split are drift"
            );
            false_alarms += u64::from(is_false);
            let later = (0..500).any(|_| of_cross.observe(good(&mut generator, 0.0)).alarm);
            assert!(later, "a deviation later on is seen");
        }
        // At 1 % more than 4 of 100 have a probability of 0.003.
        assert!(false_alarms <= 4, "{false_alarms}");
    }

    #[test]
    fn a_shift_by_half_a_deviation_is_seen_within_some_hundred_parts() {
        for direction in [-0.5, 0.5] {
            let mut generator = SplitMix64::new(7);
            let calibration = calibrated(&mut generator, 200, 0.0);
            let mut drift = Drift::new(&calibration, 0.01, 1).expect("a rate");
            let before = (0..500).map(|_| drift.observe(good(&mut generator, 0.0)));
            assert!(before.last().is_some_and(|state| !state.alarm));
            let shifted = (1..=2000).find(|_| {
                let score = good(&mut generator, 0.0) + direction;
                drift.observe(score).alarm
            });
            assert!(shifted.is_some_and(|parts| parts < 500), "{shifted:?}");
        }
    }

    #[test]
    fn constant_scores_raise_no_alarm() {
        let mut scores = vec![1.0; 100];
        scores.extend([2.0; 10]);
        let calibration = Calibration::from_scores(scores, 0.05).expect("enough");
        let mut drift = Drift::new(&calibration, 0.01, 3).expect("a rate");
        for _ in 0..EPOCH {
            assert!(!drift.observe(1.0).alarm);
        }
        assert_eq!(drift.state().observed, EPOCH);
    }

    #[test]
    fn an_alarm_stays_and_epochs_end() {
        let scores = (0..100).map(|i| i as f32).collect();
        let calibration = Calibration::from_scores(scores, 0.05).expect("enough");
        let mut drift = Drift::new(&calibration, 0.01, 3).expect("a rate");
        let parts = (1..=1000).find(|_| drift.observe(90.0).alarm);
        assert!(parts.is_some_and(|parts| parts < 50), "{parts:?}");
        for _ in 0..2 * EPOCH {
            let state = drift.observe(40.0);
            assert!(state.alarm && state.observed <= EPOCH);
            assert!(drift.scores.values().len() <= EPOCH as usize + 100);
        }
    }

    #[test]
    fn scores_that_are_not_below_the_threshold_change_nothing() {
        let scores = (0..99).map(|i| i as f32).collect();
        let calibration = Calibration::from_scores(scores, 0.1).expect("enough");
        let mut drift = Drift::new(&calibration, 0.01, 3).expect("a rate");
        for ignored in [calibration.threshold(), 1e9, f32::INFINITY, f32::NAN] {
            assert_eq!(drift.observe(ignored), START);
        }
        assert_eq!(drift.observe(calibration.threshold() - 0.5).observed, 1);
    }

    #[test]
    fn a_rate_that_is_no_probability_is_refused() {
        let calibration = Calibration::from_scores(vec![1.0; 9], 0.1).expect("enough");
        for rate in [0.0, 1.0, -0.1, f64::INFINITY] {
            assert!(Drift::new(&calibration, rate, 0).is_err(), "{rate}");
        }
        assert!(Drift::new(&calibration, f64::NAN, 0).is_err());
    }

    proptest! {
        /// The p-value is the smoothed rank, and the scores stay in order.
        #[test]
        fn a_p_value_is_the_rank_among_all_that_came_before(
            scores in prop::collection::vec((0_u8..6).prop_map(f32::from), 1..60),
            seed in any::<u64>(),
        ) {
            let calibration = Calibration::from_scores(vec![1.0, 3.0, 4.0, 9.0], 0.25).expect("4");
            let mut drift = Drift::new(&calibration, 0.01, seed).expect("a rate");
            let mut before = vec![1.0_f32, 3.0, 4.0];
            for score in scores {
                let p_value = drift.scores.insert(score);
                before.push(score);
                let share = |higher: fn(f32, f32) -> bool| {
                    let count = before.iter().filter(|&&other| higher(other, score)).count();
                    count as f64 / before.len() as f64
                };
                prop_assert!(share(|other, score| other > score) <= p_value);
                prop_assert!(p_value <= share(|other, score| other >= score));
                prop_assert!(drift.scores.values().is_sorted());
                prop_assert_eq!(drift.scores.values().len(), before.len());
            }
        }
    }
}
