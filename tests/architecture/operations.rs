//! Every error that the daemon may log is in the operator's book.

use std::{fs, path::Path};

/// The messages of all `error!` calls below `folder`: the last string with a capital letter.
fn messages(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            messages(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for call in text.split("error!(").skip(1) {
                let call = call.split(");").next().unwrap();
                let strings = call.split('"').skip(1).step_by(2);
                let is_message = |it: &&str| it.starts_with(char::is_uppercase);
                if let Some(message) = strings.filter(is_message).last() {
                    found.push(message.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_error_in_the_log_has_its_cause_and_action_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    messages(&root.join("src"), &mut found);
    assert!(found.len() >= 10, "{found:?}");
    let book = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let missing: Vec<_> = found
        .iter()
        .filter(|message| !book.contains(&format!("| `{message}` |")))
        .collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
}
