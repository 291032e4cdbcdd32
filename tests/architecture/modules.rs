//! Which module names which: every import and path of a crate's product code, with re-exports
//! followed to where the thing is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A path in a crate, without `crate`.
pub(crate) type Module = Vec<String>;

/// The modules of one crate and what they name.
pub(crate) struct Modules {
    /// A module that names others, each with the paths by which it does.
    pub(crate) named: BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>,
}

impl Modules {
    /// Reads the files of a crate: paths below its `src/`, and their texts.
    pub(crate) fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: Vec<_> = files
            .into_iter()
            .map(|(path, text)| (module(path), syn::parse_file(text).expect("it compiles")))
            .collect();
        let all: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
        let found: Vec<Found> = files
            .iter()
            .map(|(here, file)| {
                let mut found = Found::new(here.clone(), &all);
                found.visit_file(file);
                found
            })
            .collect();
        let passed_on: BTreeMap<Module, Module> = found
            .iter()
            .flat_map(|found| found.passed_on.clone())
            .collect();
        let mut named = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
        for Found { here, paths, .. } in &found {
            for path in paths {
                let home = home(path, &all, &passed_on);
                if home != *here {
                    let others = named.entry(here.clone()).or_default();
                    others.entry(home).or_default().insert(path.join("::"));
                }
            }
        }
        Self { named }
    }

    /// Which of a module's children name which of the others, anywhere below them, and how.
    pub(crate) fn among_children(&self, parent: &[String]) -> Siblings {
        let mut siblings = Siblings::new();
        let child = |module: &Module| {
            let below = module.strip_prefix(parent)?;
            below.first().cloned()
        };
        for (from, others) in &self.named {
            for (to, paths) in others {
                if let (Some(one), Some(other)) = (child(from), child(to))
                    && one != other
                {
                    let how = paths
                        .iter()
                        .map(|path| format!("{} names {path}", from.join("/")));
                    let all = siblings.entry(one).or_default().entry(other).or_default();
                    all.extend(how);
                }
            }
        }
        siblings
    }

    /// Every module that has children.
    pub(crate) fn parents(&self) -> BTreeSet<Module> {
        let ends = self
            .named
            .iter()
            .flat_map(|(from, others)| others.keys().chain([from]));
        ends.flat_map(|module| (0..module.len()).map(|length| module[..length].to_vec()))
            .collect()
    }
}

/// Children of one module: who names whom, and by which paths.
pub(crate) type Siblings = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Children from each of which a way leads back to itself, with the ties between them.
pub(crate) fn circle(siblings: &Siblings) -> Vec<String> {
    let reached = |start: &String| {
        let mut reached = BTreeSet::new();
        let mut next = vec![start];
        while let Some(at) = next.pop() {
            for other in siblings.get(at).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(other) {
                    next.push(other);
                }
            }
        }
        reached
    };
    let ways: BTreeMap<_, _> = siblings
        .keys()
        .map(|child| (child, reached(child)))
        .collect();
    let is_in_one = |one: &String, other: &String| {
        let leads = |from: &String, to: &String| ways.get(from).is_some_and(|way| way.contains(to));
        leads(one, other) && leads(other, one)
    };
    let ties = siblings.iter().flat_map(|(one, others)| {
        let tied = others
            .iter()
            .filter(move |(other, _)| is_in_one(one, other));
        tied.flat_map(|(_, ties)| ties.clone())
    });
    ties.collect()
}

/// The module of a file below `src/`.
fn module(path: &str) -> Module {
    let mut module: Module = Path::new(path)
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_root = module.len() == 1 && ["lib", "main"].contains(&module[0].as_str());
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// The module in which the thing at a path is defined.
fn home(path: &Module, all: &BTreeSet<Module>, passed_on: &BTreeMap<Module, Module>) -> Module {
    let mut path = path.clone();
    // A chain of re-exports is short, and may be a ring.
    'follow: for _ in 0..8 {
        for length in (1..=path.len()).rev() {
            if all.contains(&path[..length]) {
                break;
            }
            if let Some(onward) = passed_on.get(&path[..length]) {
                path = [onward, &path[length..]].concat();
                continue 'follow;
            }
        }
        break;
    }
    while !all.contains(&path) {
        path.pop();
    }
    path
}

/// What one file names.
struct Found<'a> {
    here: Module,
    all: &'a BTreeSet<Module>,
    paths: BTreeSet<Module>,
    /// Names that it passes on, and what they stand for.
    passed_on: Vec<(Module, Module)>,
}

impl<'a> Found<'a> {
    fn new(here: Module, all: &'a BTreeSet<Module>) -> Self {
        Self {
            here,
            all,
            paths: BTreeSet::new(),
            passed_on: Vec::new(),
        }
    }

    /// The path in the crate that is written so here; `None` if it is another crate's or a name
    /// that was imported.
    fn resolve(&self, written: &[String]) -> Option<Module> {
        let (first, rest) = written.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.here, rest].concat()),
            "super" => {
                let ups = written.iter().take_while(|part| *part == "super").count();
                let above = self.here.len().checked_sub(ups)?;
                Some([&self.here[..above], &written[ups..]].concat())
            }
            child => {
                let module = [&self.here[..], &[child.to_owned()]].concat();
                let path = [&self.here, written].concat();
                self.all.contains(&module).then_some(path)
            }
        }
    }

    fn leaves(&mut self, tree: &UseTree, before: &[String], is_passed_on: bool) {
        let mut add = |name: &str, alias: &str| {
            let written = match name {
                "self" => before.to_vec(),
                name => [before, &[name.to_owned()]].concat(),
            };
            let Some(path) = self.resolve(&written) else {
                return;
            };
            if is_passed_on {
                let name = [&self.here[..], &[alias.to_owned()]].concat();
                self.passed_on.push((name, path.clone()));
            }
            self.paths.insert(path);
        };
        match tree {
            UseTree::Path(part) => {
                let before = [before, &[part.ident.to_string()]].concat();
                self.leaves(&part.tree, &before, is_passed_on);
            }
            UseTree::Name(name) => add(&name.ident.to_string(), &name.ident.to_string()),
            UseTree::Rename(name) => add(&name.ident.to_string(), &name.rename.to_string()),
            UseTree::Glob(_) => add("self", "*"),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.leaves(tree, before, is_passed_on);
                }
            }
        }
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_of_tests = |list: &syn::MetaList| list.tokens.to_string().contains("test");
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_of_tests)
    })
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        // A module in a file counts as its file.
        if let Some((_, items)) = &item.content {
            self.here.push(item.ident.to_string());
            items.iter().for_each(|item| self.visit_item(item));
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_passed_on = !matches!(item.vis, Visibility::Inherited);
        self.leaves(&item.tree, &[], is_passed_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Module = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if written.len() > 1
            && let Some(path) = self.resolve(&written)
        {
            self.paths.insert(path);
        }
        visit::visit_path(self, path);
    }
}
