//! `cargo xtask detect`: how well defects are found on real pictures, in one table.
//!
//! ```text
//! each set and seed ─► flawd train (kept) ─► flawd evaluate ─► table ─► docs/detection.md
//!                                      └───► … --under CHANGES ─► second table
//! ```
//! The sets are not part of the project: they lie beside the repository, and those that are absent
//! are named and skipped. Everything is measured by the release build, through its command line.

mod arguments;
mod cpu;
mod page;
mod sets;
mod table;
mod work;

use std::path::{Path, PathBuf};

pub(crate) use arguments::Arguments;
use page::Provenance;
use sets::Set;
use work::{Measured, Work};

use crate::process::release_program;
use crate::{packages, setup};

/// Measures every wanted set that is there and prints the tables.
///
/// # Errors
/// If a program cannot be built or run, or a set failed; the other sets are printed all the same.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<(), String> {
    let data = root.join(&arguments.data);
    let (present, absent): (Vec<&Set>, Vec<&Set>) =
        (arguments.sets.iter().copied()).partition(|set| set.is_in(&data));
    for set in &absent {
        eprintln!("skipped {}: not in {}", set.name, data.display());
    }
    if present.is_empty() {
        println!(
            "none of the sets is in {}: nothing is measured",
            data.display()
        );
        return Ok(());
    }
    let flawd = binary(root, arguments)?;
    let provenance = Provenance::of(root, arguments);
    let mut measured: Vec<Measured> = Vec::new();
    let mut failed = Vec::new();
    for set in present {
        for &seed in &arguments.seeds {
            let work = Work {
                root,
                flawd: &flawd,
                data: &data,
                arguments,
                set,
                seed,
                commit: &provenance.commit,
            };
            match work.measure() {
                Ok(one) => measured.push(one),
                Err(error) => {
                    eprintln!("failed {} with seed {seed}: {error}", set.name);
                    failed.push(set.name);
                }
            }
        }
    }
    if !measured.is_empty() {
        let tables = table::tables(&measured, &provenance.commit);
        print!("{tables}");
        if arguments.write {
            page::write(root, &provenance, &tables)?;
        }
    }
    match &failed[..] {
        [] => Ok(()),
        failed => Err(format!("not measured, see above: {}", failed.join(", "))),
    }
}

/// Builds flawd, unless another program is named.
fn binary(root: &Path, arguments: &Arguments) -> Result<PathBuf, String> {
    if let Some(binary) = &arguments.binary {
        return Ok(binary.clone());
    }
    setup(root, packages::BUILD)?;
    release_program(root)
}
