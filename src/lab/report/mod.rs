//! An evaluation as one human-readable page: a single, self-contained HTML file.
//!
//! ```text
//! evaluation::Report ─┐
//! manifest ───────────┼─► page ─► one file: text, plots as SVG, pictures as data
//! gallery ────────────┘
//! ```
//! A page is a function of the measurements. It computes nothing that the machine-readable numbers
//! do not have, loads nothing from a network, and contains no script.

mod charts;
mod comparison;
mod gallery;
mod histogram;
mod html;
mod plot;
mod provenance;
mod section;
mod summary;

pub use gallery::{Gallery, GalleryError};

use std::fmt::Write;

use flawd_core::digest::Digest;
use flawd_core::manifest::Manifest;
use jiff::Timestamp;

use super::evaluation::{Evaluation, Overview};
use html::{document, escape, metric, percent, table};

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
    document(&title, &format!("<main>\n{body}{}</main>\n", footer(page)))
}

/// Returns the page of a single category.
fn one(page: &Page<'_>, section: &Section<'_>) -> (String, String) {
    let report = section.report;
    let title = format!("Evaluation of {} {}", report.bundle, report.version);
    let lead = format!("{} · {}", report.data.display(), date(page.made));
    let body = header(&title, &lead) + &section::section(section, 1, 2, page);
    (title, body)
}

/// Returns the page of several categories: a table of all, then each.
fn many(page: &Page<'_>, sections: &[Section<'_>]) -> (String, String) {
    let title = format!("Evaluation of {} categories", sections.len());
    let mut body = header(&title, &date(page.made));
    body += "<section id=\"overview\">\n<h2>Overview</h2>\n";
    body += &summary::of_several(page);
    body += &overview(page, sections);
    body += &summary::not_claimed(page);
    body += "</section>\n";
    for (place, section) in sections.iter().enumerate() {
        let number = place + 1;
        write!(
            body,
            "<section class=\"category\" id=\"c{number}\">\n<h2>{}</h2>\n\
             <p class=\"lead\">{} {} · {}</p>\n{}</section>\n",
            escape(section.name),
            escape(&section.report.bundle),
            escape(&section.report.version),
            escape(&section.report.data.display().to_string()),
            section::section(section, number, 3, page)
        )
        .expect("a string takes it");
    }
    (title, body)
}

fn header(title: &str, lead: &str) -> String {
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n</header>\n",
        escape(title),
        escape(lead)
    )
}

fn footer(page: &Page<'_>) -> String {
    format!(
        "<footer>Made by flawd {} on {}. This file is complete: it loads nothing, runs no script \
         and can be kept, sent and printed as it is.</footer>\n",
        env!("CARGO_PKG_VERSION"),
        date(page.made)
    )
}

fn date(made: Timestamp) -> String {
    made.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn overview(page: &Page<'_>, sections: &[Section<'_>]) -> String {
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
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let row = |(place, section): (usize, &Section<'_>)| {
        let metrics = &section.report.overall;
        vec![
            format!("<a href=\"#c{}\">{}</a>", place + 1, escape(section.name)),
            metrics.counts.good.to_string(),
            metrics.counts.defect.to_string(),
            metric(metrics.image_auroc),
            metric(metrics.image_ap),
            metric(metrics.f1_max),
            share(metrics.false_reject_rate),
            share(metrics.escape_rate),
            metric(metrics.pixel_auroc),
            metric(metrics.aupro),
        ]
    };
    let mut rows: Vec<Vec<String>> = sections.iter().enumerate().map(row).collect();
    rows.extend(page.overview.map(|overview| {
        let mean = &overview.mean;
        vec![
            "mean".to_owned(),
            String::new(),
            String::new(),
            metric(mean.image_auroc),
            metric(mean.image_ap),
            metric(mean.f1_max),
            share(mean.false_reject_rate),
            share(mean.escape_rate),
            metric(mean.pixel_auroc),
            metric(mean.aupro),
        ]
    }));
    let compared = page.overview.map_or_else(String::new, |overview| {
        comparison::of_several(&overview.comparison)
    });
    table("numbers with-sum", &head, &rows) + &compared
}
