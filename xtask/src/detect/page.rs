//! The page of the documentation that shows the tables.

use std::fs;
use std::path::Path;
use std::thread;

use super::arguments::Arguments;
use crate::process::Step;

/// The page, from the workspace root.
const PAGE: &str = "docs/detection.md";

/// What is between these lines is replaced.
const BEGIN: &str = "<!-- written by cargo xtask detect --write -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// Where the numbers come from.
pub(super) struct Provenance {
    command: String,
    /// The commit, with a `+` if files were changed since.
    pub(super) commit: String,
    machine: String,
}

impl Provenance {
    pub(super) fn of(root: &Path, arguments: &Arguments) -> Self {
        let git = |arguments: &[&str]| Step::new("git", arguments).inside(root).answer();
        let commit =
            git(&["rev-parse", "--short=8", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        let is_changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
        Self {
            command: command(arguments),
            commit: commit + if is_changed { "+" } else { "" },
            machine: machine(),
        }
    }
}

/// Returns the command for a shell.
fn command(arguments: &Arguments) -> String {
    let quoted = arguments
        .given
        .iter()
        .map(|argument| match argument.contains(' ') {
            true => format!(" \"{argument}\""),
            false => format!(" {argument}"),
        });
    "cargo xtask detect".to_owned() + &quoted.collect::<String>()
}

/// Returns the processor, and how many of its cores there are.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores")
}

/// Puts the tables into the page, in place of the previous ones.
///
/// # Errors
/// If the page cannot be read or written, or has no place for them.
pub(super) fn write(root: &Path, provenance: &Provenance, tables: &str) -> Result<(), String> {
    let path = root.join(PAGE);
    let named = |error| format!("{PAGE}: {error}");
    let page = fs::read_to_string(&path).map_err(named)?;
    let Provenance {
        command,
        commit,
        machine,
    } = provenance;
    let written = format!("\n`{command}`, commit {commit}, {machine}:\n\n{tables}\n");
    let page = replaced(&page, &written).ok_or(format!("{PAGE} has no lines {BEGIN}… {END}"))?;
    fs::write(&path, page).map_err(named)
}

/// Returns the page with another text between the two lines.
fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, text, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_lines_is_replaced() {
        let page = format!("a\n{BEGIN}b\n{END}c\n");
        let once = replaced(&page, "d\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}d\n{END}c\n"));
        assert_eq!(replaced(&once, "d\n").unwrap(), once);
        assert_eq!(replaced("nothing", "d"), None);
    }

    #[test]
    fn the_page_of_the_project_has_a_place_for_the_tables() {
        let page = include_str!("../../../docs/detection.md");
        assert!(replaced(page, "").is_some());
    }

    #[test]
    fn the_command_can_be_typed_again() {
        let given = ["--options", "--epochs 3", "--write"].map(str::to_owned);
        let arguments = Arguments::parse(&given).unwrap();
        assert_eq!(
            command(&arguments),
            "cargo xtask detect --options \"--epochs 3\" --write"
        );
    }
}
