//! An evaluation as one human-readable page: a single, self-contained HTML file.
//!
//! ```text
//! evaluation::Report ─┐
//! manifest ───────────┼─► page ─► one file: text, plots as SVG, pictures as data
//! gallery ────────────┘
//! ```
//! A page is a function of the measurements. It computes nothing that the machine-readable numbers
//! do not have, loads nothing from a network, and contains no script.

mod axis;
mod charts;
mod comparison;
mod gallery;
mod histogram;
mod html;
mod pictures;
mod plot;
mod promise;
mod provenance;
mod section;
mod summary;

pub use gallery::{Gallery, GalleryError};

use flawd_core::digest::Digest;
use flawd_core::manifest::Manifest;
use jiff::Timestamp;
use maud::{Markup, html};

use super::evaluation::{Evaluation, Overview};
use html::{document, metric, percent_or_dash, table};

/// The contents of a page.
pub struct Page<'a> {
    /// One per category; at least one.
    pub sections: Vec<Section<'a>>,
    /// The summary over several categories, if there are several.
    pub overview: Option<&'a Overview<'a>>,
    /// The command that made it.
    pub command: String,
    /// When it was made.
    pub made: Timestamp,
}

/// The contents of a page for one category.
pub struct Section<'a> {
    /// Name of the category.
    pub name: &'a str,
    /// What was measured.
    pub report: &'a Evaluation,
    /// What the bundle states about itself.
    pub manifest: &'a Manifest,
    /// Digest of the manifest, and thereby of the whole bundle.
    pub bundle: Digest,
    /// The pictures.
    pub gallery: &'a Gallery,
}

/// Returns the text of the file.
pub fn page(page: &Page<'_>) -> String {
    let (title, body) = match &page.sections[..] {
        [only] => one(page, only),
        several => many(page, several),
    };
    document(&title, &html! { main { (body) (footer(page)) } })
}

/// Returns the page of a single category.
fn one(page: &Page<'_>, section: &Section<'_>) -> (String, Markup) {
    let report = section.report;
    let title = format!("Evaluation of {} {}", report.bundle, report.version);
    let lead = format!("{} · {}", report.data.display(), date(page.made));
    let body = html! {
        (header(&title, &lead))
        (section::section(section, 1, page))
    };
    (title, body)
}

/// Returns the page of several categories: a table of all, then each.
fn many(page: &Page<'_>, sections: &[Section<'_>]) -> (String, Markup) {
    let title = format!("Evaluation of {} categories", sections.len());
    let body = html! {
        (header(&title, &date(page.made)))
        section #overview {
            h2 { "Overview" }
            (summary::of_several(page))
            (overview(page, sections))
            (summary::not_claimed(page))
        }
        @for (number, section) in (1..).zip(sections) {
            section.category id={ "c" (number) } {
                h2 { (section.name) }
                p.lead { (lead(section.report)) }
                (section::section(section, number, page))
            }
        }
    };
    (title, body)
}

fn lead(report: &Evaluation) -> String {
    let Evaluation {
        bundle,
        version,
        data,
        ..
    } = report;
    format!("{bundle} {version} · {}", data.display())
}

fn header(title: &str, lead: &str) -> Markup {
    html! {
        header {
            h1 { (title) }
            p.lead { (lead) }
        }
    }
}

fn footer(page: &Page<'_>) -> Markup {
    html! {
        footer {
            "Made by flawd " (env!("CARGO_PKG_VERSION")) " on " (date(page.made)) ". This file is \
             complete: it loads nothing, runs no script and can be kept, sent and printed as it is."
        }
    }
}

fn date(made: Timestamp) -> String {
    made.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn overview(page: &Page<'_>, sections: &[Section<'_>]) -> Markup {
    let head = [
        "category",
        "good",
        "defects",
        "AUROC",
        "AP",
        "F1-max",
        "false rejects",
        "escapes",
        "pixel AUROC",
        "AUPRO",
    ];
    let numbers = |ranking: [Option<f64>; 3], rates: [Option<f64>; 2], pixels: [Option<f64>; 2]| {
        html! {
            @for value in ranking { td { (metric(value)) } }
            @for value in rates { td { (percent_or_dash(value)) } }
            @for value in pixels { td { (metric(value)) } }
        }
    };
    let rows = html! {
        @for (number, section) in (1..).zip(sections) {
            @let all = &section.report.overall;
            tr {
                th scope="row" { a href={ "#c" (number) } { (section.name) } }
                td { (all.counts.good) }
                td { (all.counts.defect) }
                (numbers(
                    [all.image_auroc, all.image_ap, all.f1_max],
                    [all.false_reject_rate, all.escape_rate],
                    [all.pixel_auroc, all.aupro],
                ))
            }
        }
        @if let Some(Overview { mean, .. }) = page.overview {
            tr {
                th scope="row" { "mean" }
                td {}
                td {}
                (numbers(
                    [mean.image_auroc, mean.image_ap, mean.f1_max],
                    [mean.false_reject_rate, mean.escape_rate],
                    [mean.pixel_auroc, mean.aupro],
                ))
            }
        }
    };
    html! {
        (table("numbers with-sum", &head, rows))
        @if let Some(overview) = page.overview {
            (comparison::of_several(&overview.comparison))
        }
    }
}
