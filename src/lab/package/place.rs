//! Where a backbone that was made of a package is written, and found again.

use std::env;
use std::path::PathBuf;

use flawd_onnx::efficientnet::Variant;

use crate::files::directories::{DATA, Directory};

/// The stages whose features are output by default: the last ones at 16 and at 32 pixels a cell.
pub const DEFAULT_STAGES: [usize; 2] = [5, 6];

/// The network that is used if no backbone is named.
const DEFAULT: Variant = Variant::Lite0;

/// Returns the network that is used if no backbone is named, if it was fetched to its default place.
pub fn fetched() -> Option<PathBuf> {
    default_place(DEFAULT, &DEFAULT_STAGES).filter(|path| path.is_file())
}

/// Returns the default file: in the user's data, named after the network and, unless they are the
/// default ones, the stages. `None` without a home folder.
pub fn default_place(variant: Variant, stages: &[usize]) -> Option<PathBuf> {
    let folder = DATA.folder(|name| env::var_os(name))?;
    let folder = Directory::into_path(folder).join("backbones");
    Some(folder.join(file_name(variant, stages)))
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
    fn other_stages_are_another_file() {
        let name = |stages: &[usize]| file_name(Variant::Lite0, stages);
        assert_eq!(name(&[5, 6]), "efficientnet-lite0.onnx");
        assert_eq!(name(&[3, 5]), "efficientnet-lite0-stage-3-5.onnx");
    }
}
