//! The groups of `src/`, what each may import, and that there are no cycles.

use std::collections::BTreeMap;

use crate::modules::{Modules, circle};
use crate::texts;

/// A folder or file, and which of its neighbours its product code may name.
type Rule = (&'static str, &'static [&'static str]);

/// Below each folder, from the bottom up: a higher module may be listed as using lower ones, and
/// nothing else.
const GROUPS: &[(&str, &[Rule])] = &[
    (
        "",
        &[
            ("files", &[]),
            ("pictures", &[]),
            ("messages", &[]),
            ("packages", &["files"]),
            ("exit_code", &[]),
            ("synthetic", &[]),
            ("logging", &["messages"]),
            ("bundle", &["files", "pictures"]),
            (
                "lab",
                &["bundle", "files", "messages", "packages", "pictures"],
            ),
            (
                "line",
                &[
                    "bundle",
                    "exit_code",
                    "files",
                    "logging",
                    "messages",
                    "packages",
                    "pictures",
                    "synthetic",
                ],
            ),
            ("demo", &["lab", "line", "synthetic"]),
            (
                "commands",
                &[
                    "bundle",
                    "demo",
                    "exit_code",
                    "files",
                    "lab",
                    "line",
                    "logging",
                    "messages",
                    "packages",
                    "pictures",
                    "synthetic",
                ],
            ),
        ],
    ),
    (
        "line",
        &[
            ("camera", &[]),
            ("config", &[]),
            ("event_loop", &[]),
            ("gpio", &["config"]),
            ("monitor", &["camera", "event_loop"]),
            ("evidence", &["config"]),
            ("engine", &[]),
            (
                "pipeline",
                &[
                    "camera",
                    "config",
                    "event_loop",
                    "evidence",
                    "gpio",
                    "monitor",
                ],
            ),
            ("models", &["camera", "config", "engine", "pipeline"]),
            (
                "daemon",
                &[
                    "camera", "config", "evidence", "gpio", "models", "monitor", "pipeline",
                ],
            ),
            ("doctor", &["config", "daemon", "gpio", "pipeline"]),
            (
                "benchmark",
                &[
                    "camera", "config", "daemon", "evidence", "monitor", "pipeline",
                ],
            ),
        ],
    ),
    (
        "line/pipeline",
        &[
            ("channels", &[]),
            ("part", &["channels"]),
            ("event", &["part"]),
            ("infer", &["channels", "part"]),
            ("shadow", &["channels", "part"]),
            ("admit", &["channels", "event", "infer", "part"]),
            ("capture", &["admit", "channels", "part"]),
            ("edges", &["admit", "channels", "event", "part"]),
            ("reject", &["channels", "event", "part"]),
            ("publish", &["admit", "channels", "event", "part"]),
            ("record", &["channels", "part", "publish", "shadow"]),
        ],
    ),
    (
        "lab",
        &[
            ("picture", &[]),
            ("variation", &[]),
            ("dataset", &[]),
            ("calibration", &["picture", "variation"]),
            ("features", &["calibration", "variation"]),
            ("import", &["calibration"]),
            ("package", &[]),
            ("synthetic", &[]),
            (
                "training",
                &[
                    "calibration",
                    "dataset",
                    "features",
                    "synthetic",
                    "variation",
                ],
            ),
            ("contender", &[]),
            ("conversion", &[]),
            ("evaluation", &["dataset", "picture", "variation"]),
            (
                "comparison",
                &["contender", "dataset", "evaluation", "features"],
            ),
            (
                "ablation",
                &[
                    "comparison",
                    "contender",
                    "dataset",
                    "evaluation",
                    "features",
                ],
            ),
            ("report", &["dataset", "evaluation"]),
        ],
    ),
];

/// The product code below a folder, by paths below it.
fn modules(folder: &str) -> Modules {
    let sources: Vec<(String, String)> = texts("rs")
        .into_iter()
        .filter_map(|(path, text)| Some((path.strip_prefix(folder)?.to_owned(), text)))
        .filter(|(path, _)| !path.split(['/', '.']).any(|part| part == "tests"))
        // The program only hands over to the library.
        .filter(|(path, _)| path != "main.rs")
        .collect();
    assert!(!sources.is_empty(), "{folder} has sources");
    Modules::read(sources.iter().map(|(path, text)| (&**path, &**text)))
}

#[test]
fn no_group_imports_what_is_above_it_or_behind_a_wall() {
    let modules = modules("src/");
    let mut breaches = Vec::new();
    for (folder, rules) in GROUPS {
        let rules: BTreeMap<_, _> = rules.iter().copied().collect();
        let parent: Vec<String> = folder.split('/').map(str::to_owned).collect();
        let parent = if folder.is_empty() { &[] } else { &parent[..] };
        for (group, others) in modules.among_children(parent) {
            for (other, ties) in others {
                match rules.get(&*group) {
                    None => breaches.push(format!("`{folder}/{group}` is in no table")),
                    Some(allowed) if allowed.contains(&&*other) => {}
                    Some(_) => breaches.extend(
                        ties.iter()
                            .map(|tie| format!("{group} may not import {other}: {tie}")),
                    ),
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn no_files_and_no_folders_name_each_other_in_a_circle() {
    let mut crates: Vec<String> = texts("rs")
        .into_iter()
        .filter_map(|(path, _)| path.strip_suffix("src/lib.rs").map(str::to_owned))
        .collect();
    crates.sort();
    assert!(crates.len() > 5, "{crates:?}");
    let mut ties = Vec::new();
    for home in crates {
        let modules = modules(&format!("{home}src/"));
        for parent in modules.parents() {
            let circle = circle(&modules.among_children(&parent));
            ties.extend(
                circle
                    .iter()
                    .map(|tie| format!("{home}src/{}: {tie}", parent.join("/"))),
            );
        }
    }
    assert!(ties.is_empty(), "{ties:#?}");
}

/// Sources in which each rule of this file is broken once.
const PLANTED: &[(&str, &str)] = &[
    ("lib.rs", "pub mod a; pub mod b; pub mod c;"),
    ("a/mod.rs", "pub mod inner; pub use inner::Thing;"),
    ("a/inner.rs", "pub struct Thing; fn f() { crate::b::g() }"),
    ("b.rs", "use super::c::Passed; pub fn g() {}"),
    ("c.rs", "pub use crate::a::Thing as Passed;"),
    (
        "d.rs",
        "#[cfg(test)] mod tests { use crate::a::Thing; } #[cfg(test)] use crate::b;",
    ),
];

#[test]
fn a_circle_is_found_through_paths_and_re_exports_and_tests_are_left_out() {
    let planted = Modules::read(PLANTED.iter().copied());
    let siblings = planted.among_children(&[]);
    // `b` names what `c` passes on, which is at home in `a`.
    assert!(siblings["b"].contains_key("a"), "{siblings:?}");
    assert!(siblings["a"].contains_key("b"), "{siblings:?}");
    assert!(!siblings.contains_key("d"), "{siblings:?}");
    let ties = circle(&siblings);
    assert_eq!(
        ties,
        ["a/inner names b::g", "b names c::Passed"],
        "{ties:?}"
    );
}
