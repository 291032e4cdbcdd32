//! What `flawd evaluate` prints: one row per kind of defect, or per category if there are several.

use flawd_core::calibration::needed_images;

use super::comparison::{print_across, print_comparison};
use crate::lab::evaluation::{Evaluation, Metrics, Overview, PromiseRow};
use crate::messages::one_line;

/// Minimum width of the first column.
const NAME: usize = 12;

/// Prints the report of one category.
pub(crate) fn print_report(report: &Evaluation) {
    let name = name_width(report.defect_types.keys());
    let line = |kind: &str, cells: [String; 7]| {
        let [images, auroc, ap, f1, escapes, pixels, aupro] = cells;
        println!(
            "{:name$} {images:>6} {auroc:>7} {ap:>7} {f1:>7} {escapes:>21} {pixels:>7} {aupro:>7}",
            one_line(kind)
        );
    };
    let heads = [
        "images",
        "AUROC",
        "AP",
        "F1-max",
        "escapes (95 %)",
        "pixels",
        "AUPRO",
    ];
    line("defect", heads.map(str::to_owned));
    let row = |kind: &str, metrics: &Metrics| {
        line(
            kind,
            [
                metrics.counts.defect.to_string(),
                number(metrics.image_auroc),
                number(metrics.image_ap),
                number(metrics.f1_max),
                rate(metrics.escape_rate, metrics.escape_rate_interval),
                number(metrics.pixel_auroc),
                number(metrics.aupro),
            ],
        );
    };
    for (kind, metrics) in &report.defect_types {
        row(kind, metrics);
    }
    row("all", &report.overall);
    println!();
    println!("threshold      {}", report.threshold);
    print_under(report);
    println!("false rejects  {}", false_rejects(report));
    if report.overall.counts.defect > 0 {
        println!("masks          {}", masks(report));
    }
    for promise in &report.kept_promise {
        println!("promise        {}", kept(promise));
    }
    print_warnings(report);
    if let Some(comparison) = &report.comparison {
        println!();
        print_comparison(comparison);
    }
}

/// Prints a row for each category, and their mean; then what belongs to them.
pub(crate) fn print_overview(overview: &Overview<'_>) {
    print_categories(overview);
    print_across(&overview.comparison);
    for (category, report) in &overview.categories {
        let is_quiet = warnings(report).is_empty();
        if !is_quiet {
            println!();
            println!("{}", one_line(category));
            print_warnings(report);
        }
    }
    if let Some(first) = overview.categories.values().next() {
        print_under(first);
    }
    if !overview.left_out.is_empty() {
        println!();
        println!("no bundle for  {}", one_line(&overview.left_out.join(", ")));
    }
}

fn print_categories(overview: &Overview<'_>) {
    let name = name_width(overview.categories.keys());
    let line = |category: &str, cells: [String; 9]| {
        let [good, defect, auroc, ap, f1, rejects, escapes, pixels, aupro] = cells;
        println!(
            "{:name$} {good:>6} {defect:>7} {auroc:>7} {ap:>7} {f1:>7} {rejects:>13} \
             {escapes:>8} {pixels:>7} {aupro:>7}",
            one_line(category)
        );
    };
    let heads = [
        "good",
        "defects",
        "AUROC",
        "AP",
        "F1-max",
        "false rejects",
        "escapes",
        "pixels",
        "AUPRO",
    ];
    line("category", heads.map(str::to_owned));
    for (category, report) in &overview.categories {
        let metrics = &report.overall;
        line(
            category,
            [
                metrics.counts.good.to_string(),
                metrics.counts.defect.to_string(),
                number(metrics.image_auroc),
                number(metrics.image_ap),
                number(metrics.f1_max),
                percent(metrics.false_reject_rate),
                percent(metrics.escape_rate),
                number(metrics.pixel_auroc),
                number(metrics.aupro),
            ],
        );
    }
    let mean = &overview.mean;
    line(
        "mean",
        [
            String::new(),
            String::new(),
            number(mean.image_auroc),
            number(mean.image_ap),
            number(mean.f1_max),
            percent(mean.false_reject_rate),
            percent(mean.escape_rate),
            number(mean.pixel_auroc),
            number(mean.aupro),
        ],
    );
}

fn name_width(names: impl Iterator<Item = impl AsRef<str>>) -> usize {
    names
        .map(|name| name.as_ref().len())
        .max()
        .unwrap_or_default()
        .max(NAME)
}

fn false_rejects(report: &Evaluation) -> String {
    let overall = &report.overall;
    let expected = report
        .expected_false_rejects
        .map_or_else(String::new, |[low, high]| {
            format!(", that is {low} to {high} of these")
        });
    let promised = 100.0 * report.promised_false_reject_rate;
    let promised = if report.calibration_method.promises_a_bound() {
        format!("promised: {promised:.1} % at most")
    } else {
        format!("expected: about {promised:.1} %")
    };
    let gave_way = report
        .asked_false_reject_rate
        .map_or_else(String::new, |asked| {
            format!(
                " ({:.1} % takes {} calibration images)",
                100.0 * asked,
                needed_images(asked)
            )
        });
    format!(
        "{} of {} good: {}; {promised}{gave_way}{expected}",
        overall.counts.false_rejects,
        overall.counts.good,
        rate(
            overall.false_reject_rate,
            overall.false_reject_rate_interval
        )
    )
}

/// Says how many defects have a mask, and, if not all do, where masks are expected.
fn masks(report: &Evaluation) -> String {
    let (used, defects) = (report.masks.used, report.overall.counts.defect);
    let where_to = if used == defects {
        ""
    } else {
        "; pixel numbers are of these. A mask is ground_truth/<defect>/<image>_mask.png"
    };
    format!("{used} of {defects} defects have one{where_to}")
}

fn kept(promise: &PromiseRow) -> String {
    let promised = 100.0 * promise.promised;
    match (&promise.measured, &promise.too_few) {
        (Some(kept), _) => format!(
            "{promised:.1} %: {} rejected on average; {} splits of {} good scores, {} to calibrate",
            rate(Some(kept.mean), Some(kept.interval)),
            kept.splits,
            kept.calibration + kept.test,
            kept.calibration
        ),
        (None, reason) => format!(
            "{promised:.1} %: not measured: {}",
            reason.as_deref().unwrap_or_default()
        ),
    }
}

/// Says how the pictures were changed, if they were.
fn print_under(report: &Evaluation) {
    if let Some(changes) = &report.under {
        println!("under          {changes}: every picture was changed before it was scored");
    }
}

fn print_warnings(report: &Evaluation) {
    for (name, text) in warnings(report) {
        println!("{name:14} {text}");
    }
}

/// Returns what makes the numbers less reliable than they look.
fn warnings(report: &Evaluation) -> Vec<(&'static str, String)> {
    let mut warnings = Vec::new();
    if report.overall.counts.good == 0 {
        let text = "none were scored: nothing is said of false rejects, and no AUROC".to_owned();
        warnings.push(("good parts", text));
    }
    if !report.skipped.is_empty() {
        warnings.push(("skipped", format!("{}, named above", report.skipped.len())));
    }
    if !report.left_out.is_empty() {
        let files: usize = report.left_out.iter().map(|row| row.files).sum();
        warnings.push(("not used", format!("{files} files, named above")));
    }
    if report.masks.look_inverted() {
        warnings.push((
            "masks",
            format!(
                "{} of {} mark more than half of the picture: if black is the defect in them, \
                 invert them",
                report.masks.mostly_marked, report.masks.used
            ),
        ));
    }
    if report.seen_in_training > 0 {
        let seen = report.seen_in_training;
        warnings.push((
            "seen before",
            format!("{seen} of the images trained the model"),
        ));
    }
    if report.knows_the_good() {
        warnings.push((
            "seen before",
            format!(
                "{} of the good images have the very score of one that calibrated the bundle: if \
                 they are the same, take other ones",
                report.scored_in_calibration
            ),
        ));
    }
    let lost = report
        .golden
        .iter()
        .filter(|golden| !golden.reproduced)
        .count();
    if lost > 0 {
        warnings.push((
            "golden inputs",
            format!(
                "{lost} of {} not reproduced: this machine scores otherwise than the calibration",
                report.golden.len()
            ),
        ));
    }
    warnings
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// Formats a rate with its interval, in per cent.
fn rate(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    match (value, interval) {
        (Some(value), Some([low, high])) => format!(
            "{:.1} % ({:.1} to {:.1})",
            100.0 * value,
            100.0 * low,
            100.0 * high
        ),
        _ => "-".to_owned(),
    }
}
