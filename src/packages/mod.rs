//! Python packages of which one published file is known by its digest, fetched with pip. Not what is
//! in them.
//!
//! ```text
//! PinnedWheel ─► pip download ─► the right name? ─► the right digest? ─► the file
//! ```
//! The package index is the one that pip is configured for; what it delivers is used only if its
//! digest is the pinned one. No code of a package is run: a wheel is an archive, and pip only
//! downloads it.

mod pip;
pub mod runtime;

use std::io;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;

use crate::files::digest::sha256_file;

pub use pip::PipError;

/// A published file of a package.
#[derive(Clone, Debug)]
pub struct PinnedWheel {
    /// The package's name in the index.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The name of the file.
    pub file: &'static str,
    /// The file's SHA-256.
    pub digest: Digest,
    /// pip's arguments that select the file's Python and machine, which need not be those that pip
    /// runs on; empty if it is the only file of this version.
    pub tags: &'static [&'static str],
}

/// Returns the digest whose hexadecimal digits are those of `first` and then of `second`.
pub const fn digest(first: u128, second: u128) -> Digest {
    let (first, second) = (first.to_be_bytes(), second.to_be_bytes());
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 16 {
        bytes[at] = first[at];
        bytes[at + 16] = second[at];
        at += 1;
    }
    Digest::new(bytes)
}

/// Why a file of a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// pip is missing, or failed.
    #[error("cannot fetch {requirement}: {reason}. {by_hand}")]
    Pip {
        /// The package and its version.
        requirement: String,
        /// Why.
        reason: PipError,
        /// What to do without pip or network.
        by_hand: String,
    },
    /// pip reports success, but the file is missing.
    #[error("pip reports success and has not written {wheel}. {by_hand}")]
    NoWheel {
        /// The file name.
        wheel: &'static str,
        /// What to do without pip.
        by_hand: String,
    },
    /// The file is not the one that is known.
    #[error(
        "what pip has fetched as {requirement} is another file than the published one: its digest is \
         {found}, and {expected} is expected. It is not used, and was removed: `pip config list` \
         shows where pip fetches from"
    )]
    Digest {
        /// The package and its version.
        requirement: String,
        /// That of the published file.
        expected: Digest,
        /// That of the fetched file.
        found: Digest,
    },
    /// The system's error about the fetched file.
    #[error("cannot read {}, which pip has fetched", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl FetchError {
    /// Returns whether a later attempt may succeed, once there is a network for example.
    pub fn may_pass(&self) -> bool {
        let failed = |reason: &PipError| matches!(reason, PipError::Failed(_));
        matches!(self, Self::Pip { reason, .. } if failed(reason))
    }
}

impl PinnedWheel {
    /// Returns name and version, as pip takes them.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// Returns the command that downloads the file on another machine.
    pub fn command(&self) -> String {
        let arguments: Vec<&str> = pip::ARGUMENTS.iter().chain(self.tags).copied().collect();
        format!("pip {} {}", arguments.join(" "), self.requirement())
    }

    /// Downloads the file to the empty folder `into`, checks it, and returns its path. `by_hand` says
    /// what to do without pip or network.
    ///
    /// # Errors
    /// If there is no pip, no network or no space, or the file is not the published one.
    pub fn fetch(&self, into: &Path, by_hand: &str) -> Result<PathBuf, FetchError> {
        let requirement = self.requirement();
        pip::download(&requirement, self.tags, into).map_err(|reason| FetchError::Pip {
            requirement: requirement.clone(),
            reason,
            by_hand: by_hand.to_owned(),
        })?;
        let path = into.join(self.file);
        match sha256_file(&path) {
            Ok(found) if found == self.digest => Ok(path),
            Ok(found) => Err(FetchError::Digest {
                requirement,
                expected: self.digest,
                found,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FetchError::NoWheel {
                wheel: self.file,
                by_hand: by_hand.to_owned(),
            }),
            Err(source) => Err(FetchError::Unreadable { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_its_digits() {
        let digest = digest(
            0xf2bc3dd05dbc22e1596ffc41879e56e6,
            0xdc2238ce3e7691cb91ef18966489a2be,
        );
        assert_eq!(
            digest.hex(),
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
        );
    }
}
