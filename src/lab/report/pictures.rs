//! The pictures of a category, each beside what the model sees in it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, html};

use super::Section;
use super::gallery::Shown;
use super::html::{figure, significant};
use crate::files::path_text;
use crate::lab::dataset::GOOD;
use crate::lab::evaluation::Evaluation;

/// Returns the pictures with the key of their colours, if there are any.
pub(crate) fn pictures(section: &Section<'_>) -> Option<Markup> {
    let (good, defect) = (section.gallery.good(), section.gallery.defect());
    if good.is_empty() && defect.is_empty() {
        return None;
    }
    let groups = [
        (
            "Defects with the lowest scores",
            "The first to escape: what is missed, or comes next.",
            defect,
        ),
        (
            "Good parts with the highest scores",
            "The first to be rejected.",
            good,
        ),
    ];
    Some(html! {
        (key(defect.iter().any(|shown| shown.has_outline)))
        @for (title, note, shown) in groups {
            @if !shown.is_empty() {
                h4 { (title) }
                p.caption { (note) }
                div.gallery { @for shown in shown { (card(section.report, shown)) } }
            }
        }
    })
}

fn key(has_outlines: bool) -> Markup {
    html! {
        p.caption {
            "Beside each picture, what the model sees in it. The colours are the same in all pictures \
             of this bundle: places that are no more unusual than a part at the threshold keep their \
             own colours. "
            span.key { span { "1 ×" } span.scale {} span { "8 × as unusual" } }
            @if has_outlines {
                " " span.key { span.outline {} " where the test data mark the defect" }
            }
        }
    }
}

fn card(report: &Evaluation, shown: &Shown) -> Markup {
    let is_rejected = shown.score > report.threshold;
    let (class, word) = match (shown.kind == GOOD, is_rejected) {
        (true, true) => ("wrong", "false reject"),
        (true, false) => ("right", "passed"),
        (false, true) => ("right", "found"),
        (false, false) => ("wrong", "escaped"),
    };
    let path = shown.path.strip_prefix(&report.data).unwrap_or(&shown.path);
    let path = path_text::text(path);
    let images = html! {
        div.images {
            @for (bytes, what) in [(&shown.picture, "picture"), (&shown.overlay, "overlay of")] {
                img src={ "data:image/jpeg;base64," (BASE64_STANDARD.encode(bytes)) }
                    width=(shown.size.width) height=(shown.size.height) alt={ (what) " " (path) };
            }
        }
    };
    let caption = html! {
        span class={ "badge " (class) } { (word) }
        " score " (significant(f64::from(shown.score)))
        (format!(", {:.2} × the threshold", shown.score / report.threshold)) br;
        span.path { (path) }
    };
    figure("card", images, caption)
}
