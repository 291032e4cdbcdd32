//! The first part of a report: what was tested and what the result is, in plain words, and what it
//! does not show.

use maud::{Markup, html};

use super::html::{percent, rate, significant};
use super::plot::whisker;
use super::promise::against_the_promise;
use super::{Page, Section};
use crate::lab::evaluation::{Evaluation, Metrics};

/// Below this number of pictures, an interval is wider than a third: Wilson's at one half.
const FEW: usize = 30;

/// Returns the summary of one category. What is not claimed is said once per page, and therefore by
/// the overview if there are several categories.
pub(crate) fn of_one(section: &Section<'_>, page: &Page<'_>) -> Markup {
    let report = section.report;
    html! {
        (tiles(report))
        div.words {
            (words(report))
            @for text in warnings(report) { p.warning { strong { "Mind." } " " (text) } }
        }
        @if page.sections.len() == 1 { (not_claimed(page)) }
    }
}

/// Returns the summary above a table of several categories.
pub(crate) fn of_several(page: &Page<'_>) -> Markup {
    let sections = &page.sections;
    let sum = |number: fn(&Metrics) -> usize| -> usize {
        sections
            .iter()
            .map(|section| number(&section.report.overall))
            .sum()
    };
    let (good, rejected) = (sum(|m| m.counts.good), sum(|m| m.counts.false_rejects));
    let (defect, escaped) = (sum(|m| m.counts.defect), sum(|m| m.counts.escapes));
    let left_out = page.overview.map_or(&[][..], |overview| overview.left_out);
    html! {
        p {
            "Each of " (sections.len()) " models was tested on the pictures of its own category: "
            (good) " of good parts, of which " (rejected) " were rejected, and " (defect) " of parts \
             with a defect, of which " (escaped) " were not rejected. The mean counts every category \
             the same, however many pictures it has."
        }
        @if !left_out.is_empty() {
            p.warning {
                strong { "Not evaluated" } ", because there is not a bundle of that name: "
                (left_out.join(", ")) ". The mean is over the others."
            }
        }
    }
}

/// Returns the three most important numbers, large.
fn tiles(report: &Evaluation) -> Markup {
    let metrics = &report.overall;
    let counts = &metrics.counts;
    let word = if report.calibration_method.promises_a_bound() {
        "promised: at most"
    } else {
        "expected: about"
    };
    html! {
        div.tiles {
            (rate_tile(
                ["good", "Good parts that are rejected", "no good part was tested"],
                metrics.false_reject_rate.zip(metrics.false_reject_rate_interval),
                [counts.false_rejects, counts.good],
                &format!("{word} {}", rate(report.promised_false_reject_rate)),
            ))
            (rate_tile(
                ["defect", "Defects that escape", "no defect was tested"],
                metrics.escape_rate.zip(metrics.escape_rate_interval),
                [counts.escapes, counts.defect],
                "nothing is promised",
            ))
            @if let Some(auroc) = metrics.image_auroc {
                (tile("rank", "How well scores tell them apart", &format!("{auroc:.3}"), html! {
                    (whisker("rank", auroc, [auroc, auroc]))
                    p { "image AUROC: how often a defect scores higher than a good part" }
                    p { "1: always; 0.5: guessing" }
                }))
            }
        }
    }
}

/// Returns the tile of a rate with its interval. `texts` are its class, its name, and what replaces
/// the rate if nothing was tested.
fn rate_tile(
    texts: [&str; 3],
    measured: Option<(f64, [f64; 2])>,
    [count, of]: [usize; 2],
    promised: &str,
) -> Markup {
    let [class, name, untested] = texts;
    let Some((value, interval)) = measured else {
        return tile(class, name, "–", html! { p { (untested) } });
    };
    let [low, high] = interval.map(percent);
    let below = html! {
        (whisker(class, value, interval))
        p { (count) " of " (of) }
        p { "95 % interval: " (low) " to " (high) }
        p { (promised) }
    };
    tile(class, name, &percent(value), below)
}

fn tile(class: &str, name: &str, value: &str, below: Markup) -> Markup {
    html! {
        div class={ "tile " (class) } {
            h3 { (name) }
            p.value { (value) }
            (below)
        }
    }
}

/// Returns what was tested and found, in sentences.
fn words(report: &Evaluation) -> Markup {
    let metrics = &report.overall;
    let counts = &metrics.counts;
    let kinds = match report.defect_types.len() {
        1 => "one kind of defect".to_owned(),
        several => format!("one of {several} kinds of defects"),
    };
    html! {
        p {
            strong { "What was tested." }
            " The model " em { (report.bundle) } ", version " (report.version) ", scored "
            (report.images.len()) " pictures: " (counts.good) " of good parts and " (counts.defect)
            " of parts with " (kinds) ". A part is rejected if its score is above the threshold of "
            (significant(f64::from(report.threshold))) "."
        }
        @if let (Some(value), Some(interval)) =
            (metrics.false_reject_rate, metrics.false_reject_rate_interval)
        {
            @let [low, high] = interval.map(percent);
            p {
                strong { "Good parts." }
                " " (counts.false_rejects) " of " (counts.good) " were rejected, " (percent(value))
                ". For parts like these the true rate lies between " (low) " and " (high)
                " with a confidence of 95 %. " (against_the_promise(report))
            }
        }
        @if let (Some(value), Some(interval)) = (metrics.escape_rate, metrics.escape_rate_interval) {
            @let [low, high] = interval.map(percent);
            p {
                strong { "Defects." }
                " " (counts.escapes) " of " (counts.defect) " were not rejected: " (percent(value))
                " escape, between " (low) " and " (high) " with a confidence of 95 %. "
                (worst_kind(report))
            }
        }
    }
}

/// Returns the kind of defect that escapes most, if there are several kinds and any escapes.
fn worst_kind(report: &Evaluation) -> Markup {
    let kinds = report.defect_types.iter();
    let worst = kinds.max_by(|(_, a), (_, b)| {
        a.escape_rate
            .partial_cmp(&b.escape_rate)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let several = report.defect_types.len() > 1;
    let worst = worst.filter(|(_, metrics)| several && metrics.counts.escapes > 0);
    html! {
        @if let Some((kind, metrics)) = worst {
            "Most often it is " em { (kind) } ": " (metrics.counts.escapes) " of "
            (metrics.counts.defect) "."
        }
    }
}

/// Returns what makes the numbers less reliable than they look.
fn warnings(report: &Evaluation) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(changes) = &report.under {
        warnings.push(format!(
            "Every picture was changed before it was scored ({changes}), so the numbers are not those \
             of the tested files, and the calibration promises nothing for such pictures."
        ));
    }
    if report.seen_in_training > 0 {
        warnings.push(format!(
            "{} of the tested pictures trained the model. It knows them, so they say nothing of parts \
             to come.",
            report.seen_in_training
        ));
    }
    if report.knows_the_good() {
        warnings.push(format!(
            "{} of the good pictures have the very score of one that calibrated the bundle. If they \
             are the same pictures, how many of them are rejected says nothing of parts to come.",
            report.scored_in_calibration
        ));
    }
    if report.overall.counts.good == 0 {
        warnings.push(
            "No good part was tested, so nothing is said of how many of them are rejected."
                .to_owned(),
        );
    }
    if report.masks.look_inverted() {
        warnings.push(format!(
            "{} of {} masks mark more than half of their picture. If black is the defect in them, \
             everything that is said of pixels is wrong: invert them.",
            report.masks.mostly_marked, report.masks.used
        ));
    }
    if !report.left_out.is_empty() {
        let files: usize = report.left_out.iter().map(|row| row.files).sum();
        warnings.push(format!(
            "{files} files of the folder were not used; they are named under provenance."
        ));
    }
    if !report.skipped.is_empty() {
        warnings.push(format!(
            "{} files could not be used; they are named under provenance.",
            report.skipped.len()
        ));
    }
    warnings.extend(lost_golden(report));
    warnings
}

/// Returns how many golden inputs score differently here, if any.
fn lost_golden(report: &Evaluation) -> Option<String> {
    let golden = report.golden.iter();
    let lost = golden.filter(|golden| !golden.reproduced).count();
    (lost > 0).then(|| {
        format!(
            "{lost} of the bundle's {} golden inputs score differently here than where it was \
             calibrated: this machine computes something else, and its verdicts are not those that \
             the calibration speaks of.",
            report.golden.len()
        )
    })
}

/// Returns what none of these numbers shows.
pub(crate) fn not_claimed(page: &Page<'_>) -> Markup {
    let kinds = page
        .sections
        .iter()
        .flat_map(|section| section.report.defect_types.values());
    let smallest = kinds.map(|kind| kind.counts.defect).min();
    html! {
        div.claims {
            h3 { "What this does not claim" }
            ul {
                li {
                    "A calibration promises how many " em { "good" } " parts are rejected. How many \
                     defects escape is measured here, for the kinds of defects that were there; it is \
                     promised for none, and another kind may escape more often."
                }
                li {
                    "All numbers are about parts that come from the same process as these pictures. \
                     Another batch, lamp, lens or position of the camera is another process."
                }
                li {
                    "An interval counts every picture as a separate part. Several pictures of one \
                     part make it narrower than it should be."
                }
                @if let Some(count) = smallest.filter(|&count| count < FEW) {
                    li {
                        "Some kinds of defects have few pictures, the fewest " (count) ": read their \
                         rates with their intervals."
                    }
                }
                li { "Visual inspection is not a safety device." }
            }
        }
    }
}
