//! A conformal test martingale over one series of values: ranks, p-values and capital, whatever
//! the values are and however is bet.

use super::{DriftError, DriftState, EPOCH, START};
use crate::random::SplitMix64;

/// How capital is spread over bets against p-values.
///
/// Betting is fair: given the bets so far, the factor of [`Self::bet`] is 1 on average over a
/// uniform p-value. That alone makes the capital a martingale.
pub(super) trait Bets {
    /// Returns to the bets of the beginning.
    fn restart(&mut self);

    /// Returns the factor by which the next p-value changes the capital.
    fn bet(&mut self, p_value: f64) -> f64;
}

/// The evidence that a series of values has left its calibration.
#[derive(Clone, Debug)]
pub(super) struct Martingale<B> {
    /// Capital that is an alarm, as a decimal logarithm.
    alarm_log10: f64,
    /// The values of the calibration, ascending.
    calibration: Vec<f32>,
    /// These and the values of this epoch, ascending.
    values: Vec<f32>,
    bets: B,
    lot: SplitMix64,
    state: DriftState,
}

impl<B: Bets> Martingale<B> {
    /// Creates the evidence against a series being like `calibration`, ascending, with at most the
    /// given probability of a false alarm in an epoch. The seed decides how equal values are
    /// ordered.
    ///
    /// # Errors
    /// If the rate is not between 0 and 1.
    pub(super) fn new(
        calibration: Vec<f32>,
        bets: B,
        false_alarm_rate: f64,
        seed: u64,
    ) -> Result<Self, DriftError> {
        if !(false_alarm_rate > 0.0 && false_alarm_rate < 1.0) {
            return Err(DriftError::BadRate(false_alarm_rate));
        }
        Ok(Self {
            alarm_log10: -false_alarm_rate.log10(),
            values: calibration.clone(),
            calibration,
            bets,
            lot: SplitMix64::new(seed),
            state: START,
        })
    }

    /// Takes the next value, which is a number.
    ///
    /// Costs a binary search and a move of the values above it, among at most [`EPOCH`] values and
    /// those of the calibration.
    pub(super) fn observe(&mut self, value: f32) -> DriftState {
        if self.state.observed == EPOCH {
            self.begin_epoch();
        }
        let p_value = self.insert(value);
        let state = &mut self.state;
        state.martingale_log10 += self.bets.bet(p_value).log10();
        state.alarm |= state.martingale_log10 >= self.alarm_log10;
        state.observed += 1;
        self.state
    }

    /// The state of the evidence.
    pub(super) fn state(&self) -> DriftState {
        self.state
    }

    fn begin_epoch(&mut self) {
        self.values.clear();
        self.values.extend_from_slice(&self.calibration);
        self.bets.restart();
        self.state = DriftState {
            alarm: self.state.alarm,
            ..START
        };
    }

    /// Inserts a value in order; returns its p-value, the share of values that are higher. Among
    /// equal values, itself included, chance decides.
    pub(super) fn insert(&mut self, value: f32) -> f64 {
        let lower = self.values.partition_point(|&other| other < value);
        let equal = self.values[lower..].partition_point(|&other| other <= value);
        let higher = self.values.len() - lower - equal;
        self.values.insert(lower + equal, value);
        (higher as f64 + self.lot.unit() * (equal + 1) as f64) / self.values.len() as f64
    }

    /// The values that the next one is ranked among, ascending.
    #[cfg(test)]
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }
}
