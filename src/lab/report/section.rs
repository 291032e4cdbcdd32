//! Everything about one category: summary, scores, promise, kinds of defects, pictures, training,
//! provenance.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flawd_core::calibration::CalibrationMethod;
use flawd_core::evaluation::{KeptPromise, Ranking, Rate};

use super::charts::{self, Scores};
use super::gallery::Shown;
use super::histogram::histogram;
use super::html::{escape, figure, metric, percent, rate, significant, table};
use super::plot::whisker;
use super::{Page, Section, comparison, provenance, summary};
use crate::files::path_text;
use crate::lab::dataset::GOOD;
use crate::lab::evaluation::{Evaluation, Metrics};

/// The rates that another calibration of the same scores could promise, if there are enough.
const OTHER_RATES: [f64; 5] = [0.005, 0.01, 0.02, 0.05, 0.1];

/// The highest promised rate in the second calibration plot, which shows more detail.
const CLOSER: f64 = 0.1;

/// Returns the section with this number, its headings starting at this level.
pub(crate) fn section(
    section: &Section<'_>,
    number: usize,
    level: usize,
    page: &Page<'_>,
) -> String {
    let report = section.report;
    let scores_of = |is_wanted: fn(&str) -> bool| -> Vec<f32> {
        let images = report.images.iter().filter(|image| is_wanted(&image.kind));
        images.map(|image| image.score).collect()
    };
    let (good, defect) = (
        scores_of(|kind| kind == GOOD),
        scores_of(|kind| kind != GOOD),
    );
    let scores = Scores {
        good: &good,
        defect: &defect,
        threshold: report.threshold,
    };
    let part = |name: &str, title: &str, content: String| {
        if content.is_empty() {
            return String::new();
        }
        format!(
            "<section id=\"c{number}-{name}\">\n<h{level}>{title}</h{level}>\n{content}</section>\n"
        )
    };
    [
        part("summary", "In plain words", summary::of_one(section, page)),
        part("scores", "Scores", score_plots(scores)),
        part("kinds", "By kind of defect", kinds(report)),
        part(
            "comparison",
            "Beside other methods",
            (report.comparison.as_ref()).map_or_else(String::new, comparison::of_one),
        ),
        part(
            "promise",
            "Did the calibration keep its promise?",
            promise(section, &good),
        ),
        part(
            "thresholds",
            "What another promise would do",
            other_promises(section, scores),
        ),
        part("pictures", "Pictures", pictures(section)),
        part("training", "Training", training(section)),
        part(
            "provenance",
            "Provenance",
            provenance::provenance(section, page),
        ),
    ]
    .concat()
}

fn score_plots(scores: Scores<'_>) -> String {
    let mut html = figure(
        "wide",
        &histogram(scores),
        "<strong>Every picture by its score.</strong> Good parts stand above the line and defects hang \
         below it, each as a share of its own kind. What is right of the dashed threshold is rejected: \
         good parts there are false rejects, and defects left of it escape (both in full colour).",
    );
    if let Some(ranking) = Ranking::new(scores.good, scores.defect) {
        html += "<div class=\"pair\">\n";
        html += &figure(
            "half",
            &charts::roc(scores, &ranking),
            &format!(
                "<strong>What any threshold would do (ROC).</strong> The nearer the curve comes to the \
                 upper left corner, the more defects are found at the price of few good parts. The area \
                 under it is the AUROC, {}. The cross is the 95 % interval of the threshold in use.",
                metric(Some(ranking.auroc()))
            ),
        );
        html += &figure(
            "half",
            &charts::precision_recall(scores, &ranking),
            &format!(
                "<strong>Whether a rejected part has a defect (precision-recall).</strong> It depends on \
                 how many defects were tested: on a line, where they are rare, precision is lower. \
                 Average precision is {}; the best F1 score is {}, at a threshold of {}.",
                metric(Some(ranking.average_precision())),
                metric(Some(ranking.f1_max().f1)),
                significant(f64::from(ranking.f1_max().threshold))
            ),
        );
        html += "</div>\n";
    }
    html
}

fn kinds(report: &Evaluation) -> String {
    if report.defect_types.is_empty() {
        return String::new();
    }
    let row = |name: String, metrics: &Metrics| {
        let escapes = match (metrics.escape_rate, metrics.escape_rate_interval) {
            (Some(value), Some(interval)) => format!(
                "{} of {} {}",
                metrics.counts.escapes,
                metrics.counts.defect,
                whisker("defect", value, interval)
            ),
            _ => "–".to_owned(),
        };
        vec![
            name,
            escapes,
            metrics.escape_rate.map_or_else(|| "–".to_owned(), percent),
            metric(metrics.image_auroc),
            metric(metrics.image_ap),
            metric(metrics.f1_max),
            metric(metrics.pixel_auroc),
            metric(metrics.aupro),
        ]
    };
    let kinds = report.defect_types.iter();
    let mut rows: Vec<_> = kinds
        .map(|(kind, metrics)| row(escape(kind), metrics))
        .collect();
    rows.push(row("all".to_owned(), &report.overall));
    let head = [
        "defect",
        "escapes, 95 % interval",
        "escape rate",
        "AUROC",
        "AP",
        "F1-max",
        "pixel AUROC",
        "AUPRO",
    ];
    let pixels = match report.overall.aupro_error {
        Some(error) => format!(
            "Pixel AUROC and AUPRO say how well the anomaly map shows the place of a defect; AUPRO is \
             the mean share of each marked region that is found, over false-positive rates of pixels \
             up to 30 %, and is exact to {error:.0e}. {} of {} defects have a mask.",
            report.masks.used, report.overall.counts.defect
        ),
        None if report.masks.used == 0 => {
            "No defect has a mask that could be used, so nothing is said of places.".to_owned()
        }
        None => "There are no good pixels or no defect ones in what is inspected, so nothing is \
                 said of places."
            .to_owned(),
    };
    table("numbers with-sum", &head, &rows)
        + &format!(
            "<p class=\"caption\">Each kind is compared with all good parts. The lines show the escape \
             rate from 0 to 100 % with its interval: where it is long, there are few pictures. \
             {pixels}</p>\n"
        )
}

fn promise(section: &Section<'_>, good: &[f32]) -> String {
    let calibration = &section.manifest.calibration;
    let mut html = format!(
        "<p>The promise: {}.</p>\n<p>{}</p>\n",
        escape(&calibration.promise()),
        summary::against_the_promise(section.report)
    );
    let band = match calibration.method() {
        CalibrationMethod::Split => ": a line that leaves it upwards says that they do not.",
        CalibrationMethod::Cross { .. } => {
            ", and the model in use scores them as the models of the folds did: a line that leaves it \
             says that one of the two is not so."
        }
    };
    if !good.is_empty() {
        html += "<div class=\"pair\">\n";
        html += &figure(
            "half",
            &charts::promise(calibration, good, 1.0),
            &format!(
                "<strong>Promised and measured.</strong> Each point is a rate that the calibration \
                 can promise, and what it came to on the good parts of this test; below the diagonal \
                 it is better than promised. The grey band is where tests of this size lie if the \
                 good parts come from the same process as those of the calibration{band}"
            ),
        );
        let closer = CLOSER.max(4.0 * calibration.alpha()).min(1.0);
        html += &figure(
            "half",
            &charts::promise(calibration, good, closer),
            "<strong>The same, closer:</strong> the rates that a line would ask for. The dot is the \
             promise in use.",
        );
        html += "</div>\n";
    }
    let rows = &section.report.kept_promise;
    let kept: Vec<&KeptPromise> = rows
        .iter()
        .filter_map(|row| row.measured.as_ref())
        .collect();
    if let [first, ..] = kept[..] {
        html += &figure(
            "wide",
            &charts::splits(&kept),
            &format!(
                "<strong>The rule itself.</strong> The {} good scores, those of the calibration and of \
                 this test together, were parted at random {} times: {} calibrate, and the bars count \
                 how often the other {} were rejected at which rate. The dot is the mean with its 95 % \
                 interval, the dashed line what was promised. A single split scatters; the promise is \
                 about the mean.",
                first.calibration + first.test,
                first.splits,
                first.calibration,
                first.test
            ),
        );
    }
    let row = |row: &crate::lab::evaluation::PromiseRow| {
        let found = match (&row.measured, &row.too_few) {
            (Some(kept), _) => format!(
                "{} rejected on average ({} to {})",
                percent(kept.mean),
                percent(kept.interval[0]),
                percent(kept.interval[1])
            ),
            (None, Some(reason)) => format!("not measured: {}", escape(reason)),
            (None, None) => "not measured".to_owned(),
        };
        format!("<li>Promised {}: {found}.</li>\n", rate(row.promised))
    };
    html + "<ul class=\"results\">\n" + &rows.iter().map(row).collect::<String>() + "</ul>\n"
}

fn other_promises(section: &Section<'_>, scores: Scores<'_>) -> String {
    let calibration = &section.manifest.calibration;
    let in_use = calibration.alpha();
    let mut rates: Vec<f64> = OTHER_RATES.to_vec();
    if !rates.contains(&in_use) {
        rates.push(in_use);
    }
    rates.sort_by(f64::total_cmp);
    let cell = |rate: Option<Rate>| {
        rate.map_or_else(
            || "–".to_owned(),
            |rate| {
                let [low, high] = rate.interval();
                format!(
                    "{} <span class=\"interval\">{} to {}</span>",
                    percent(rate.value()),
                    percent(low),
                    percent(high)
                )
            },
        )
    };
    let word = match calibration.method() {
        CalibrationMethod::Split => "at most",
        CalibrationMethod::Cross { .. } => "about",
    };
    let row = |&promised: &f64| {
        let other = calibration.at_rate(promised).ok()?;
        let mark = if promised == in_use { " (in use)" } else { "" };
        Some(vec![
            format!("{word} {}{mark}", rate(promised)),
            significant(f64::from(other.threshold())),
            cell(Rate::false_rejects(scores.good, other.threshold())),
            cell(Rate::escapes(scores.defect, other.threshold())),
        ])
    };
    let rows: Vec<Vec<String>> = rates.iter().filter_map(row).collect();
    let head = [
        "promised false rejects",
        "threshold",
        "good parts rejected",
        "defects that escape",
    ];
    table("numbers", &head, &rows)
        + "<p class=\"caption\">The same scores at other thresholds: fewer defects escape where more \
           good parts may be rejected. <code>flawd calibrate</code> sets another one. Rates that the \
           calibration's pictures are too few for are left out.</p>\n"
}

fn pictures(section: &Section<'_>) -> String {
    let gallery = section.gallery;
    if gallery.good().is_empty() && gallery.defect().is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<p class=\"caption\">Beside each picture, what the model sees in it. The colours are the same in \
         all pictures of this bundle: places that are no more unusual than a part at the threshold keep \
         their own colours. <span class=\"key\"><span>1 ×</span><span class=\"scale\"></span><span>8 × as \
         unusual</span></span>{}</p>\n",
        if gallery.defect().iter().any(|shown| shown.has_outline) {
            " <span class=\"key\"><span class=\"outline\"></span> where the test data mark the defect</span>"
        } else {
            ""
        }
    );
    for (title, note, shown) in [
        (
            "Defects with the lowest scores",
            "The first to escape: what is missed, or comes next.",
            gallery.defect(),
        ),
        (
            "Good parts with the highest scores",
            "The first to be rejected.",
            gallery.good(),
        ),
    ] {
        if shown.is_empty() {
            continue;
        }
        html += &format!(
            "<h4>{title}</h4>\n<p class=\"caption\">{note}</p>\n<div class=\"gallery\">\n"
        );
        html += &shown
            .iter()
            .map(|shown| card(section, shown))
            .collect::<String>();
        html += "</div>\n";
    }
    html
}

fn card(section: &Section<'_>, shown: &Shown) -> String {
    let report = section.report;
    let is_rejected = shown.score > report.threshold;
    let (class, word) = match (shown.kind == GOOD, is_rejected) {
        (true, true) => ("wrong", "false reject"),
        (true, false) => ("right", "passed"),
        (false, true) => ("right", "found"),
        (false, false) => ("wrong", "escaped"),
    };
    let path = shown.path.strip_prefix(&report.data).unwrap_or(&shown.path);
    let path = escape(&path_text::text(path));
    let image = |bytes: &[u8], what: &str| {
        format!(
            "<img src=\"data:image/jpeg;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{what} {path}\" />",
            BASE64_STANDARD.encode(bytes),
            shown.size.width,
            shown.size.height
        )
    };
    figure(
        "card",
        &format!(
            "<div class=\"images\">{}{}</div>\n",
            image(&shown.picture, "picture"),
            image(&shown.overlay, "overlay of")
        ),
        &format!(
            "<span class=\"badge {class}\">{word}</span> score {}, {:.2} × the threshold<br />\
             <span class=\"path\">{path}</span>",
            significant(f64::from(shown.score)),
            shown.score / report.threshold
        ),
    )
}

fn training(section: &Section<'_>) -> String {
    let losses = (section.manifest.training.as_ref()).map_or(&[][..], |it| &it.losses);
    if losses.len() < 2 {
        return String::new();
    }
    figure(
        "wide",
        &charts::losses(losses),
        "<strong>The loss by epoch.</strong> It is the mean negative log-likelihood of the features of \
         the training pictures; lower means that the model fits them better. A curve that still falls \
         at its end could have gone on; one that jumps was not stable.",
    )
}
