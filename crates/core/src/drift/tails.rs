//! Bets for quantities that change in a step: a lamp, a lens, a cable.
//!
//! ```text
//!            half                    spread evenly over the parts of the epoch
//! capital ─────────► bets            ┌──────┬──────┬──────┬─ …
//!         └────────► reserve ────────┘ new bets, as if the line began here
//! ```
//! Every bet is on one tail: the next p-value is among the smallest (or largest) tenth, quarter or
//! half. A bet on a tail of width w pays `1 − λ + λ/w` there and `1 − λ` elsewhere, which is 1 on
//! average over a uniform p-value; so is every mixture of bets, and capital in the reserve stays
//! as it is. So the capital is a martingale, however the shares are moved before the next p-value
//! is known.
//!
//! **The reserve** is for a line that was stable for long: its first bets are lost by then, and the
//! new ones need no more than 10^3.4 of evidence above the alarm, instead of all that was lost.
//!
//! Measured by simulation with normal values, 9 quantities at 1 % in all, as the median number of
//! parts until the alarm, for 42, 100 and 150 calibration pictures: a shift by 3 deviations takes
//! 5 parts from the start of the line and 11 to 12 after 100 or 2000 stable parts, one by 2
//! deviations 7 to 11, and 15 to 18, one by 1.5 deviations 13 to 21, and 21 to 28. One deviation
//! takes 32 to 189 from the start and 42 to 71 later, or is not seen. The bets of
//! [`Jumper`](super::jumper) gain at most a factor of 1.5 per part, and need 17 parts at least.
//! No part multiplies the capital by more than 6.4, so that it takes more than three odd ones.

use super::EPOCH;
use super::martingale::Bets;

/// The width of each tail, and the share of a stake that is at risk. Wider tails see smaller
/// changes, narrower ones see large changes sooner.
const TAILS: [(f64, f64); 3] = [(0.1, 0.6), (0.25, 0.6), (0.5, 0.5)];

/// The share of the capital that bets from the first part on.
const AT_ONCE: f64 = 0.5;

/// The changes that are bet on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Values grow.
    Up,
    /// Values shrink.
    Down,
    /// Either.
    Both,
}

/// Shares of the capital in tails and in the reserve.
#[derive(Clone, Debug)]
pub(super) struct Tails {
    bets: Vec<Tail>,
    /// The share that does not bet yet.
    reserve: f64,
    /// Parts over which it is spread.
    left: u64,
}

/// A bet on one tail.
#[derive(Clone, Debug)]
struct Tail {
    is_upper: bool,
    width: f64,
    risk: f64,
    share: f64,
}

impl Tails {
    pub(super) fn new(direction: Direction) -> Self {
        let sides: &[bool] = match direction {
            Direction::Up => &[true],
            Direction::Down => &[false],
            Direction::Both => &[true, false],
        };
        let bets = sides.iter().flat_map(|&is_upper| {
            TAILS.map(|(width, risk)| Tail {
                is_upper,
                width,
                risk,
                share: 0.0,
            })
        });
        let mut tails = Self {
            bets: bets.collect(),
            reserve: 0.0,
            left: 0,
        };
        tails.restart();
        tails
    }
}

impl Tail {
    /// Returns what a stake of 1 becomes. The p-value is the share of values that are higher.
    fn pays(&self, p_value: f64) -> f64 {
        let beyond = if self.is_upper {
            p_value
        } else {
            1.0 - p_value
        };
        let gain = if beyond < self.width {
            self.risk / self.width
        } else {
            0.0
        };
        1.0 - self.risk + gain
    }
}

impl Bets for Tails {
    fn restart(&mut self) {
        let each = AT_ONCE / self.bets.len() as f64;
        for bet in &mut self.bets {
            bet.share = each;
        }
        self.reserve = 1.0 - AT_ONCE;
        self.left = EPOCH;
    }

    fn bet(&mut self, p_value: f64) -> f64 {
        let released = self.reserve / self.left.max(1) as f64;
        self.left = self.left.saturating_sub(1);
        self.reserve -= released;
        let each = released / self.bets.len() as f64;
        let mut factor = self.reserve;
        for bet in &mut self.bets {
            bet.share = (bet.share + each) * bet.pays(p_value);
            factor += bet.share;
        }
        self.reserve /= factor;
        for bet in &mut self.bets {
            bet.share /= factor;
        }
        factor
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The mean over p-values in the middle of 1000 equal steps is exact, since every tail
        /// ends between two of them.
        #[test]
        fn no_bet_wins_on_average(
            history in prop::collection::vec(0.0_f64..=1.0, 0..200),
            direction in prop::sample::select(vec![Direction::Up, Direction::Down, Direction::Both]),
        ) {
            let mut tails = Tails::new(direction);
            for p_value in history {
                tails.bet(p_value);
            }
            let p_values = (0..1000).map(|step| (f64::from(step) + 0.5) / 1000.0);
            let factors: Vec<f64> = p_values.map(|p| tails.clone().bet(p)).collect();
            let mean = factors.iter().sum::<f64>() / 1000.0;
            prop_assert!((mean - 1.0).abs() < 1e-9, "{mean}");
            prop_assert!(factors.iter().all(|factor| (0.0..6.5).contains(factor)));
        }
    }

    #[test]
    fn the_reserve_lasts_for_the_epoch() {
        let mut tails = Tails::new(Direction::Both);
        let factors: Vec<f64> = (0..EPOCH)
            .map(|part| tails.bet((part % 97) as f64 / 97.0))
            .collect();
        assert!(
            factors
                .iter()
                .all(|factor| factor.is_finite() && *factor > 0.0)
        );
        assert!(tails.reserve.abs() < 1e-9);
    }
}
