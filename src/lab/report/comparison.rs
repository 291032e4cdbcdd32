//! Tables that compare a bundle with other methods.

use super::html::{escape, metric, table};
use crate::lab::evaluation::compared::{AcrossCategories, Comparison};

/// Returns the table of all methods on the images of one category.
pub(crate) fn of_one(comparison: &Comparison) -> String {
    let Some(first) = comparison.rows.first() else {
        return String::new();
    };
    let kinds: Vec<&str> = first
        .metrics
        .defect_types
        .keys()
        .map(String::as_str)
        .collect();
    let head: Vec<&str> = ["method", "AUROC", "AP", "F1-max"]
        .into_iter()
        .chain(kinds.iter().copied())
        .collect();
    let rows: Vec<Vec<String>> = comparison
        .rows
        .iter()
        .map(|row| {
            let metrics = &row.metrics;
            let overall = [metrics.image_auroc, metrics.image_ap, metrics.f1_max];
            let of_kinds = kinds.iter().map(|&kind| metrics.defect_types[kind]);
            let name = format!(
                "{}<br /><span class=\"how\">{}</span>",
                escape(row.method),
                escape(row.how)
            );
            let numbers = overall.into_iter().chain(of_kinds);
            std::iter::once(name)
                .chain(numbers.map(|number| metric(Some(number))))
                .collect()
        })
        .collect();
    table("numbers with-own", &head, &rows)
        + &format!(
            "<p class=\"caption\">Every method is fitted on the {} pictures that trained the bundle and \
             sees what its backbone sees in them. Under a kind of defect stands its AUROC, against all \
             good parts.</p>\n",
            comparison.training_images
        )
}

/// Returns the table of all methods on several categories; empty if nothing was compared.
pub(crate) fn of_several(methods: &[AcrossCategories<'_>]) -> String {
    let Some(first) = methods.first() else {
        return String::new();
    };
    let head: Vec<&str> = std::iter::once("category")
        .chain(methods.iter().map(|method| method.method))
        .collect();
    let row = |name: &str, number: &dyn Fn(&AcrossCategories<'_>) -> f64| {
        std::iter::once(escape(name))
            .chain(methods.iter().map(|method| metric(Some(number(method)))))
            .collect()
    };
    let mut rows: Vec<Vec<String>> = first
        .image_auroc
        .keys()
        .map(|&category| row(category, &|method| method.image_auroc[category]))
        .collect();
    rows.push(row("mean", &|method| method.mean));
    table("numbers with-sum", &head, &rows)
        + "<p class=\"caption\">Image AUROC of each bundle beside other methods, which are fitted on \
           the pictures that trained it.</p>\n"
}
