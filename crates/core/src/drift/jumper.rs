//! Bets of the published martingale, for scores.

use super::martingale::Bets;

/// The bets: p-values are too small, as they should be, or too large.
const SLOPES: [f64; 3] = [-1.0, 0.0, 1.0];

/// The share of the capital that changes its bet at every step; the paper's.
const JUMP: f64 = 0.01;

/// The Simple Jumper martingale: Vovk et al., "Retrain or not retrain: conformal test martingales
/// for change-point detection", COPA 2021, algorithm 1.
///
/// The capital is spread over three bets, of which each multiplies its share by
/// 1 + slope · (p − 1/2), and at every step a little of it is spread evenly again, so that it is
/// still there when the p-values change direction.
#[derive(Clone, Debug)]
pub(super) struct Jumper {
    /// The share of the capital in each bet; they sum to 1.
    shares: [f64; SLOPES.len()],
}

impl Jumper {
    pub(super) fn new() -> Self {
        Self {
            shares: [1.0 / SLOPES.len() as f64; SLOPES.len()],
        }
    }
}

impl Bets for Jumper {
    fn restart(&mut self) {
        *self = Self::new();
    }

    fn bet(&mut self, p_value: f64) -> f64 {
        for (share, slope) in self.shares.iter_mut().zip(SLOPES) {
            let stake = (1.0 - JUMP) * *share + JUMP / SLOPES.len() as f64;
            *share = stake * (1.0 + slope * (p_value - 0.5));
        }
        let factor: f64 = self.shares.iter().sum();
        for share in &mut self.shares {
            *share /= factor;
        }
        factor
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A bet is fair: over uniform p-values the factor is 1 on average, whatever came before.
        /// It is linear in the p-value, so the mean of the two ends is that average.
        #[test]
        fn no_bet_wins_on_average(history in prop::collection::vec(0.0_f64..=1.0, 0..200)) {
            let mut jumper = Jumper::new();
            for p_value in history {
                jumper.bet(p_value);
            }
            let mean = (jumper.clone().bet(0.0) + jumper.clone().bet(1.0)) / 2.0;
            prop_assert!((mean - 1.0).abs() < 1e-12);
            prop_assert!((jumper.clone().bet(0.5) - 1.0).abs() < 1e-12);
        }
    }
}
