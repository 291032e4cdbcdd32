//! The names of the outputs of a model file, and how names from a file are shown in messages.

/// The name of the score output, `float32` `[1]`.
pub(crate) const SCORE: &str = "score";

/// The name of the map output, `float32` `[1, 1, h, w]`.
pub(crate) const ANOMALY_MAP: &str = "anomaly_map";

/// Most letters of a name, and most names of a list, that a message shows.
const MOST_LETTERS: usize = 80;
const MOST_NAMES: usize = 20;

/// Returns a name from a file as a message shows it: on one line, without control characters, and
/// not longer than a few words. A file may hold anything as a name.
pub(crate) fn shown(name: &str) -> String {
    let is_long = name.chars().nth(MOST_LETTERS).is_some();
    let letters = name.chars().take(MOST_LETTERS);
    let mut text = String::new();
    for letter in letters {
        match letter.is_control() {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
    }
    if is_long {
        text.push('…');
    }
    text
}

/// Returns names from a file as a message lists them.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    let first = names.iter().take(MOST_NAMES);
    let mut text = first
        .map(|name| shown(name.as_ref()))
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = names.len().checked_sub(MOST_NAMES).filter(|&more| more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_file_fits_a_line_whatever_it_holds() {
        assert_eq!(shown("features_s16"), "features_s16");
        assert_eq!(shown("größe"), "größe");
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(shown(&"ä".repeat(1_000_000)), "ä".repeat(80) + "…");
        assert_eq!(list(&["a", "b"]), "a, b");
        assert!(list(&vec!["a"; 1000]).ends_with("a, a and 980 more"));
    }
}
