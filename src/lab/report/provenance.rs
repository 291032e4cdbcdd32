//! Provenance: enough to find the same files and get the same numbers.

use std::path::Path;

use flawd_core::manifest::{ImportRecord, TrainingRecord};

use super::html::{escape, percent, rate, significant, table};
use super::{Page, Section, date};
use crate::files::path_text;

/// Returns the tables of provenance.
pub(crate) fn provenance(section: &Section<'_>, page: &Page<'_>) -> String {
    let report = section.report;
    let manifest = section.manifest;
    let code = |text: &dyn std::fmt::Display| format!("<code>{}</code>", escape(&text.to_string()));
    let text = |text: &dyn std::fmt::Display| escape(&text.to_string());
    let calibration = &manifest.calibration;
    let mut rows = vec![
        (
            "bundle",
            text(&format!("{} {}", manifest.name, manifest.version)),
        ),
        ("bundle made", date(manifest.created)),
        ("bundle digest", code(&section.bundle)),
        ("model digest", code(&manifest.model.digest)),
        (
            "input",
            text(&format!("{} (height x width)", manifest.model.input)),
        ),
        (
            "backbone",
            text(&format!(
                "{}, {}",
                manifest.backbone.file,
                manifest.backbone.outputs.join(" + ")
            )),
        ),
        ("backbone digest", code(&manifest.backbone.digest)),
        (
            "flow",
            text(&format!(
                "{} channels, {} hidden, kernels {:?}, {} parameters",
                manifest.flow.channels,
                manifest.flow.hidden,
                manifest.flow.kernels,
                manifest.flow.layout().len
            )),
        ),
    ];
    rows.extend(manifest.training.iter().flat_map(trained));
    rows.extend(manifest.import.iter().flat_map(imported));
    rows.extend([
        (
            "calibration",
            text(&format!(
                "{} good pictures, threshold {}, {} {}",
                calibration.n(),
                calibration.threshold(),
                if calibration.method().promises_a_bound() {
                    "at most"
                } else {
                    "about"
                },
                rate(calibration.alpha())
            )),
        ),
        ("promise", text(&calibration.promise())),
        ("tested folder", path(&report.data)),
        ("tested files", code(&report.files)),
        (
            "execution",
            text(&format!("{}, flawd {}", report.provider, report.flawd)),
        ),
        ("command", code(&page.command)),
        ("date", date(page.made)),
    ]);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    table("facts", &[], &rows)
        + "<p class=\"caption\">The digest of the tested files is that of their list as \
           <code>sha256sum</code> prints it, pictures and masks in the order of their use.</p>\n"
        + &golden(section)
        + &skipped(section)
        + &left_out(section)
}

fn trained(training: &TrainingRecord) -> Vec<(&'static str, String)> {
    vec![
        (
            "training",
            escape(&format!(
                "{} good pictures, {} epochs, seed {}, transform {}, final loss {:.4}",
                training.images,
                training.epochs,
                training.seed,
                training.transform,
                training.final_loss
            )),
        ),
        (
            "training data",
            format!("<code>{}</code>", escape(&training.data.to_string())),
        ),
    ]
}

fn imported(import: &ImportRecord) -> Vec<(&'static str, String)> {
    vec![
        (
            "imported from",
            escape(&format!("{}, of {}", import.file, import.implementation)),
        ),
        (
            "checkpoint digest",
            format!("<code>{}</code>", escape(&import.digest.to_string())),
        ),
    ]
}

fn golden(section: &Section<'_>) -> String {
    let row = |golden: &crate::lab::evaluation::GoldenRow| {
        vec![
            format!("<code>{}</code>", escape(&golden.file)),
            significant(f64::from(golden.expected)),
            golden
                .score
                .map_or_else(|| "–".to_owned(), |score| significant(f64::from(score))),
            golden.score.map_or_else(String::new, |score| {
                let difference = f64::from((score - golden.expected) / golden.expected);
                format!("{:+.4} %", 100.0 * difference)
            }),
            if golden.reproduced {
                "reproduced"
            } else {
                "<strong>not reproduced</strong>"
            }
            .to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = section.report.golden.iter().map(row).collect();
    let head = [
        "golden input",
        "score at calibration",
        "score here",
        "difference",
        "",
    ];
    table("numbers", &head, &rows)
        + &format!(
            "<p class=\"caption\">Pictures in the bundle with known scores: they show that this machine \
             computes what the bundle was calibrated with, within {}.</p>\n",
            percent(f64::from(
                flawd_core::manifest::GoldenRecord::RELATIVE_TOLERANCE
            ))
        )
}

fn skipped(section: &Section<'_>) -> String {
    let skipped = section.report.skipped.iter();
    let rows: Vec<Vec<String>> = skipped
        .map(|row| vec![path(&row.path), escape(&row.error)])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table("facts", &["file that could not be used", "why"], &rows)
}

fn left_out(section: &Section<'_>) -> String {
    let left_out = section.report.left_out.iter();
    let rows: Vec<Vec<String>> = left_out
        .map(|row| {
            let files = format!("{} files: {}", row.files, row.reason);
            vec![path(&row.path), escape(&files)]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        "facts",
        &["folder with files that were not used", "which"],
        &rows,
    )
}

fn path(path: &Path) -> String {
    format!("<code>{}</code>", escape(&path_text::text(path)))
}
