//! Provenance: enough to find the same files and get the same numbers.

use std::fmt::Display;
use std::path::Path;

use flawd_core::calibration::Calibration;
use flawd_core::manifest::{GoldenRecord, ImportRecord, Manifest, TrainingRecord};
use maud::{Markup, Render, html};

use super::html::{percent, rate, significant, table};
use super::{Page, Section, date};
use crate::files::path_text;
use crate::lab::evaluation::Evaluation;

/// Returns the tables of provenance.
pub(crate) fn provenance(section: &Section<'_>, page: &Page<'_>) -> Markup {
    let report = section.report;
    let manifest = section.manifest;
    let facts = html! {
        (fact("bundle", format!("{} {}", manifest.name, manifest.version)))
        (fact("bundle made", date(manifest.created)))
        (fact("bundle digest", code(section.bundle)))
        (model(manifest))
        @if let Some(training) = &manifest.training { (trained(training)) }
        @if let Some(import) = &manifest.import { (imported(import)) }
        (fact("calibration", calibrated(&manifest.calibration)))
        (fact("promise", manifest.calibration.promise()))
        (fact("tested folder", path(&report.data)))
        (fact("tested files", code(report.files)))
        @if let Some(changes) = &report.under {
            (fact("changed before scoring", code(changes)))
        }
        (fact("execution", format!("{}, flawd {}", report.provider, report.flawd)))
        (fact("command", code(&page.command)))
        (fact("date", date(page.made)))
    };
    html! {
        (table("facts", &[], facts))
        p.caption {
            "The digest of the tested files is that of their list as " code { "sha256sum" } " prints \
             it, pictures and masks in the order of their use."
        }
        (golden(report))
        (skipped(report))
        (left_out(report))
    }
}

fn model(manifest: &Manifest) -> Markup {
    let Manifest {
        model,
        backbone,
        flow,
        ..
    } = manifest;
    let flow = format!(
        "{} channels, {} hidden, kernels {:?}, {} parameters",
        flow.channels,
        flow.hidden,
        flow.kernels,
        flow.layout().len
    );
    html! {
        (fact("model digest", code(model.digest)))
        (fact("input", format!("{} (height x width)", model.input)))
        (fact("backbone", format!("{}, {}", backbone.file, backbone.outputs.join(" + "))))
        (fact("backbone digest", code(backbone.digest)))
        (fact("flow", flow))
    }
}

fn trained(training: &TrainingRecord) -> Markup {
    let settings = format!(
        "{} good pictures, {} epochs, seed {}, transform {}, final loss {:.4}",
        training.images, training.epochs, training.seed, training.transform, training.final_loss
    );
    html! {
        (fact("training", settings))
        (fact("training data", code(training.data)))
    }
}

fn imported(import: &ImportRecord) -> Markup {
    html! {
        (fact("imported from", format!("{}, of {}", import.file, import.implementation)))
        (fact("checkpoint digest", code(import.digest)))
    }
}

fn calibrated(calibration: &Calibration) -> String {
    let word = if calibration.method().promises_a_bound() {
        "at most"
    } else {
        "about"
    };
    format!(
        "{} good pictures, threshold {}, {word} {}",
        calibration.n(),
        calibration.threshold(),
        rate(calibration.alpha())
    )
}

fn golden(report: &Evaluation) -> Markup {
    let head = [
        "golden input",
        "score at calibration",
        "score here",
        "difference",
        "",
    ];
    let score = |score: f32| significant(f64::from(score));
    let difference = |score: f32, expected: f32| {
        format!("{:+.4} %", 100.0 * f64::from((score - expected) / expected))
    };
    let rows = html! {
        @for golden in &report.golden {
            tr {
                th scope="row" { (code(&golden.file)) }
                td { (score(golden.expected)) }
                @if let Some(here) = golden.score {
                    td { (score(here)) }
                    td { (difference(here, golden.expected)) }
                } @else {
                    td { "–" }
                    td {}
                }
                td {
                    @if golden.reproduced { "reproduced" } @else { strong { "not reproduced" } }
                }
            }
        }
    };
    html! {
        (table("numbers", &head, rows))
        p.caption {
            "Pictures in the bundle with known scores: they show that this machine computes what the \
             bundle was calibrated with, within "
            (percent(f64::from(GoldenRecord::RELATIVE_TOLERANCE)))
            ". One is not a part: of it, only the verdict has to be reproduced."
        }
    }
}

fn skipped(report: &Evaluation) -> Markup {
    let rows = html! {
        @for row in &report.skipped { (fact(path(&row.path), &row.error)) }
    };
    html! {
        @if !report.skipped.is_empty() {
            (table("facts", &["file that could not be used", "why"], rows))
        }
    }
}

fn left_out(report: &Evaluation) -> Markup {
    let rows = html! {
        @for row in &report.left_out {
            (fact(path(&row.path), format!("{} files: {}", row.files, row.reason)))
        }
    };
    html! {
        @if !report.left_out.is_empty() {
            (table("facts", &["folder with files that were not used", "which"], rows))
        }
    }
}

fn fact(name: impl Render, value: impl Render) -> Markup {
    html! { tr { th scope="row" { (name) } td { (value) } } }
}

fn code(text: impl Display) -> Markup {
    html! { code { (maud::display(text)) } }
}

fn path(path: &Path) -> Markup {
    code(path_text::text(path))
}
