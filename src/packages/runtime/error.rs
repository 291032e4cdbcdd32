//! Why a library was not installed.

use std::io;
use std::path::PathBuf;

use flawd_core::digest::Digest;
use flawd_import::WheelError;
use flawd_onnx::RuntimeError;

use super::build::Kind;
use crate::packages::FetchError;

/// Why a library was not installed; nothing of it is, and what was installed before is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No build of this kind is published for this machine.
    #[error(
        "no build of ONNX Runtime for `{kind}` is known for {}: take one for this machine, such as \
         that of a board's maker, and install it with `flawd runtime install PATH`",
        std::env::consts::ARCH
    )]
    NoBuild {
        /// The kind.
        kind: Kind,
    },
    /// pip does not deliver it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The wheel cannot be unpacked.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The file holds something else.
    #[error(
        "{} is not, and does not hold, ONNX Runtime's library: name libonnxruntime.so, or a wheel of \
         onnxruntime",
        path.display()
    )]
    NoLibrary {
        /// The file.
        path: PathBuf,
    },
    /// The library is for another machine.
    #[error(
        "{} is for {found}, and this machine is {}", path.display(), std::env::consts::ARCH
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// The machine that it is for.
        found: String,
    },
    /// The file is not the expected one.
    #[error(
        "{} is another file than the expected one: its digest is {found}, and {expected} is expected. \
         Get it again, or state its own digest with --sha256 if it is meant",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// The published or stated digest.
        expected: Digest,
        /// The file's.
        found: Digest,
    },
    /// The library does not work here.
    #[error("{what} does not work on this machine, and was not installed")]
    Unusable {
        /// What was to be installed.
        what: String,
        /// Why.
        source: RuntimeError,
    },
    /// The named file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be copied.
    #[error("cannot copy {}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no place for the library.
    #[error("cannot install in {}: make room there, or name another folder with --into", folder.display())]
    Keep {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
