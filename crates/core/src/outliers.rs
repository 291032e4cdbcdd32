//! Whether the highest scores of a calibration stand apart from the others.
//!
//! With few scores the threshold is one of the highest, so a black frame, a torn file or a defect
//! among the good pictures gives a line that rejects nothing. The promise does not help here: it
//! holds for parts like those pictures. So the user is told, and decides.
//!
//! **The rule.** Let x₁ ≥ x₂ ≥ … be the logarithms of the scores. If their upper tail is
//! exponential, the spacings r·(xᵣ − xᵣ₊₁) are independent and exponential with one mean (Rényi,
//! "On the theory of order statistics", Acta Mathematica Hungarica 4, 1953), so the one at rank r,
//! divided by the mean of those below it down to the median, is F-distributed with 2 and 2m degrees
//! of freedom, m being the number below: it exceeds t with a probability of (1 + t/m)⁻ᵐ. If that is
//! too small, the r highest scores stand apart. The largest such r counts, and no rank is compared
//! with those above it, so that several odd pictures do not hide each other.
//!
//! **False alarms.** [`FALSE_ALARM`] per calibration, all ranks together, if the tail is
//! exponential; fewer if it is lighter, like that of a normal distribution, and more if it is
//! heavier or has a separate group far out. Scores of good parts are skewed, which is why their
//! logarithms are compared; what was measured on real pictures is in `docs/training.md`.

/// How often a calibration of good pictures is refused, if the logarithms of their scores have an
/// exponential tail. Black frames and torn files have probabilities far below it; real scores
/// sometimes have tails heavier than exponential ones, and a larger number would make alarms of
/// those.
pub const FALSE_ALARM: f64 = 0.001;

/// The number of highest scores that may stand apart, if a tenth of all is less: one picture of
/// each usual kind.
const AT_LEAST: usize = 3;

/// The number of spacings among the others that it takes to know what is usual.
const SPACINGS: usize = 2;

/// Returns how many of the highest scores stand apart from the others; 0 if there are too few to
/// tell. At most a tenth of them, or three: more are not odd pictures, but another kind of part.
pub fn standing_apart(scores: &[f32]) -> usize {
    let log = |score: &f32| f64::from(score.max(f32::MIN_POSITIVE)).ln();
    let mut logs: Vec<f64> = scores.iter().map(log).collect();
    logs.sort_by(|a, b| b.total_cmp(a));
    let tail = logs.len() / 2;
    let spacing = |rank: usize| rank as f64 * (logs[rank - 1] - logs[rank]);
    let most = (scores.len() / 10)
        .max(AT_LEAST)
        .min(tail.saturating_sub(SPACINGS));
    let stands_apart = |rank: &usize| {
        let below = tail - rank;
        let others: f64 = (rank + 1..=tail).map(spacing).sum();
        // The mean of the others is `others / below`; infinite if they are all alike.
        let ratio = spacing(*rank) / others;
        let chance = (1.0 + ratio).powi(-(below as i32));
        chance < FALSE_ALARM / most as f64
    };
    (1..=most).rev().find(stands_apart).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    /// Scores whose logarithms are exponential.
    fn good(random: &mut SplitMix64, n: usize) -> Vec<f32> {
        let score = |random: &mut SplitMix64| (0.3 * -(1.0 - random.unit()).ln()).exp() as f32;
        (0..n).map(|_| score(random)).collect()
    }

    /// The stated rate, and no rule that never alarms.
    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        const RUNS: usize = 20_000;
        for n in [10, 20, 42, 152] {
            let mut random = SplitMix64::new(n as u64);
            let alarms = (0..RUNS)
                .filter(|_| standing_apart(&good(&mut random, n)) > 0)
                .count();
            // 20 are expected at most; more than 36 come from 1 in 3000 seeds.
            assert!(
                (1..=36).contains(&alarms),
                "{alarms} of {RUNS} with {n} scores"
            );
        }
    }

    #[test]
    fn several_that_stand_apart_do_not_hide_each_other() {
        for n in [10, 20, 101] {
            let mut random = SplitMix64::new(7);
            let mut scores = good(&mut random, n);
            assert_eq!(standing_apart(&scores), 0);
            scores.push(3.1e8);
            assert_eq!(standing_apart(&scores), 1, "{n}");
            scores.push(5.2e9);
            assert_eq!(standing_apart(&scores), 2, "{n}");
            scores.push(5.2e9);
            assert_eq!(standing_apart(&scores), 3, "{n}");
        }
    }

    #[test]
    fn a_score_that_is_merely_the_highest_does_not_stand_apart() {
        let mut scores: Vec<f32> = (0..100).map(|i| 0.4 + 0.0027 * i as f32).collect();
        assert_eq!(standing_apart(&scores), 0);
        scores.push(0.72);
        assert_eq!(standing_apart(&scores), 0);
    }

    #[test]
    fn scores_that_are_few_or_alike_or_zero_are_no_trouble() {
        assert_eq!(standing_apart(&[]), 0);
        assert_eq!(standing_apart(&[1.0, 1e9]), 0, "which of them is odd?");
        assert_eq!(standing_apart(&[1.0; 20]), 0);
        assert_eq!(standing_apart(&[0.0; 20]), 0);
        let mut alike = vec![1.0; 20];
        alike.push(2.0);
        assert_eq!(standing_apart(&alike), 1);
    }
}
