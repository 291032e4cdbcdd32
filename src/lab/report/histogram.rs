//! The histogram of scores: what a threshold does.

use std::collections::BTreeMap;

use maud::Markup;

use super::axis::{Axis, Scale, Unit};
use super::charts::Scores;
use super::html::significant;
use super::plot::{Anchor, Plot};

/// Bars of a histogram, from the lowest to the highest score.
const BARS: f64 = 44.0;

/// Plots scores of good parts upwards and of defects downwards, each as a share of its own kind,
/// with the threshold between what passes and what is rejected. Scores of defects are heavy-tailed,
/// so the highest ones share a last bar.
pub(crate) fn histogram(scores: Scores<'_>) -> Markup {
    let bars = Bars::new(scores);
    let sides = [
        Side::new(&bars, scores.good, 1.0, "good", "good parts"),
        Side::new(&bars, scores.defect, -1.0, "defect", "defects"),
    ];
    let [up, down] = [&sides[0], &sides[1]].map(Side::tallest);
    let both = up.max(down);
    // Room for the labels and, on a side with low bars, enough room to see them.
    let extent = |own: f64| if own == 0.0 { 0.0 } else { own + 0.22 * both };
    let (floor, ceiling) = (-extent(down), extent(up));
    let (left, right) = (bars.edge(bars.first - 1), bars.edge(bars.last + 4));
    let mut x = Axis::linear("anomaly score", [left, right], Unit::Number);
    if bars.is_logarithmic {
        x.scale = Scale::Log {
            from: left,
            to: right,
        };
    }
    let y = Axis::linear(
        "share of the defects | of the good parts",
        [floor, ceiling],
        Unit::PercentBothWays,
    );
    let mut plot = Plot::new(960.0, 340.0, x, y);
    for side in &sides {
        side.draw(&mut plot, &bars);
    }
    plot.line("zero", [(left, 0.0), (right, 0.0)]);
    let at = f64::from(scores.threshold);
    plot.line("threshold", [(at, floor), (at, ceiling)]);
    // The names go on the side away from the threshold.
    let (anchor, end, gap) = if bars.last > -bars.first {
        (Anchor::End, right, -6.0)
    } else {
        (Anchor::Start, left, 8.0)
    };
    if !scores.good.is_empty() {
        let told = format!("threshold {}", significant(at));
        let rejected = "false rejects →";
        plot.text("strong", anchor, (end, ceiling), (gap, 14.0), "good parts");
        plot.text("strong", Anchor::Start, (at, ceiling), (6.0, 14.0), &told);
        plot.text("note", Anchor::Start, (at, ceiling), (6.0, 31.0), rejected);
    }
    if !scores.defect.is_empty() {
        plot.text("strong", anchor, (end, floor), (gap, -8.0), "defects");
        plot.text("note", Anchor::End, (at, floor), (-6.0, -8.0), "← escapes");
    }
    plot.svg("Histogram of the anomaly scores of good parts and of defects, with the threshold")
}

/// Bars of equal width on the axis, numbered so that the threshold lies between 0 and 1.
struct Bars {
    is_logarithmic: bool,
    threshold: f64,
    width: f64,
    first: i32,
    /// Higher scores share a separate bar.
    last: i32,
}

impl Bars {
    fn new(scores: Scores<'_>) -> Self {
        let numbers = |of: &[f32]| of.iter().copied().map(f64::from).collect::<Vec<f64>>();
        let (good, mut defect) = (numbers(scores.good), numbers(scores.defect));
        let threshold = f64::from(scores.threshold);
        let low = good
            .iter()
            .chain(&defect)
            .copied()
            .fold(threshold, f64::min);
        let is_logarithmic = low > 0.0;
        let to_axis = |score: f64| if is_logarithmic { score.ln() } else { score };
        defect.sort_by(f64::total_cmp);
        let typical = defect.get(defect.len() * 9 / 10).copied();
        let high = good.into_iter().chain(typical).fold(threshold, f64::max);
        let threshold = to_axis(threshold);
        // Wide enough that the ends of a bar are different numbers.
        let width = ((to_axis(high) - to_axis(low)) / BARS)
            .max(1e-4 * threshold.abs())
            .max(1e-9);
        let mut bars = Self {
            is_logarithmic,
            threshold,
            width,
            first: 0,
            last: 0,
        };
        bars.first = bars.of(low);
        bars.last = bars.of(high);
        bars
    }

    /// Returns the bar of a score; a score between two bars belongs to the lower, as the threshold
    /// belongs to what passes.
    fn of(&self, score: f64) -> i32 {
        let place = if self.is_logarithmic {
            score.ln()
        } else {
            score
        };
        ((place - self.threshold) / self.width).ceil() as i32
    }

    /// Returns the score at the upper end of a bar.
    fn edge(&self, bar: i32) -> f64 {
        let place = self.threshold + f64::from(bar) * self.width;
        if self.is_logarithmic {
            place.exp()
        } else {
            place
        }
    }
}

/// The bars of good parts, or of defects.
struct Side {
    counts: BTreeMap<i32, usize>,
    beyond: usize,
    highest: f64,
    of: usize,
    sign: f64,
    class: &'static str,
    what: &'static str,
}

impl Side {
    fn new(
        bars: &Bars,
        scores: &[f32],
        sign: f64,
        class: &'static str,
        what: &'static str,
    ) -> Self {
        let mut side = Self {
            counts: BTreeMap::new(),
            beyond: 0,
            highest: f64::MIN,
            of: scores.len(),
            sign,
            class,
            what,
        };
        for &score in scores {
            let score = f64::from(score);
            side.highest = side.highest.max(score);
            match bars.of(score) {
                bar if bar > bars.last => side.beyond += 1,
                bar => *side.counts.entry(bar).or_default() += 1,
            }
        }
        side
    }

    fn share(&self, count: usize) -> f64 {
        count as f64 / self.of as f64
    }

    fn tallest(&self) -> f64 {
        let counts = self.counts.values().chain([&self.beyond]);
        counts
            .max()
            .map_or(0.0, |&most| if most == 0 { 0.0 } else { self.share(most) })
    }

    fn draw(&self, plot: &mut Plot, bars: &Bars) {
        let Self {
            class,
            what,
            of,
            sign,
            ..
        } = self;
        let class_of = |bar: i32| {
            let is_wrong = (bar > 0) == (*sign > 0.0);
            if is_wrong {
                format!("{class} wrong")
            } else {
                (*class).to_owned()
            }
        };
        for (&bar, &count) in &self.counts {
            let (low, high) = (bars.edge(bar - 1), bars.edge(bar));
            let told = format!(
                "{count} of {of} {what}: score {} to {}",
                significant(low),
                significant(high)
            );
            let share = sign * self.share(count);
            plot.bar(&class_of(bar), (low, 0.0), (high, share), &told);
        }
        if self.beyond > 0 {
            let told = format!(
                "{} of {of} {what}: score above {}, up to {}",
                self.beyond,
                significant(bars.edge(bars.last)),
                significant(self.highest)
            );
            let share = sign * self.share(self.beyond);
            let (low, high) = (bars.edge(bars.last + 1), bars.edge(bars.last + 3));
            plot.bar(&class_of(bars.last + 1), (low, 0.0), (high, share), &told);
            // On the other side of the line from its bar, where there is room.
            let told = format!("{} above, up to {}", self.beyond, significant(self.highest));
            plot.text("note", Anchor::End, (high, 0.0), (0.0, -8.0), &told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(good: &[f32], defect: &[f32], threshold: f32) -> Bars {
        Bars::new(Scores {
            good,
            defect,
            threshold,
        })
    }

    #[test]
    fn the_threshold_lies_between_two_bars_and_a_score_on_it_is_below() {
        let bars = bars(&[0.5, 1.0, 2.0], &[3.0], 2.0);
        assert_eq!(bars.of(2.0), 0);
        assert_eq!(bars.of(2.000_001), 1);
        assert!((bars.edge(0) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn every_score_has_a_bar_or_stands_beyond() {
        let good: Vec<f32> = (1..50).map(|i| i as f32 / 25.0).collect();
        let defect: Vec<f32> = (1..50).map(|i| (i as f32 / 9.0).exp()).collect();
        let bars = bars(&good, &defect, 1.5);
        for scores in [&good, &defect] {
            let side = Side::new(&bars, scores, 1.0, "good", "good parts");
            assert_eq!(
                side.counts.values().sum::<usize>() + side.beyond,
                scores.len()
            );
            assert!(
                side.counts
                    .keys()
                    .all(|bar| (bars.first..=bars.last).contains(bar))
            );
        }
        assert!(f64::from(bars.last - bars.first) <= BARS + 1.0);
    }

    /// Whatever the scores are, there is a plot and no panic: all equal, negative, zero, huge.
    #[test]
    fn no_score_is_too_odd_for_a_plot() {
        let most = f32::MAX / 4.0;
        for (good, defect, threshold) in [
            (&[1.0, 1.0][..], &[1.0][..], 1.0),
            (&[0.0], &[], 0.0),
            (&[], &[5.0, 5.1], 5.0),
            (&[-3.0, -1.0], &[0.0, 2.0], -2.0),
            (&[1e-30], &[most], 1.0),
            (&[-most], &[most], 0.0),
        ] {
            let scores = Scores {
                good,
                defect,
                threshold,
            };
            let svg = histogram(scores).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.len() < 40_000, "{}", svg.len());
        }
    }
}
