//! Everything about one category: summary, scores, kinds of defects, promise, pictures, training,
//! provenance.

use flawd_core::evaluation::Ranking;
use maud::{Markup, html};

use super::charts::{self, Scores};
use super::histogram::histogram;
use super::html::{figure, metric, percent_or_dash, significant, table};
use super::plot::whisker;
use super::{Page, Section, comparison, pictures, promise, provenance, summary};
use crate::lab::dataset::GOOD;
use crate::lab::evaluation::{Evaluation, Metrics};

/// Returns the section with this number. On a page of several, each has its name as a heading, so
/// the headings inside are one level lower.
pub(crate) fn section(section: &Section<'_>, number: usize, page: &Page<'_>) -> Markup {
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
    let comparison = report.comparison.as_ref().and_then(comparison::of_one);
    let promised = promise::promise(section, &good);
    let others = promise::other_promises(section, scores);
    let provenance = provenance::provenance(section, page);
    let parts = [
        (
            "summary",
            "In plain words",
            Some(summary::of_one(section, page)),
        ),
        ("scores", "Scores", Some(score_plots(scores))),
        ("kinds", "By kind of defect", kinds(report)),
        ("comparison", "Beside other methods", comparison),
        (
            "promise",
            "Did the calibration keep its promise?",
            Some(promised),
        ),
        ("thresholds", "What another promise would do", Some(others)),
        ("pictures", "Pictures", pictures::pictures(section)),
        ("training", "Training", training(section)),
        ("provenance", "Provenance", Some(provenance)),
    ];
    let is_only = page.sections.len() == 1;
    html! {
        @for (name, title, content) in parts {
            @if let Some(content) = content {
                section id={ "c" (number) "-" (name) } {
                    @if is_only { h2 { (title) } } @else { h3 { (title) } }
                    (content)
                }
            }
        }
    }
}

fn score_plots(scores: Scores<'_>) -> Markup {
    let caption = html! {
        strong { "Every picture by its score." }
        " Good parts stand above the line and defects hang below it, each as a share of its own kind. \
         What is right of the dashed threshold is rejected: good parts there are false rejects, and \
         defects left of it escape (both in full colour)."
    };
    html! {
        (figure("wide", histogram(scores), caption))
        @if let Some(ranking) = Ranking::new(scores.good, scores.defect) {
            div.pair { (roc(scores, &ranking)) (precision_recall(scores, &ranking)) }
        }
    }
}

fn roc(scores: Scores<'_>, ranking: &Ranking) -> Markup {
    let caption = html! {
        strong { "What any threshold would do (ROC)." }
        " The nearer the curve comes to the upper left corner, the more defects are found at the \
         price of few good parts. The area under it is the AUROC, " (metric(Some(ranking.auroc())))
        ". The cross is the 95 % interval of the threshold in use."
    };
    figure("half", charts::roc(scores, ranking), caption)
}

fn precision_recall(scores: Scores<'_>, ranking: &Ranking) -> Markup {
    let best = ranking.f1_max();
    let caption = html! {
        strong { "Whether a rejected part has a defect (precision-recall)." }
        " It depends on how many defects were tested: on a line, where they are rare, precision is \
         lower. Average precision is " (metric(Some(ranking.average_precision())))
        "; the best F1 score is " (metric(Some(best.f1)))
        ", at a threshold of " (significant(f64::from(best.threshold))) "."
    };
    figure("half", charts::precision_recall(scores, ranking), caption)
}

fn kinds(report: &Evaluation) -> Option<Markup> {
    if report.defect_types.is_empty() {
        return None;
    }
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
    let rows = html! {
        @for (kind, metrics) in &report.defect_types { (kind_row(kind, metrics)) }
        (kind_row("all", &report.overall))
    };
    Some(html! {
        (table("numbers with-sum", &head, rows))
        p.caption {
            "Each kind is compared with all good parts. The lines show the escape rate from 0 to 100 % \
             with its interval: where it is long, there are few pictures. " (about_pixels(report))
        }
    })
}

fn kind_row(name: &str, metrics: &Metrics) -> Markup {
    let counts = &metrics.counts;
    let (ranking, pixels) = (
        [metrics.image_auroc, metrics.image_ap, metrics.f1_max],
        [metrics.pixel_auroc, metrics.aupro],
    );
    html! {
        tr {
            th scope="row" { (name) }
            td {
                @if let (Some(value), Some(interval)) =
                    (metrics.escape_rate, metrics.escape_rate_interval)
                {
                    (counts.escapes) " of " (counts.defect) " " (whisker("defect", value, interval))
                } @else { "–" }
            }
            td { (percent_or_dash(metrics.escape_rate)) }
            @for value in ranking.into_iter().chain(pixels) { td { (metric(value)) } }
        }
    }
}

/// Returns the origin of the numbers about pixels, or why there are none.
fn about_pixels(report: &Evaluation) -> String {
    match report.overall.aupro_error {
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
    }
}

fn training(section: &Section<'_>) -> Option<Markup> {
    let trained = section.manifest.training.as_ref()?;
    let (losses, held_out) = (&trained.losses, &trained.held_out_losses);
    if losses.len() < 2 {
        return None;
    }
    let caption = html! {
        strong { "The loss by epoch." }
        " It is the mean negative log-likelihood of the features of the training pictures; lower \
         means that the model fits them better. A curve that still falls at its end could have gone \
         on; one that jumps was not stable."
        @if !held_out.is_empty() {
            " The upper curve is the loss of pictures that did not train. If it rises while the \
             other falls, the model learns these pictures by heart: more pictures help, \
             fewer --epochs, or more --feature-noise."
        }
    };
    Some(figure("wide", charts::losses(losses, held_out), caption))
}
