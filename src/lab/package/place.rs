//! Where a backbone that was made of a package is written, and found again.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use flawd_onnx::efficientnet::{FILTERS, Variant, output_name};
use flawd_onnx::{Backbone, BackboneError};

use crate::files::directories::{DATA, Directory, shared_data};

/// The stages whose features are output by default: the last ones at 16 and at 32 pixels a cell.
pub const DEFAULT_STAGES: [usize; 2] = [5, 6];

/// The network that is used if no backbone is named.
const DEFAULT: Variant = Variant::Lite0;

/// The network at its default place cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the network that was fetched before cannot be used: remove it and run `flawd backbone fetch \
     {DEFAULT}` again, or name a backbone with --backbone"
)]
pub struct UnusableNetwork {
    /// What is wrong with the file, which it names.
    source: BackboneError,
}

/// The network at its default place is not what this flawd would write there.
#[derive(Debug, PartialEq, Eq)]
pub struct Outdated {
    path: PathBuf,
    outputs: Vec<String>,
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(
            f,
            "{path} was written by another version of flawd: by default, this one takes the outputs \
             {}; remove the file and run `flawd backbone fetch {DEFAULT}` again",
            self.outputs.join(" + ")
        )
    }
}

/// Returns the network that is used if no backbone is named: whatever is at its default place, or
/// else where a package puts it for all users, even if it cannot be used, because the filter bank
/// must not take its place unnoticed.
pub fn fetched() -> Option<PathBuf> {
    let name = below_data(DEFAULT, &DEFAULT_STAGES);
    let shared = shared_data(|variable| env::var_os(variable))
        .into_iter()
        .map(|folder| folder.join(&name));
    default_place(DEFAULT, &DEFAULT_STAGES)
        .into_iter()
        .chain(shared)
        .find(|path| is_taken(path))
}

/// Returns `false` only if nothing is there: a link that leads nowhere, or a folder that may not be
/// searched, is something.
fn is_taken(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Checks the network that [`fetched`] has found; says so if its outputs, or those that it names as
/// its default, are not those that this flawd writes.
///
/// # Errors
/// If it cannot be read, or is not a network.
pub fn check_fetched(path: &Path) -> Result<Option<Outdated>, UnusableNetwork> {
    let backbone = Backbone::open(path).map_err(|source| UnusableNetwork { source })?;
    let stages = DEFAULT_STAGES.map(output_name);
    let [stage5, stage6] = stages.each_ref().map(String::as_str);
    let [fine, coarse] = FILTERS;
    let default = [stage5, stage6, coarse];
    let is_present = backbone.outputs() == [stage5, stage6, fine, coarse]
        && backbone.default_outputs() == default;
    Ok((!is_present).then(|| Outdated {
        path: path.to_owned(),
        outputs: default.map(str::to_owned).to_vec(),
    }))
}

/// Returns the default file: in the user's data, named after the network and, unless they are the
/// default ones, the stages. `None` without a home folder.
pub fn default_place(variant: Variant, stages: &[usize]) -> Option<PathBuf> {
    let folder = DATA.folder(|name| env::var_os(name))?;
    Some(Directory::into_path(folder).join(below_data(variant, stages)))
}

fn below_data(variant: Variant, stages: &[usize]) -> PathBuf {
    Path::new("backbones").join(file_name(variant, stages))
}

fn file_name(variant: Variant, stages: &[usize]) -> String {
    if stages == DEFAULT_STAGES {
        return format!("{variant}.onnx");
    }
    let stages: Vec<String> = stages.iter().map(usize::to_string).collect();
    format!("{variant}-stage-{}.onnx", stages.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        assert!(!is_taken(&path("none")) && !is_taken(&path("no/folder")));
        fs::write(path("file"), b"").expect("writable");
        std::os::unix::fs::symlink("/nowhere", path("link")).expect("writable");
        for taken in ["file", "file/below", "link", "."] {
            assert!(is_taken(&path(taken)), "{taken}");
        }
    }

    #[test]
    fn other_stages_are_another_file() {
        let name = |stages: &[usize]| file_name(Variant::Lite0, stages);
        assert_eq!(name(&[5, 6]), "efficientnet-lite0.onnx");
        assert_eq!(name(&[3, 5]), "efficientnet-lite0-stage-3-5.onnx");
    }
}
