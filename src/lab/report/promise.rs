//! Whether the calibration kept its promise, and what another promise would do.

use flawd_core::calibration::{CalibrationMethod, needed_images};
use flawd_core::evaluation::{KeptPromise, Rate};
use maud::{Markup, html};

use super::Section;
use super::charts::{self, Scores};
use super::html::{figure, percent, rate, significant, table};
use crate::lab::evaluation::{Evaluation, PromiseRow};

/// The rates that another calibration of the same scores could promise, if there are enough.
const OTHER_RATES: [f64; 5] = [0.005, 0.01, 0.02, 0.05, 0.1];

/// The highest promised rate in the second calibration plot, which shows more detail.
const CLOSER: f64 = 0.1;

/// Returns how the promise compares with these good parts, and with random splits.
pub(crate) fn promise(section: &Section<'_>, good: &[f32]) -> Markup {
    let report = section.report;
    let kept: Vec<&KeptPromise> = (report.kept_promise.iter())
        .filter_map(|row| row.measured.as_ref())
        .collect();
    html! {
        p { "The promise: " (section.manifest.calibration.promise()) "." }
        p { (against_the_promise(report)) }
        @if !good.is_empty() { (promised_and_measured(section, good)) }
        @if let [first, ..] = kept[..] {
            (figure("wide", charts::splits(&kept), about_splits(first)))
        }
        ul.results {
            @for row in &report.kept_promise {
                li { "Promised " (rate(row.promised)) ": " (found(row)) "." }
            }
        }
    }
}

/// Returns how many false rejects the promise leads one to expect, and whether the result agrees.
pub(crate) fn against_the_promise(report: &Evaluation) -> String {
    let promised = rate(report.promised_false_reject_rate);
    let Some([low, high]) = report.expected_false_rejects else {
        return String::new();
    };
    let count = report.overall.counts.false_rejects;
    let expected = format!(
        "At most {promised} is promised{}: among {} good parts that makes one expect {low} to {high} \
         rejected ones, and there were {count}.",
        gave_way(report),
        report.overall.counts.good
    );
    let verdict = if count > high {
        "That is too many: these good parts are not like those of the calibration, so the promise does \
         not hold for them. Calibrate again with parts from today's process."
    } else if count < low {
        "That is less: these good parts score lower than those of the calibration."
    } else {
        "That is in keeping with the promise."
    };
    format!("{expected} {verdict}")
}

/// Returns that a lower rate was requested, if so, and what it requires.
fn gave_way(report: &Evaluation) -> String {
    report.asked_false_reject_rate.map_or_else(String::new, |asked| {
        let needed = needed_images(asked);
        format!(
            ", the lowest that the images of the calibration support ({} takes {needed} of them)",
            rate(asked)
        )
    })
}

fn promised_and_measured(section: &Section<'_>, good: &[f32]) -> Markup {
    let calibration = &section.manifest.calibration;
    let band = match calibration.method() {
        CalibrationMethod::Split => ": a line that leaves it upwards says that they do not.",
        CalibrationMethod::Cross { .. } => {
            ", and the model in use scores them as the models of the folds did: a line that leaves it \
             says that one of the two is not so."
        }
    };
    let whole = html! {
        strong { "Promised and measured." }
        " Each point is a rate that the calibration can promise, and what it came to on the good \
         parts of this test; below the diagonal it is better than promised. The grey band is where \
         tests of this size lie if the good parts come from the same process as those of the \
         calibration" (band)
    };
    let detail = html! {
        strong { "The same, closer:" }
        " the rates that a line would ask for. The dot is the promise in use."
    };
    let closer = CLOSER.max(4.0 * calibration.alpha()).min(1.0);
    html! {
        div.pair {
            (figure("half", charts::promise(calibration, good, 1.0), whole))
            (figure("half", charts::promise(calibration, good, closer), detail))
        }
    }
}

fn about_splits(kept: &KeptPromise) -> Markup {
    html! {
        strong { "The rule itself." }
        " The " (kept.calibration + kept.test) " good scores, those of the calibration and of this \
         test together, were parted at random " (kept.splits) " times: " (kept.calibration)
        " calibrate, and the bars count how often the other " (kept.test) " were rejected at which \
         rate. The dot is the mean with its 95 % interval, the dashed line what was promised. A \
         single split scatters; the promise is about the mean."
    }
}

fn found(row: &PromiseRow) -> String {
    match (&row.measured, &row.too_few) {
        (Some(kept), _) => {
            let [low, high] = kept.interval.map(percent);
            format!(
                "{} rejected on average ({low} to {high})",
                percent(kept.mean)
            )
        }
        (None, Some(reason)) => format!("not measured: {reason}"),
        (None, None) => "not measured".to_owned(),
    }
}

/// Returns the thresholds and rates of other promises with the same scores.
pub(crate) fn other_promises(section: &Section<'_>, scores: Scores<'_>) -> Markup {
    let calibration = &section.manifest.calibration;
    let in_use = calibration.alpha();
    let mut rates: Vec<f64> = OTHER_RATES.to_vec();
    if !rates.contains(&in_use) {
        rates.push(in_use);
    }
    rates.sort_by(f64::total_cmp);
    let word = match calibration.method() {
        CalibrationMethod::Split => "at most",
        CalibrationMethod::Cross { .. } => "about",
    };
    let head = [
        "promised false rejects",
        "threshold",
        "good parts rejected",
        "defects that escape",
    ];
    let rows = html! {
        @for promised in rates {
            @if let Ok(other) = calibration.at_rate(promised) {
                @let threshold = other.threshold();
                tr {
                    th scope="row" {
                        (word) " " (rate(promised)) @if promised == in_use { " (in use)" }
                    }
                    td { (significant(f64::from(threshold))) }
                    td { (with_interval(Rate::false_rejects(scores.good, threshold))) }
                    td { (with_interval(Rate::escapes(scores.defect, threshold))) }
                }
            }
        }
    };
    html! {
        (table("numbers", &head, rows))
        p.caption {
            "The same scores at other thresholds: fewer defects escape where more good parts may be \
             rejected. " code { "flawd calibrate" } " sets another one. Rates that the calibration's \
             pictures are too few for are left out."
        }
    }
}

fn with_interval(rate: Option<Rate>) -> Markup {
    let Some(rate) = rate else {
        return html! { "–" };
    };
    let [low, high] = rate.interval().map(percent);
    html! { (percent(rate.value())) " " span.interval { (low) " to " (high) } }
}
