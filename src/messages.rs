//! Helpers for messages: an error with its causes, and the name that was probably meant.

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
