//! `cargo xtask openvino`: the daemon judges real pictures with OpenVINO as it does without.
//!
//! The comparison is a test of the daemon, which needs a trained bundle and pictures: both are named
//! here, since neither is in the repository.

use std::path::{Path, PathBuf};

use crate::process::Step;
use crate::{onnxruntime, packages, setup};

/// The test, and the variables that name what it needs.
const TEST: &str = "openvino::a_trained_bundle_is_judged_on_openvino_as_on_the_processor";
const BUNDLE: &str = "FLAWD_TEST_BUNDLE";
const PICTURES: &str = "FLAWD_TEST_PICTURES";

/// Compares the verdicts of a bundle on all pictures below a folder.
///
/// # Errors
/// If something is not there, or a verdict differs.
pub(crate) fn run(root: &Path, bundle: &str, pictures: &str) -> Result<(), String> {
    let bundle = absolute(bundle, "bundle.toml")?;
    let pictures = absolute(pictures, "")?;
    if !cfg!(target_arch = "x86_64") {
        return Err("there is no build of ONNX Runtime with OpenVINO for this machine".to_owned());
    }
    setup(root, packages::ALL)?;
    onnxruntime::install_openvino(root)?;
    // With the features of the whole workspace, its dependencies are already built.
    Step::new("cargo", &["test", "--workspace", "--test", "daemon"])
        .args(&["--", "--ignored", "--exact", "--nocapture", TEST])
        .inside(root)
        .env(BUNDLE, &bundle.to_string_lossy())
        .env(PICTURES, &pictures.to_string_lossy())
        .run()
}

/// Returns the absolute path of a folder that has a file of this name in it.
fn absolute(folder: &str, file: &str) -> Result<PathBuf, String> {
    let path = Path::new(folder);
    let canonical = path.canonicalize();
    match canonical {
        Ok(path) if path.is_dir() && path.join(file).exists() => Ok(path),
        _ if file.is_empty() => Err(format!("{folder} is not a folder")),
        _ => Err(format!("{folder} is not a bundle: it has no {file}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bundle_or_folder_is_named() {
        let error = absolute("/nowhere", "bundle.toml").expect_err("there is nothing");
        assert!(error.starts_with("/nowhere is not a bundle"), "{error}");
        let error = absolute("/dev/null", "").expect_err("it is a device");
        assert_eq!(error, "/dev/null is not a folder");
        assert!(absolute("/", "").is_ok());
    }
}
