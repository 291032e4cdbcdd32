//! Texts of messages: an error with its causes, the name that was probably meant, and names from
//! outside as a terminal may have them.

use std::borrow::Cow;

/// Formats an error and all its causes in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns text on one line, without control characters: the name of a file may hold any, and a
/// terminal obeys them. They are written as `\n` or `\u{1b}`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    without_control(text, false)
}

/// Returns text without control characters, as [`one_line`], except that it may have several lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    without_control(text, true)
}

fn without_control(text: &str, with_breaks: bool) -> Cow<'_, str> {
    let is_harmful = |letter: char| letter.is_control() && !(with_breaks && letter == '\n');
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_harmful(letter) {
            true => written.extend(letter.escape_default()),
            false => written.push(letter),
        }
    }
    Cow::Owned(written)
}

/// Returns the candidate that is closest to `typed`, if it is close enough to be a typo.
pub(crate) fn nearest<'a>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters wrong is still a typo; more is another word.
    let limit = (typed.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Serde names the offending key first and then the expected ones, each between backticks. Returns
/// all of them, or `None` if the message is about something else.
pub(crate) fn names_in(message: &str) -> Option<(&str, Vec<&str>)> {
    let about_a_name = message.contains("unknown field `") || message.contains("unknown variant `");
    if !about_a_name {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let typed = names.next()?;
    Some((typed, names.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_key() {
        let keys = ["host", "port", "keep_alive", "required_at_start"];
        assert_eq!(nearest("prot", keys), Some("port"));
        assert_eq!(nearest("keepalive", keys), Some("keep_alive"));
        assert_eq!(nearest("require_at_start", keys), Some("required_at_start"));
    }

    #[test]
    fn a_terminal_is_given_no_control_characters() {
        assert_eq!(one_line("größe 😀"), "größe 😀");
        assert_eq!(one_line("a\u{1b}[31m\r\nb"), r"a\u{1b}[31m\r\nb");
        assert_eq!(lines("a\u{9b}31m\nb"), "a\\u{9b}31m\nb");
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("colour", ["host", "port"]), None);
    }

    #[test]
    fn names_are_read_out_of_serdes_message() {
        let message = "unknown field `prot`, expected one of `host`, `port`";
        assert_eq!(names_in(message), Some(("prot", vec!["host", "port"])));
        assert_eq!(names_in("invalid type: string `x`"), None);
    }
}
