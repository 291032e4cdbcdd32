//! The frame of a page, its tables and figures, and the formats of its numbers.
//!
//! [`html!`] escapes whatever is spliced into it, so a name from outside cannot become markup. A
//! page loads nothing else: its content security policy restricts it to its own contents.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// No scripts, fonts, frames or forms. Pictures only from the file itself; the style sheet is
/// inside it.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// Returns a whole page.
pub(crate) fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                // A browser reads a style sheet as it is; in an escaped one, `>` is not a selector.
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { (body) }
        }
    };
    without_control_characters(&page.into_string())
}

/// File names may have control characters. HTML forbids them even if they are escaped.
fn without_control_characters(page: &str) -> String {
    let is_forbidden = |letter: char| match letter {
        '\n' | '\t' => false,
        '\u{fffe}' | '\u{ffff}' => true,
        letter => letter.is_control(),
    };
    page.replace(is_forbidden, "\u{fffd}")
}

/// Formats a share in per cent with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Formats a share in per cent with one decimal, or a dash.
pub(crate) fn percent_or_dash(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

/// Formats a promised rate in per cent, with at most two decimals.
pub(crate) fn rate(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// Formats a metric between 0 and 1 with four digits, or a dash.
pub(crate) fn metric(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
}

/// Formats a number with four significant digits.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let digits = (3 - magnitude).clamp(0, 9) as usize;
    format!("{value:.digits$}")
}

/// Returns a table; its head may be empty.
pub(crate) fn table(class: &str, head: &[&str], rows: Markup) -> Markup {
    html! {
        div.scroll {
            table class=(class) {
                @if !head.is_empty() {
                    thead { tr { @for cell in head { th scope="col" { (cell) } } } }
                }
                tbody { (rows) }
            }
        }
    }
}

/// Returns a picture or plot with its explanation below it.
pub(crate) fn figure(class: &str, content: Markup, caption: Markup) -> Markup {
    html! {
        figure class=(class) {
            (content)
            figcaption { (caption) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let name = "<a href=\"x\">'&'</a>\u{1b}[0m";
        let page = document(name, &html! { p title=(name) { (name) } });
        let escaped = "&lt;a href=&quot;x&quot;&gt;'&amp;'&lt;/a&gt;\u{fffd}[0m";
        for expected in [
            format!("<title>{escaped}</title>"),
            format!("<p title=\"{escaped}\">{escaped}</p>"),
        ] {
            assert!(page.contains(&expected), "{expected}: {page}");
        }
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(percent(0.0384), "3.8 %");
        assert_eq!(percent_or_dash(None), "–");
        assert_eq!(
            [rate(0.01), rate(0.05), rate(1.0 / 153.0)],
            ["1 %", "5 %", "0.65 %"]
        );
        assert_eq!(metric(Some(0.98)), "0.9800");
        assert_eq!(metric(None), "–");
        let numbers = [0.489_25, 12.346, 0.0, 123_456.0, 1e-12];
        assert_eq!(
            numbers.map(significant),
            ["0.4893", "12.35", "0", "123456", "0.000000000"]
        );
    }
}
