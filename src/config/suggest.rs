//! "Did you mean": the nearest of the names that would have been right.

/// The candidate that is closest to `typed`, if one is close enough to be a typing error.
pub(crate) fn nearest<'a>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the letters wrong is still a typo; more is another word.
    let limit = (typed.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Serde names the offending key first and then the expected ones, each between backticks.
/// Returns all of them, or nothing if the message is about something else.
pub(super) fn names_in(message: &str) -> Option<(&str, Vec<&str>)> {
    let about_a_name = message.contains("unknown field `") || message.contains("unknown variant `");
    if !about_a_name {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let typed = names.next()?;
    Some((typed, names.collect()))
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of two
/// neighbours each cost one.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
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
