//! ONNX Runtime's library as `flawd runtime install` keeps it, and how every command finds it.
//!
//! ```text
//! DATA/onnxruntime/cpu-1.32.0/       the library, what it needs beside it, runtime.toml
//!                  openvino-1.24.1/
//!                  selected ─► one of them
//! ```
//! A library is installed whole or not at all, beside the others. Not what a model does with it:
//! that is [`flawd_onnx`].

mod build;
mod error;
mod source;
mod store;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flawd_onnx::{Runtime, RuntimeError};

use crate::files::directories::{DATA, Directory};

pub use build::{Build, Kind};
pub use error::InstallError;
pub use source::Source;
pub use store::{Installed, Record, Step, Store};

/// The link to the library in use.
pub const SELECTED: &str = "selected";

/// Loads ONNX Runtime: the library that `named` or the environment names, else the selected one of
/// those installed, else one near the program or the system's ([`Runtime::find`]).
///
/// # Errors
/// If the library is missing or cannot be loaded. A selected one that is gone is an error too.
pub fn load(named: Option<&Path>) -> Result<Runtime, RuntimeError> {
    Runtime::find(named, selected().as_deref())
}

/// Returns the folder of the installed libraries, in the user's data. `None` without a home folder, and
/// for a service: what it may write, it must not run.
pub fn default_folder() -> Option<PathBuf> {
    match DATA.folder(|name| env::var_os(name))? {
        Directory::User(folder) => Some(folder.join("onnxruntime")),
        Directory::Unit(_) => None,
    }
}

/// Returns the link to the selected library if there is one, wherever it leads.
fn selected() -> Option<PathBuf> {
    let link = default_folder()?.join(SELECTED);
    match fs::symlink_metadata(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        _ => Some(link),
    }
}
