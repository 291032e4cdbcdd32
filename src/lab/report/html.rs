//! Text as HTML: escaping, number formats, and the frame of a page.
//!
//! The markup is also well-formed XML, so that any parser can check it. A page loads nothing else:
//! its content security policy restricts it to its own contents.

use std::fmt::Write;

/// No scripts, fonts, frames or forms. Pictures only from the file itself; the style sheet is
/// inside it.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// Returns a whole page. `title` is plain text, `body` is markup.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\" />\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\" />\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <meta name=\"color-scheme\" content=\"light dark\" />\n\
         <title>{}</title>\n\
         <style>\n{}</style>\n\
         </head>\n\
         <body>\n{body}</body>\n\
         </html>\n",
        escape(title),
        include_str!("style.css")
    )
}

/// Escapes text for an element or a quoted attribute. Control characters, which XML forbids, become
/// the replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Formats a share in per cent with one decimal.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
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

/// Returns a table: plain text in its head, which may be empty, and markup in its rows, each of
/// which starts with its name.
pub(crate) fn table(class: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = format!("<div class=\"scroll\"><table class=\"{class}\">\n");
    if !head.is_empty() {
        html += "<thead><tr>";
        for cell in head {
            write!(html, "<th scope=\"col\">{}</th>", escape(cell)).expect("a string takes it");
        }
        html += "</tr></thead>\n";
    }
    html += "<tbody>\n";
    for row in rows {
        html += "<tr>";
        for (place, cell) in row.iter().enumerate() {
            if place == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>").expect("a string takes it");
            } else {
                write!(html, "<td>{cell}</td>").expect("a string takes it");
            }
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table></div>\n"
}

/// Returns a picture or plot with its explanation below it; both are markup.
pub(crate) fn figure(class: &str, content: &str, caption: &str) -> String {
    format!("<figure class=\"{class}\">\n{content}<figcaption>{caption}</figcaption>\n</figure>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(
            escape("<a href=\"x\">'&'</a>\u{1b}[0m\n"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;\u{fffd}[0m "
        );
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(percent(0.0384), "3.8 %");
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
