//! Tables that compare a bundle with other methods.

use maud::{Markup, html};

use super::html::{metric, table};
use crate::lab::evaluation::compared::{AcrossCategories, Comparison};

/// Returns the table of all methods on the images of one category, if there is any.
pub(crate) fn of_one(comparison: &Comparison) -> Option<Markup> {
    let first = comparison.rows.first()?;
    let kinds: Vec<&str> = (first.metrics.defect_types.keys())
        .map(String::as_str)
        .collect();
    let head = [&["method", "AUROC", "AP", "F1-max"], &kinds[..]].concat();
    let rows = html! {
        @for row in &comparison.rows {
            @let metrics = &row.metrics;
            tr {
                th scope="row" { (row.method) br; span.how { (row.how) } }
                @for value in [metrics.image_auroc, metrics.image_ap, metrics.f1_max] {
                    td { (metric(Some(value))) }
                }
                @for &kind in &kinds { td { (metric(Some(metrics.defect_types[kind]))) } }
            }
        }
    };
    Some(html! {
        (table("numbers with-own", &head, rows))
        p.caption {
            "Every method is fitted on the " (comparison.training_images) " pictures that trained \
             the bundle and sees what its backbone sees in them. Under a kind of defect stands its \
             AUROC, against all good parts."
        }
    })
}

/// Returns the table of all methods on several categories; empty if nothing was compared.
pub(crate) fn of_several(methods: &[AcrossCategories<'_>]) -> Markup {
    let Some(first) = methods.first() else {
        return Markup::default();
    };
    let head: Vec<&str> = std::iter::once("category")
        .chain(methods.iter().map(|method| method.method))
        .collect();
    let rows = html! {
        @for &category in first.image_auroc.keys() {
            tr {
                th scope="row" { (category) }
                @for method in methods { td { (metric(Some(method.image_auroc[category]))) } }
            }
        }
        tr {
            th scope="row" { "mean" }
            @for method in methods { td { (metric(Some(method.mean))) } }
        }
    };
    html! {
        (table("numbers with-sum", &head, rows))
        p.caption {
            "Image AUROC of each bundle beside other methods, which are fitted on the pictures that \
             trained it."
        }
    }
}
