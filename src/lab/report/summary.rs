//! The first part of a report: what was tested and what the result is, in plain words, and what it
//! does not show.

use flawd_core::calibration::needed_images;

use super::html::{escape, percent, rate, significant};
use super::plot::whisker;
use super::{Page, Section};
use crate::lab::evaluation::{Evaluation, Metrics};

/// Below this number of pictures, an interval is wider than a third: Wilson's at one half.
const FEW: usize = 30;

/// Returns the summary of one category. What is not claimed is said once per page, and therefore by
/// the overview if there are several categories.
pub(crate) fn of_one(section: &Section<'_>, page: &Page<'_>) -> String {
    let report = section.report;
    let mut html = tiles(report) + "<div class=\"words\">\n" + &words(section) + "</div>\n";
    if page.sections.len() == 1 {
        html += &not_claimed(page);
    }
    html
}

/// Returns the summary above a table of several categories.
pub(crate) fn of_several(page: &Page<'_>) -> String {
    let sections = &page.sections;
    let sum = |number: fn(&Metrics) -> usize| -> usize {
        sections
            .iter()
            .map(|section| number(&section.report.overall))
            .sum()
    };
    let (good, rejected) = (sum(|m| m.counts.good), sum(|m| m.counts.false_rejects));
    let (defect, escaped) = (sum(|m| m.counts.defect), sum(|m| m.counts.escapes));
    let mut html = format!(
        "<p>Each of {} models was tested on the pictures of its own category: {good} of good parts, \
         of which {rejected} were rejected, and {defect} of parts with a defect, of which {escaped} \
         were not rejected. The mean counts every category the same, however many pictures it \
         has.</p>\n",
        sections.len()
    );
    let left_out = page.overview.map_or(&[][..], |overview| overview.left_out);
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.iter().map(|name| escape(name)).collect();
        html += &format!(
            "<p class=\"warning\"><strong>Not evaluated</strong>, because there is not a bundle of that \
             name: {}. The mean is over the others.</p>\n",
            names.join(", ")
        );
    }
    html
}

/// Returns the three most important numbers, large.
fn tiles(report: &Evaluation) -> String {
    let metrics = &report.overall;
    let counts = &metrics.counts;
    let mut html = "<div class=\"tiles\">\n".to_owned();
    let mut tile = |class, name: &str, value: String, graphic: String, lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("<p>{line}</p>")).collect();
        html += &format!(
            "<div class=\"tile {class}\"><h3>{name}</h3><p class=\"value\">{value}</p>{graphic}{lines}\
             </div>\n"
        );
    };
    let interval =
        |[low, high]: [f64; 2]| format!("95 % interval: {} to {}", percent(low), percent(high));
    match (
        metrics.false_reject_rate,
        metrics.false_reject_rate_interval,
    ) {
        (Some(value), Some(ends)) => tile(
            "good",
            "Good parts that are rejected",
            percent(value),
            whisker("good", value, ends),
            &[
                format!("{} of {}", counts.false_rejects, counts.good),
                interval(ends),
                format!(
                    "{} {}",
                    if report.calibration_method.promises_a_bound() {
                        "promised: at most"
                    } else {
                        "expected: about"
                    },
                    rate(report.promised_false_reject_rate)
                ),
            ],
        ),
        _ => tile(
            "good",
            "Good parts that are rejected",
            "–".to_owned(),
            String::new(),
            &["no good part was tested".to_owned()],
        ),
    }
    match (metrics.escape_rate, metrics.escape_rate_interval) {
        (Some(value), Some(ends)) => tile(
            "defect",
            "Defects that escape",
            percent(value),
            whisker("defect", value, ends),
            &[
                format!("{} of {}", counts.escapes, counts.defect),
                interval(ends),
                "nothing is promised".to_owned(),
            ],
        ),
        _ => tile(
            "defect",
            "Defects that escape",
            "–".to_owned(),
            String::new(),
            &["no defect was tested".to_owned()],
        ),
    }
    if let Some(auroc) = metrics.image_auroc {
        tile(
            "rank",
            "How well scores tell them apart",
            format!("{auroc:.3}"),
            whisker("rank", auroc, [auroc, auroc]),
            &[
                "image AUROC: how often a defect scores higher than a good part".to_owned(),
                "1: always; 0.5: guessing".to_owned(),
            ],
        );
    }
    html + "</div>\n"
}

/// Returns what was tested and found, in sentences.
fn words(section: &Section<'_>) -> String {
    let report = section.report;
    let counts = &report.overall.counts;
    let kinds = match report.defect_types.len() {
        1 => "one kind of defect".to_owned(),
        several => format!("one of {several} kinds of defects"),
    };
    let mut html = format!(
        "<p><strong>What was tested.</strong> The model <em>{}</em>, version {}, scored {} pictures: {} \
         of good parts and {} of parts with {kinds}. A part is rejected if its score is above the \
         threshold of {}.</p>\n",
        escape(&report.bundle),
        escape(&report.version),
        report.images.len(),
        counts.good,
        counts.defect,
        significant(f64::from(report.threshold))
    );
    if let (Some(value), Some([low, high])) = (
        report.overall.false_reject_rate,
        report.overall.false_reject_rate_interval,
    ) {
        html += &format!(
            "<p><strong>Good parts.</strong> {} of {} were rejected, {}. For parts like these the true \
             rate lies between {} and {} with a confidence of 95 %. {}</p>\n",
            counts.false_rejects,
            counts.good,
            percent(value),
            percent(low),
            percent(high),
            against_the_promise(report)
        );
    }
    if let (Some(value), Some([low, high])) = (
        report.overall.escape_rate,
        report.overall.escape_rate_interval,
    ) {
        html += &format!(
            "<p><strong>Defects.</strong> {} of {} were not rejected: {} escape, between {} and {} with \
             a confidence of 95 %. {}</p>\n",
            counts.escapes,
            counts.defect,
            percent(value),
            percent(low),
            percent(high),
            worst_kind(report)
        );
    }
    html + &warnings(report)
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

/// Returns the kind of defect that escapes most, if there are several kinds and any escapes.
fn worst_kind(report: &Evaluation) -> String {
    let kinds = report.defect_types.iter();
    let worst = kinds.max_by(|(_, a), (_, b)| {
        a.escape_rate
            .partial_cmp(&b.escape_rate)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    match worst {
        Some((kind, metrics)) if report.defect_types.len() > 1 && metrics.counts.escapes > 0 => {
            format!(
                "Most often it is <em>{}</em>: {} of {}.",
                escape(kind),
                metrics.counts.escapes,
                metrics.counts.defect
            )
        }
        _ => String::new(),
    }
}

/// Returns what makes the numbers less reliable than they look.
fn warnings(report: &Evaluation) -> String {
    let mut warnings = Vec::new();
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
    let lost = report
        .golden
        .iter()
        .filter(|golden| !golden.reproduced)
        .count();
    if lost > 0 {
        warnings.push(format!(
            "{lost} of the bundle's {} golden inputs score differently here than where it was \
             calibrated: this machine computes something else, and its verdicts are not those that \
             the calibration speaks of.",
            report.golden.len()
        ));
    }
    let paragraph =
        |text: String| format!("<p class=\"warning\"><strong>Mind.</strong> {text}</p>\n");
    warnings.into_iter().map(paragraph).collect()
}

/// Returns what none of these numbers shows.
pub(crate) fn not_claimed(page: &Page<'_>) -> String {
    let mut items = vec![
        "A calibration promises how many <em>good</em> parts are rejected. How many defects escape is \
         measured here, for the kinds of defects that were there; it is promised for none, and \
         another kind may escape more often."
            .to_owned(),
        "All numbers are about parts that come from the same process as these pictures. Another batch, \
         lamp, lens or position of the camera is another process."
            .to_owned(),
        "An interval counts every picture as a separate part. Several pictures of one part make it \
         narrower than it should be."
            .to_owned(),
    ];
    let kinds = page
        .sections
        .iter()
        .flat_map(|section| section.report.defect_types.values());
    let smallest = kinds.map(|kind| kind.counts.defect).min();
    if let Some(count) = smallest.filter(|&count| count < FEW) {
        items.push(format!(
            "Some kinds of defects have few pictures, the fewest {count}: read their rates with their \
             intervals."
        ));
    }
    items.push("Visual inspection is not a safety device.".to_owned());
    let items: String = items
        .iter()
        .map(|item| format!("<li>{item}</li>\n"))
        .collect();
    format!("<div class=\"claims\"><h3>What this does not claim</h3>\n<ul>\n{items}</ul></div>\n")
}
