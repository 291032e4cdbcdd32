//! The words of the project: one type per name in a group, and no idiom that CONTRIBUTING.md rules
//! out.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Ident, Item};

use crate::{code, texts};

/// Phrases that are wrong wherever they stand. Those whose right use depends on the sentence, such
/// as "any more", are left to the reader.
const IDIOMS: &[&str] = &[
    "nobody",
    "somebody",
    "whoever",
    "anew",
    "by itself",
    "for people",
    "farewell",
    "who has asked",
    "what came of",
    "left aside",
    "goes before",
    "stands still",
    "says of itself",
    "a thread of its own",
    "verdict a part",
    "score a part",
    "latency a stage",
    "value a pixel",
];

/// The list of these phrases, and help texts of metrics, which users may already rely on.
const EXEMPT: &[&str] = &[
    "CONTRIBUTING.md",
    "tests/architecture/words.rs",
    "src/line/monitor/metrics/mod.rs",
];

#[test]
fn no_text_uses_an_idiom_that_contributing_rules_out() {
    let all = [texts("rs"), texts("md")].concat();
    let mut found = Vec::new();
    for (path, text) in &all {
        if EXEMPT.contains(&path.as_str()) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            let used = IDIOMS.iter().filter(|idiom| has_phrase(&line, idiom));
            found.extend(used.map(|idiom| format!("{path}:{}: {idiom}", number + 1)));
        }
    }
    assert!(found.is_empty(), "see CONTRIBUTING.md: {found:#?}");
}

/// Returns whether a line has these words, not only as parts of others.
fn has_phrase(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(start, _)| {
        let is_word = |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric());
        let before = line[..start].chars().next_back();
        let after = line[start + phrase.len()..].chars().next();
        !is_word(before) && !is_word(after)
    })
}

#[test]
fn a_phrase_is_found_as_whole_words() {
    assert!(has_phrase("whoever reads it", "whoever"));
    assert!(!has_phrase("a renewal", "anew"));
    assert!(has_phrase("one verdict a part.", "verdict a part"));
    assert!(!has_phrase("a verdict a particle", "verdict a part"));
}

/// The names of structs, enums, traits and type aliases, wherever they are defined.
#[derive(Default)]
struct TypeNames(Vec<Ident>);

impl Visit<'_> for TypeNames {
    fn visit_item(&mut self, item: &Item) {
        match item {
            Item::Struct(item) => self.0.push(item.ident.clone()),
            Item::Enum(item) => self.0.push(item.ident.clone()),
            Item::Trait(item) => self.0.push(item.ident.clone()),
            Item::Type(item) => self.0.push(item.ident.clone()),
            _ => {}
        }
        visit::visit_item(self, item);
    }
}

/// Returns the group that a file belongs to: a crate, or a folder of `src/`.
fn group(path: &str) -> Option<String> {
    let mut folders = path.split('/');
    match (folders.next()?, folders.next()?) {
        ("src", group) => Some(group.to_owned()),
        ("crates", name) if folders.next()? == "src" => Some(format!("crates/{name}")),
        _ => None,
    }
}

/// Every type of product code, by group and name, with the files that define it.
fn types() -> BTreeMap<(String, String), Vec<String>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for (path, text) in texts("rs") {
        let is_test = path.split('/').any(|part| part.starts_with("test"));
        let Some(group) = group(&path).filter(|_| !is_test) else {
            continue;
        };
        let product: String = code(&text).flat_map(|line| [line, "\n"]).collect();
        let mut names = TypeNames::default();
        names.visit_file(&syn::parse_file(&product).expect("it compiles"));
        for name in names.0 {
            let key = (group.clone(), name.to_string());
            found.entry(key).or_default().push(path.clone());
        }
    }
    found
}

#[test]
fn no_type_name_stands_for_two_things_in_one_group() {
    let types = types();
    assert!(types.len() > 300, "only {} types were found", types.len());
    let twice: Vec<_> = types.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "rename one of each: {twice:#?}");
}
