//! The plots of an evaluation, from its numbers.

use std::collections::BTreeMap;

use flawd_core::calibration::Calibration;
use flawd_core::evaluation::{KeptPromise, PromisePoint, Ranking, Rate, promised_against_measured};
use maud::Markup;

use super::axis::{Axis, Unit};
use super::html::{percent, rate};
use super::plot::{Anchor, Plot};

/// Maximum number of points in the calibration plot; more would not be visible.
const PROMISE_POINTS: usize = 300;

/// The scores of an evaluation, and the threshold that divides them.
#[derive(Clone, Copy)]
pub(crate) struct Scores<'a> {
    pub(crate) good: &'a [f32],
    pub(crate) defect: &'a [f32],
    pub(crate) threshold: f32,
}

impl Scores<'_> {
    /// Returns the rates of false rejects and of detected defects at the threshold.
    fn operating_point(self) -> Option<(Rate, Rate)> {
        let found = self.defect.iter().filter(|&&score| score > self.threshold);
        Rate::false_rejects(self.good, self.threshold)
            .zip(Rate::new(found.count(), self.defect.len()))
    }
}

/// Plots the share of detected defects over the share of rejected good parts, for every threshold.
pub(crate) fn roc(scores: Scores<'_>, ranking: &Ranking) -> Markup {
    let x = Axis::share("false rejects: good parts that are rejected", 1.0);
    let mut plot = Plot::new(460.0, 380.0, x, Axis::share("defects that are found", 1.0));
    plot.line("guide", [(0.0, 0.0), (1.0, 1.0)]);
    let curve = ranking.curve();
    let points = curve.map(|point| (point.false_reject_rate, point.recall));
    plot.line("accent", std::iter::once((0.0, 0.0)).chain(points));
    if let Some((rejects, found)) = scores.operating_point() {
        let (x, y) = (rejects.value(), found.value());
        plot.line("interval", rejects.interval().map(|end| (end, y)));
        plot.line("interval", found.interval().map(|end| (x, end)));
        let told = format!("false rejects {}, found {}", percent(x), percent(y));
        plot.dot("mark", 5.0, (x, y), &told);
        plot.text(
            "strong",
            Anchor::Start,
            (x, y),
            (12.0, 18.0),
            "threshold in use",
        );
    }
    plot.text("note", Anchor::Start, (0.6, 0.6), (8.0, 12.0), "guessing");
    plot.svg("ROC curve: defects found against good parts rejected")
}

/// Plots how many of the rejected parts have a defect, over the share of detected defects.
pub(crate) fn precision_recall(scores: Scores<'_>, ranking: &Ranking) -> Markup {
    let x = Axis::share("recall: defects that are found", 1.0);
    let y = Axis::share("precision: rejected parts with a defect", 1.0);
    let mut plot = Plot::new(460.0, 380.0, x, y);
    let all = scores.good.len() + scores.defect.len();
    let guessing = scores.defect.len() as f64 / all as f64;
    plot.line("guide", [(0.0, guessing), (1.0, guessing)]);
    plot.text(
        "note",
        Anchor::Start,
        (0.02, guessing),
        (0.0, -6.0),
        "guessing",
    );
    let points: Vec<(f64, f64)> = ranking
        .curve()
        .map(|point| (point.recall, point.precision))
        .collect();
    plot.line("accent", points);
    let above = |of: &[f32]| of.iter().filter(|&&score| score > scores.threshold).count();
    let (good, defect) = (above(scores.good), above(scores.defect));
    if defect > 0 {
        let recall = defect as f64 / scores.defect.len() as f64;
        let precision = defect as f64 / (good + defect) as f64;
        let told = format!(
            "found {}, precision {}",
            percent(recall),
            percent(precision)
        );
        plot.dot("mark", 5.0, (recall, precision), &told);
        // Below the curve, on the side with enough room.
        let (anchor, gap) = if recall < 0.4 {
            (Anchor::Start, 12.0)
        } else {
            (Anchor::End, -12.0)
        };
        let at = (recall, precision);
        plot.text("strong", anchor, at, (gap, 20.0), "threshold in use");
    }
    plot.svg("Precision-recall curve")
}

/// Plots the promised rate against the measured rate, for every rate from 0 to `to` that the
/// calibration can promise.
pub(crate) fn promise(calibration: &Calibration, good: &[f32], to: f64) -> Markup {
    let mut points = promised_against_measured(calibration, good, PROMISE_POINTS);
    points.retain(|point| point.promised <= to);
    let ends = |point: &PromisePoint| [point.measured.interval()[1], point.expected[1]];
    let highest = points.iter().flat_map(ends).fold(to, f64::max);
    let top = if to < 1.0 {
        (highest * 20.0).ceil() / 20.0
    } else {
        1.0
    };
    let x = Axis::share("promised false-reject rate", to);
    let y = Axis::share("measured false-reject rate", top);
    let mut plot = Plot::new(460.0, 380.0, x, y);
    let over_promised = |ends: fn(&PromisePoint) -> [f64; 2]| -> Vec<(f64, [f64; 2])> {
        let points = points.iter();
        points.map(|point| (point.promised, ends(point))).collect()
    };
    plot.band("expected", &over_promised(|point| point.expected));
    plot.band(
        "measured",
        &over_promised(|point| point.measured.interval()),
    );
    plot.line("guide", [(0.0, 0.0), (to, to)]);
    let measured = points.iter();
    plot.line(
        "good",
        measured.map(|point| (point.promised, point.measured.value())),
    );
    let alpha = calibration.alpha();
    if alpha <= to
        && let Some(measured) = Rate::false_rejects(good, calibration.threshold())
    {
        let measured = measured.value();
        let told = format!("promised {}, measured {}", rate(alpha), percent(measured));
        plot.dot("mark", 5.0, (alpha, measured), &told);
    }
    plot.legend(&[
        (
            Some("measured"),
            Some("good"),
            "measured, with its 95 % interval",
        ),
        (Some("expected"), None, "where 95 of 100 tests would lie"),
        (None, Some("guide"), "exactly as promised"),
    ]);
    plot.svg("Measured against promised false-reject rate")
}

/// Plots the false-reject rates of calibrations on random halves, one row per promised rate.
pub(crate) fn splits(kept: &[&KeptPromise]) -> Markup {
    let rates = kept.iter().flat_map(|kept| &kept.rates).copied();
    let promised = kept.iter().map(|kept| kept.promised);
    let highest = rates.chain(promised).fold(0.01, f64::max);
    let to = (highest * 1.05 * 50.0).ceil() / 50.0;
    let rows = kept.len() as f64;
    let x = Axis::share("false-reject rate in the half that did not calibrate", to);
    let y = Axis::linear("", [0.0, rows], Unit::Number);
    let mut plot = Plot::new(960.0, 60.0 + 110.0 * rows, x, y).without_y_ticks();
    for (place, kept) in kept.iter().enumerate() {
        let floor = rows - 1.0 - place as f64 + 0.12;
        let name = format!("{} promised", rate(kept.promised));
        plot.text("strong", Anchor::End, (to, floor), (-4.0, -76.0), &name);
        plot.line("zero", [(0.0, floor), (to, floor)]);
        draw_splits(&mut plot, kept, floor);
    }
    plot.svg("False-reject rates over random splits, with their mean and the promised rate")
}

/// Draws how often which rate was measured, and the mean with its interval, above the ordinate
/// `floor`.
fn draw_splits(plot: &mut Plot, kept: &KeptPromise, floor: f64) {
    let test = kept.test as f64;
    let mut counts = BTreeMap::<u64, usize>::new();
    for &rate in &kept.rates {
        *counts.entry((rate * test).round() as u64).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1) as f64;
    for (&rejected, &count) in &counts {
        let (value, half) = (rejected as f64 / test, 0.4 / test);
        let told = format!(
            "{count} of {} splits: {rejected} of {}",
            kept.splits, kept.test
        );
        let low = ((value - half).max(0.0), floor);
        let high = (value + half, floor + 0.66 * count as f64 / most);
        plot.bar("good", low, high, &told);
    }
    let promised = [(kept.promised, floor), (kept.promised, floor + 0.82)];
    plot.line("threshold", promised);
    let middle = floor + 0.76;
    plot.line("interval", kept.interval.map(|end| (end, middle)));
    let told = format!("mean {}", percent(kept.mean));
    plot.dot("mark", 4.5, (kept.mean, middle), &told);
}

/// Plots the mean loss of every epoch: of the training pictures, and of held-out ones if they were
/// watched.
pub(crate) fn losses(losses: &[f64], held_out: &[f64]) -> Markup {
    let both = || losses.iter().chain(held_out).copied();
    let low = both().fold(f64::MAX, f64::min);
    let high = both().fold(f64::MIN, f64::max);
    let room = 0.08 * (high - low).max(1e-6);
    let x = Axis::linear("epoch", [0.0, losses.len() as f64], Unit::Count);
    let ends = [low - room, high + room];
    let y = Axis::linear("mean loss (nats per latent)", ends, Unit::Number);
    let mut plot = Plot::new(960.0, 260.0, x, y);
    for (class, of, losses) in [("accent", "", losses), ("mark", ", held out", held_out)] {
        let points = || (1..).map(f64::from).zip(losses.iter().copied());
        plot.line(class, points());
        if losses.len() <= 100 {
            for (epoch, loss) in points() {
                let told = format!("epoch {epoch}{of}: {loss:.4}");
                plot.dot(class, 3.0, (epoch, loss), &told);
            }
        }
    }
    plot.svg("Training loss by epoch")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores<'a>(good: &'a [f32], defect: &'a [f32]) -> Scores<'a> {
        Scores {
            good,
            defect,
            threshold: 2.0,
        }
    }

    /// Checks that positions and sizes are numbers, whatever was measured.
    fn is_drawn(svg: &str) -> bool {
        !svg.contains("NaN") && !svg.contains("inf")
    }

    #[test]
    fn the_threshold_in_use_is_marked_where_its_rates_are() {
        let scores = scores(&[1.0, 2.0, 3.0, 4.0], &[2.0, 5.0]);
        let (rejects, found) = scores.operating_point().expect("both kinds");
        assert_eq!((rejects.value(), found.value()), (0.5, 0.5));
        let ranking = Ranking::new(scores.good, scores.defect).expect("both kinds");
        let svg = roc(scores, &ranking).into_string();
        assert!(svg.contains("false rejects 50.0 %, found 50.0 %"), "{svg}");
        let svg = precision_recall(scores, &ranking).into_string();
        assert!(svg.contains("found 50.0 %, precision 33.3 %"), "{svg}");
    }

    #[test]
    fn few_images_make_plots_as_well_as_many() {
        for n in [1, 2, 5000] {
            let all: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let alpha = flawd_core::calibration::achievable_rate(n);
            let calibration = Calibration::from_scores(all.clone(), alpha).expect("achievable");
            for to in [0.1, 1.0] {
                let svg = promise(&calibration, &all, to).into_string();
                assert!(is_drawn(&svg) && svg.len() < 60_000, "{n}: {}", svg.len());
            }
            let kept = KeptPromise::measure(&[all.clone(), all].concat(), 0.6, 10, 1);
            let svg = splits(&[&kept.expect("enough")]).into_string();
            assert!(is_drawn(&svg), "{svg}");
        }
        for epochs in [vec![0.5, 0.5], (0..1000).map(f64::from).collect()] {
            let svg = losses(&epochs, &epochs).into_string();
            assert!(is_drawn(&svg) && svg.len() < 40_000, "{}", svg.len());
        }
    }
}
