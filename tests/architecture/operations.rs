//! Every error that the daemon may log is in the operator's manual.

use crate::texts;

/// The message of one `error!` call: its last string with a capital letter.
fn message(call: &str) -> Option<&str> {
    let call = call.split(");").next()?;
    let strings = call.split('"').skip(1).step_by(2);
    strings
        .filter(|text| text.starts_with(char::is_uppercase))
        .last()
}

#[test]
fn every_error_in_the_log_has_its_cause_and_action_in_the_documentation() {
    let sources = texts("rs");
    let found: Vec<_> = sources
        .iter()
        .filter(|(path, _)| path.starts_with("src/"))
        .flat_map(|(_, text)| text.split("error!(").skip(1).filter_map(message))
        .collect();
    assert!(found.len() >= 10, "{found:?}");
    let book = include_str!("../../docs/operations.md");
    let missing: Vec<_> = found
        .iter()
        .filter(|message| !book.contains(&format!("| `{message}` |")))
        .collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
}
