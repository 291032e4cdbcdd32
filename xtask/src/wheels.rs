//! Programs and libraries of Python packages, for one command of this program each: fetched with pip
//! into a folder of their own, with their digests checked.

use std::fs;
use std::path::Path;

use crate::files;
use crate::process::Step;

/// The copy of the requirements that says what is in the folder.
const INSTALLED: &str = "requirements.txt";

/// Puts the wheels that `requirements` pins into `folder`, unless those are there. `help` says what
/// it takes, if they cannot be had.
pub(crate) fn install(requirements: &Path, folder: &Path, help: &str) -> Result<(), String> {
    let wanted = files::read(requirements)?;
    let installed = folder.join(INSTALLED);
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // Of another version, or of a run that was interrupted.
    files::remove(folder)?;
    Step::new("python3", &["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(&["--require-hashes", "--only-binary=:all:"])
        .args(&["--requirement", &requirements.to_string_lossy()])
        .args(&["--target", &folder.to_string_lossy()])
        .run()
        .map_err(|error| format!("{error}. {help}"))?;
    files::write(&installed, &wanted)
}
