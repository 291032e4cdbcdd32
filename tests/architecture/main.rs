//! The rules of ARCHITECTURE.md that can be checked in the sources, and the documents themselves.

mod groups;
mod modules;
mod operations;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension, without what is built or hidden.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of the repository");
    for path in entries.map(|entry| entry.expect("readable").path()) {
        let name = path
            .file_name()
            .expect("an entry has a name")
            .to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "flawd-demo"].contains(&&*name) {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// Path from the root, and text, of every file with this extension.
fn texts(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(root(), extension, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(root())
            .expect("it was found below the root");
        let text = fs::read_to_string(&path).expect("a text file");
        (name.to_string_lossy().into_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// Returns the lines of a source file that are code of the product: no comments, and nothing that
/// is compiled for tests alone.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let mut lines = text.lines();
    iter::from_fn(move || {
        loop {
            let line = lines.next()?;
            if line.trim() == "#[cfg(test)]" {
                skip_item(&mut lines);
            } else if !line.trim_start().starts_with("//") {
                return Some(line);
            }
        }
    })
}

/// Skips an item, as rustfmt writes it: one line, or up to the brace that is indented like its
/// first line.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let is_attribute = |line: &&str| line.trim_start().starts_with(['#', '/']);
    let Some(first) = lines.find(|line| !is_attribute(line)) else {
        return;
    };
    if !first.ends_with([';', '}']) {
        let indent = first.len() - first.trim_start().len();
        lines.find(|line| line.len() > indent && line[indent..].starts_with('}'));
    }
}

#[test]
fn what_is_compiled_for_tests_alone_is_not_product_code_and_what_follows_is() {
    let text = "mod a;\n#[cfg(test)]\nmod tests;\nuse b;\n\
                impl C {\n    #[cfg(test)]\n    #[must_use]\n    fn d() {\n        if e {\n        }\n    }\n    \
                fn f() {}\n}\n// g\n#[cfg(test)]\nuse h::{\n    i,\n};\nfn j() {}\n";
    let code: Vec<_> = code(text).map(str::trim).collect();
    assert_eq!(
        code,
        [
            "mod a;",
            "use b;",
            "impl C {",
            "fn f() {}",
            "}",
            "fn j() {}"
        ]
    );
}

/// A word that only some files may have in their code.
struct Wall {
    word: &'static str,
    within: &'static str,
    allowed: &'static [&'static str],
}

const WALLS: &[Wall] = &[
    Wall {
        word: "ort::",
        within: "",
        allowed: &["crates/onnx/"],
    },
    Wall {
        word: "gemm::",
        within: "",
        allowed: &["crates/train/src/matrix.rs"],
    },
    Wall {
        word: "pytorch_reader",
        within: "",
        allowed: &["crates/import/"],
    },
    Wall {
        word: "zune_jpeg",
        within: "",
        allowed: &["crates/decode/"],
    },
    Wall {
        word: "tiff::",
        within: "",
        allowed: &["crates/decode/"],
    },
    Wall {
        word: "flawd_onnx",
        within: "crates/import/src/",
        allowed: &[],
    },
    Wall {
        word: "flawd_testing",
        within: "",
        allowed: &["crates/testing/"],
    },
    Wall {
        word: "anyhow",
        within: "",
        allowed: &["src/commands/", "src/main.rs", "src/exit_code.rs"],
    },
    Wall {
        word: "println!(",
        within: "src/",
        allowed: &["src/commands/", "src/main.rs"],
    },
    Wall {
        word: "println!(",
        within: "crates/",
        allowed: &[],
    },
    Wall {
        word: "process::exit",
        within: "src/",
        allowed: &["src/main.rs"],
    },
    Wall {
        word: "rumqttc",
        within: "src/",
        allowed: &[
            "src/line/pipeline/publish/connection/session/tests.rs",
            "src/demo/",
        ],
    },
    Wall {
        word: "rustls",
        within: "src/",
        allowed: &[
            "src/line/config/tls/",
            "src/line/pipeline/publish/connection/dial/mod.rs",
            "src/line/pipeline/publish/connection/failure.rs",
        ],
    },
    Wall {
        word: "maud",
        within: "",
        allowed: &["src/lab/report/"],
    },
    // The style sheet is the only text that a page has unescaped.
    Wall {
        word: "PreEscaped",
        within: "",
        allowed: &["src/lab/report/html.rs"],
    },
    Wall {
        word: "tracing",
        within: "src/lab/",
        allowed: &[],
    },
    Wall {
        word: "tokio",
        within: "src/lab/",
        allowed: &[],
    },
    Wall {
        word: "flawd_train",
        within: "src/line/",
        allowed: &[],
    },
    Wall {
        word: "flawd_import",
        within: "src/line/",
        allowed: &[],
    },
    Wall {
        word: "flawd_journal",
        within: "src/",
        allowed: &["src/line/"],
    },
    Wall {
        word: "tokio",
        within: "src/bundle/",
        allowed: &[],
    },
    Wall {
        word: "serde",
        within: "crates/journal/src/",
        allowed: &[],
    },
    Wall {
        word: "tracing",
        within: "crates/journal/src/",
        allowed: &[],
    },
    Wall {
        word: "std::thread",
        within: "crates/journal/src/",
        allowed: &[],
    },
    Wall {
        word: "std::time",
        within: "crates/journal/src/",
        allowed: &[],
    },
    Wall {
        word: "gst::",
        within: "",
        allowed: &["src/line/pipeline/capture/gstreamer/"],
    },
    Wall {
        word: "gpiocdev",
        within: "src/",
        allowed: &["src/line/gpio/chip.rs"],
    },
    Wall {
        word: "nokhwa",
        within: "src/",
        allowed: &["src/line/pipeline/capture/"],
    },
    Wall {
        word: "std::fs",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "std::net",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "std::env",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "std::thread",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "Instant",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "SystemTime",
        within: "crates/core/src/",
        allowed: &[],
    },
    Wall {
        word: "Timestamp::now",
        within: "crates/core/src/",
        allowed: &[],
    },
];

/// True if `word` is in `line` and is not the end of a longer name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    })
}

#[test]
fn each_wall_of_the_architecture_stands() {
    let product = |(path, _): &(String, String)| {
        (path.starts_with("src/") || path.starts_with("crates/") && path.contains("/src/"))
            && !path.contains("tests")
    };
    let sources: Vec<_> = texts("rs").into_iter().filter(product).collect();
    assert!(sources.len() > 50, "the sources were found");
    let mut breaches = Vec::new();
    for wall in WALLS {
        for (path, text) in &sources {
            let inside = path.starts_with(wall.within);
            let allowed = wall.allowed.iter().any(|place| path.starts_with(place));
            if inside && !allowed && code(text).any(|line| names(line, wall.word)) {
                breaches.push(format!("{path} names {}", wall.word));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let silent: Vec<_> = texts("rs")
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:#?}");
}

/// The words in backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_invariant_names_tests_that_are_there() {
    let sources: BTreeMap<String, String> = texts("rs").into_iter().collect();
    let architecture =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the file is there");
    let mut held = 0;
    for line in architecture.lines().filter(|line| line.contains("Held by")) {
        let mut file = None;
        let is_name = |word: &&str| word.contains('_') || word.ends_with(".rs");
        for word in quoted(line).filter(is_name) {
            if word.ends_with(".rs") {
                let text = sources.get(word);
                file = Some(text.unwrap_or_else(|| panic!("there is no {word}")));
                continue;
            }
            let file = file.expect("a test is named behind its file");
            assert!(
                file.contains(&format!("fn {word}(")),
                "there is no test {word} where it should be"
            );
            held += 1;
        }
    }
    let invariants = architecture.matches("> **").count();
    assert!(
        invariants > 10 && held >= invariants,
        "{held} tests for {invariants} invariants"
    );
}

#[test]
fn the_code_map_names_every_group_and_nothing_that_is_not_there() {
    let architecture =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the file is there");
    let (_, map) = architecture
        .split_once("## Code map")
        .expect("there is a code map");
    let (map, _) = map.split_once("## Invariants").expect("invariants follow");
    let mut named = BTreeSet::new();
    for row in map.lines().filter(|line| line.starts_with("| `")) {
        let first = row.split('|').nth(1).expect("a row has cells");
        let mut folder = PathBuf::new();
        for word in quoted(first) {
            let path = folder.join(word);
            assert!(root().join("src").join(&path).exists(), "{row}: {path:?}");
            // What stands behind it in the same cell lies beside it.
            folder = path.parent().map(Path::to_owned).unwrap_or_default();
            named.insert(path.iter().next().map(ToOwned::to_owned));
        }
    }
    for entry in fs::read_dir(root().join("src")).expect("a folder") {
        let name = entry.expect("readable").file_name();
        if name != "lib.rs" {
            assert!(named.contains(&Some(name.clone())), "{name:?} has no row");
        }
    }
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in texts("md") {
        let folder = root().join(&path);
        let folder = folder.parent().expect("a file lies in a folder");
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
