//! The plots of an evaluation, from its numbers.

use std::collections::BTreeMap;

use flawd_core::calibration::Calibration;
use flawd_core::evaluation::{KeptPromise, Ranking, Rate, promised_against_measured};

use super::html::{percent, rate};
use super::plot::{Anchor, Axis, Plot, Scale, Unit};

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
pub(crate) fn roc(scores: Scores<'_>, ranking: &Ranking) -> String {
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
pub(crate) fn precision_recall(scores: Scores<'_>, ranking: &Ranking) -> String {
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
pub(crate) fn promise(calibration: &Calibration, good: &[f32], to: f64) -> String {
    let points = promised_against_measured(calibration, good, PROMISE_POINTS);
    let shown: Vec<_> = points.iter().filter(|point| point.promised <= to).collect();
    let highest = shown
        .iter()
        .flat_map(|point| [point.measured.interval()[1], point.expected[1]])
        .fold(to, f64::max);
    let top = if to < 1.0 {
        (highest * 20.0).ceil() / 20.0
    } else {
        1.0
    };
    let x = Axis::share("promised false-reject rate", to);
    let mut plot = Plot::new(
        460.0,
        380.0,
        x,
        Axis::share("measured false-reject rate", top),
    );
    let expected: Vec<_> = shown
        .iter()
        .map(|point| (point.promised, point.expected))
        .collect();
    plot.band("expected", &expected);
    let measured: Vec<_> = shown
        .iter()
        .map(|point| (point.promised, point.measured.interval()))
        .collect();
    plot.band("measured", &measured);
    plot.line("guide", [(0.0, 0.0), (to, to)]);
    plot.line(
        "good",
        shown
            .iter()
            .map(|point| (point.promised, point.measured.value())),
    );
    let alpha = calibration.alpha();
    if alpha <= to
        && let Some(measured) = Rate::false_rejects(good, calibration.threshold())
    {
        let told = format!(
            "promised {}, measured {}",
            rate(alpha),
            percent(measured.value())
        );
        plot.dot("mark", 5.0, (alpha, measured.value()), &told);
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
pub(crate) fn splits(kept: &[&KeptPromise]) -> String {
    let rates = kept.iter().flat_map(|kept| &kept.rates).copied();
    let promised = kept.iter().map(|kept| kept.promised);
    let highest = rates.chain(promised).fold(0.01, f64::max);
    let to = (highest * 1.05 * 50.0).ceil() / 50.0;
    let rows = kept.len() as f64;
    let x = Axis::share("false-reject rate in the half that did not calibrate", to);
    let y = Axis {
        label: "",
        scale: Scale::Linear {
            from: 0.0,
            to: rows,
        },
        unit: Unit::Number,
    };
    let mut plot = Plot::new(960.0, 60.0 + 110.0 * rows, x, y).without_y_ticks();
    for (place, kept) in kept.iter().enumerate() {
        let floor = rows - 1.0 - place as f64 + 0.12;
        let name = format!("{} promised", rate(kept.promised));
        plot.text("strong", Anchor::End, (to, floor), (-4.0, -76.0), &name);
        plot.line("zero", [(0.0, floor), (to, floor)]);
        let mut counts = BTreeMap::<u64, usize>::new();
        for &rate in &kept.rates {
            *counts
                .entry((rate * kept.test as f64).round() as u64)
                .or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(1) as f64;
        for (&rejected, &count) in &counts {
            let value = rejected as f64 / kept.test as f64;
            let half = 0.4 / kept.test as f64;
            let told = format!(
                "{count} of {} splits: {rejected} of {}",
                kept.splits, kept.test
            );
            let top = floor + 0.66 * count as f64 / most;
            plot.bar(
                "good",
                ((value - half).max(0.0), floor),
                (value + half, top),
                &told,
            );
        }
        let middle = floor + 0.76;
        plot.line(
            "threshold",
            [(kept.promised, floor), (kept.promised, floor + 0.82)],
        );
        plot.line("interval", kept.interval.map(|end| (end, middle)));
        plot.dot(
            "mark",
            4.5,
            (kept.mean, middle),
            &format!("mean {}", percent(kept.mean)),
        );
    }
    plot.svg("False-reject rates over random splits, with their mean and the promised rate")
}

/// Plots the mean loss of every epoch.
pub(crate) fn losses(losses: &[f64]) -> String {
    let low = losses.iter().copied().fold(f64::MAX, f64::min);
    let high = losses.iter().copied().fold(f64::MIN, f64::max);
    let room = 0.08 * (high - low).max(1e-6);
    let x = Axis {
        label: "epoch",
        scale: Scale::Linear {
            from: 0.0,
            to: losses.len() as f64,
        },
        unit: Unit::Count,
    };
    let y = Axis {
        label: "mean loss (nats per latent)",
        scale: Scale::Linear {
            from: low - room,
            to: high + room,
        },
        unit: Unit::Number,
    };
    let mut plot = Plot::new(960.0, 260.0, x, y);
    let points = || {
        losses
            .iter()
            .enumerate()
            .map(|(place, &loss)| (place as f64 + 1.0, loss))
    };
    plot.line("accent", points());
    if losses.len() <= 100 {
        for (epoch, loss) in points() {
            plot.dot(
                "accent",
                3.0,
                (epoch, loss),
                &format!("epoch {epoch}: {loss:.4}"),
            );
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
        let svg = roc(scores, &ranking);
        assert!(svg.contains("false rejects 50.0 %, found 50.0 %"), "{svg}");
        let svg = precision_recall(scores, &ranking);
        assert!(svg.contains("found 50.0 %, precision 33.3 %"), "{svg}");
    }

    #[test]
    fn few_images_make_plots_as_well_as_many() {
        for n in [1, 2, 5000] {
            let all: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let alpha = flawd_core::calibration::achievable_rate(n);
            let calibration = Calibration::from_scores(all.clone(), alpha).expect("achievable");
            for to in [0.1, 1.0] {
                let svg = promise(&calibration, &all, to);
                assert!(is_drawn(&svg) && svg.len() < 60_000, "{n}: {}", svg.len());
            }
            let kept = KeptPromise::measure(&[all.clone(), all].concat(), 0.6, 10, 1);
            assert!(is_drawn(&splits(&[&kept.expect("enough")])));
        }
        for epochs in [vec![0.5, 0.5], (0..1000).map(f64::from).collect()] {
            let svg = losses(&epochs);
            assert!(is_drawn(&svg) && svg.len() < 20_000, "{}", svg.len());
        }
    }
}
