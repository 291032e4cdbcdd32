//! Reads the small files that the operator writes: the configuration, a password, certificates.
//! Reads are bounded, because a path may lead to something endless; and a byte order mark, which
//! some editors put at the start of a text, is tolerated.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file that a key of the configuration names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    Unreadable {
        /// The key's path, for example `mqtt.password_file`.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file's content is unusable.
    #[error("{key}: {}: {problem}", path.display())]
    Unusable {
        /// The key's path.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong, and how to fix it.
        problem: String,
    },
}

impl FileError {
    pub(crate) fn unusable(key: &'static str, path: &Path, problem: impl Into<String>) -> Self {
        Self::Unusable {
            key,
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Far more than the certificates of all public authorities, which take 220 KiB.
const LONGEST: u64 = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the file that `key` names, without a byte order mark.
pub(crate) fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    bytes(path).map_err(|source| unreadable(key, path, source))
}

/// Reads the text of the file that `key` names, without a byte order mark. No error quotes it.
pub(crate) fn read_text(key: &'static str, path: &Path) -> Result<String, FileError> {
    text(path).map_err(|source| unreadable(key, path, source))
}

fn unreadable(key: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::Unreadable {
        key,
        path: path.to_owned(),
        source,
    }
}

/// Reads a file, without a byte order mark.
///
/// # Errors
/// The system's error, or that the file is too long.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        let problem = format!("it has more than {} MiB", LONGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    if let Some(rest) = bytes.strip_prefix(BYTE_ORDER_MARK) {
        return Ok(rest.to_owned());
    }
    Ok(bytes)
}

/// Reads a file as text, without a byte order mark.
///
/// # Errors
/// As [`bytes()`], and for anything but UTF-8. The text is never quoted.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(|error| {
        let is_utf_16 =
            |bytes: &[u8]| bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
        let problem = if is_utf_16(error.as_bytes()) {
            "it is UTF-16; save it as UTF-8"
        } else {
            "it is not UTF-8"
        };
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, bytes).unwrap();
        text(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        assert_eq!(read(b"\xef\xbb\xbfsecret").unwrap(), "secret");
        assert_eq!(read(b"secret").unwrap(), "secret");
    }

    #[test]
    fn what_is_no_utf_8_is_said_and_not_shown() {
        assert_eq!(
            read(b"\xff\xfes\0e\0").unwrap_err(),
            "it is UTF-16; save it as UTF-8"
        );
        assert_eq!(read(b"m\xfcller").unwrap_err(), "it is not UTF-8");
    }

    #[test]
    fn a_file_without_an_end_is_an_error() {
        let error = bytes(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "it has more than 16 MiB");
    }
}
