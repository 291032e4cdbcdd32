//! `cargo xtask tensorrt`: TensorRT's parser and builder take every kind of model that flawd writes.
//!
//! ```text
//! a test of flawd-onnx ─► target/tensorrt/models/*.onnx ─┐
//! bundles and model files that are named ────────────────┴─► build.py ─► a line for each, or why not
//! ```
//! TensorRT's RTX branch is a wheel on PyPI, and its builder needs no GPU. It is fetched for this
//! check alone, into `target/tensorrt/`, and never shipped. It shows that a model is parsed and
//! built, and nothing about the numbers that a board then computes.
//!
//! The program that calls it is in Python: the library's interface is C++ classes with virtual
//! functions, whose layout is in headers that the wheel does not have.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{self, at};
use crate::process::Step;
use crate::{packages, setup, wheels};

const REQUIREMENTS: &str = "xtask/tensorrt/requirements.txt";

/// What fetching takes.
const FETCHING: &str = "TensorRT's RTX branch could not be fetched: it takes a network, Linux on \
                        x86-64, and Python 3.10 to 3.13 with pip";

const PROGRAM: &str = "xtask/tensorrt/build.py";

/// The test that writes a model of each kind, and the variable that names its folder.
const WRITER: &str = "kinds_tests::writes_a_model_of_each_kind";
const FOLDER_VARIABLE: &str = "FLAWD_MODELS_OUT";

/// Checks a model of each kind, and the bundles or model files `paths`.
///
/// # Errors
/// If something cannot be fetched or built, or TensorRT has a word against a model.
pub(crate) fn run(root: &Path, paths: &[String]) -> Result<(), String> {
    let named: Vec<PathBuf> = paths
        .iter()
        .map(|path| model_at(path))
        .collect::<Result<_, _>>()?;
    setup(root, packages::BUILD)?;
    let folder = root.join("target/tensorrt");
    let python = folder.join("python");
    wheels::install(&root.join(REQUIREMENTS), &python, FETCHING)?;
    let models = written(root, &folder.join("models"))?;
    let all: Vec<String> = (models.iter().chain(&named))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    Step::new("python3", &[PROGRAM])
        .args(&all)
        .inside(root)
        .env("PYTHONPATH", &python.to_string_lossy())
        .run()
        .map_err(|error| format!("{error}. TensorRT does not take a model as it is"))
}

/// Returns the model file that a path names: a bundle's, or itself.
fn model_at(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let model = match path.is_dir() {
        true => path.join("model.onnx"),
        false => path.to_owned(),
    };
    match model.is_file() {
        true => std::path::absolute(&model).map_err(at(&model)),
        false => Err(format!(
            "{} is neither a bundle nor a model file",
            path.display()
        )),
    }
}

/// Writes a model of each kind into `folder`; returns their files.
fn written(root: &Path, folder: &Path) -> Result<Vec<PathBuf>, String> {
    files::empty(folder)?;
    Step::new("cargo", &["test", "--package", "flawd-onnx", "--lib"])
        .args(&["--", "--ignored", "--exact", WRITER])
        .inside(root)
        .env(FOLDER_VARIABLE, &folder.to_string_lossy())
        .run()?;
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let mut models: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    models.sort();
    match models.is_empty() {
        true => Err(format!("the test {WRITER} wrote no model")),
        false => Ok(models),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_bindings_are_of_one_version_and_pinned() {
        let requirements = include_str!("../tensorrt/requirements.txt");
        let versions: Vec<&str> = (requirements.lines())
            .filter_map(|line| line.strip_prefix("tensorrt-rtx-cu12-")?.split_once("=="))
            .map(|(_, version)| version)
            .collect();
        assert_eq!(versions.len(), 2);
        assert_eq!(versions[0], versions[1]);
        assert_eq!(requirements.matches("--hash=sha256:").count(), 5);
    }

    #[test]
    fn a_path_that_is_no_model_is_named() {
        let error = model_at("/nowhere/at/all").expect_err("there is nothing");
        assert!(error.starts_with("/nowhere/at/all is neither"), "{error}");
    }
}
