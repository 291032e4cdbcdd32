//! The exit codes of the process.
//!
//! The numbers are those of `sysexits.h`, so that a service manager can distinguish an unreachable
//! broker (try again) from a wrong configuration (do not). The code follows the cause, not the
//! place where it occurred: a full disk may recover on its own, whether it affected the journal or
//! the configuration.

use std::error::Error;
use std::io;

/// The exit codes of flawd besides 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work itself failed, for example because no image could be read: 1.
    Failed,
    /// Wrong command line: 64.
    Usage,
    /// Something needed was unavailable at startup and may become available later: a device, a
    /// broker, an address, disk space, memory, file descriptors: 69.
    Unavailable,
    /// A bug in flawd: 70.
    Bug,
    /// Wrong configuration, unusable bundle, missing runtime library: 78.
    Config,
}

impl Kind {
    /// Returns the exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Config => 78,
        }
    }

    /// Returns the kind of this error: [`Self::Unavailable`] if the environment may resolve the
    /// cause, else `otherwise`.
    pub fn of(error: &(dyn Error + 'static), otherwise: Self) -> Self {
        let mut causes = std::iter::successors(Some(error), |error| (*error).source());
        if causes.any(may_mend) {
            Self::Unavailable
        } else {
            otherwise
        }
    }
}

/// Returns whether the environment may resolve this error without a change to what the operator
/// wrote or installed.
fn may_mend(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return may_mend_io(error);
    }
    // Errors of ONNX Runtime and of the system's loader are only text. The system's wording comes
    // from strerror(3), the rest from CUDA and the C++ library.
    let text = error.to_string();
    [
        "Cannot allocate memory",
        "Failed to allocate memory",
        "bad_alloc",
        "out of memory",
        "Too many open files",
        "Resource temporarily unavailable",
        "No space left on device",
        "Read-only file system",
        "Input/output error",
        "no CUDA-capable device",
        "system not yet initialized",
    ]
    .iter()
    .any(|words| text.contains(words))
}

fn may_mend_io(error: &io::Error) -> bool {
    use io::ErrorKind as Is;
    match error.kind() {
        // What exists is not what the operator named.
        Is::NotFound
        | Is::PermissionDenied
        | Is::NotADirectory
        | Is::IsADirectory
        | Is::DirectoryNotEmpty
        | Is::AlreadyExists
        | Is::InvalidInput
        | Is::InvalidFilename
        | Is::InvalidData
        | Is::UnexpectedEof
        | Is::FileTooLarge
        | Is::NotSeekable
        | Is::CrossesDevices
        | Is::Unsupported => false,
        // The kinds that a library may report without the system's error number.
        Is::StorageFull
        | Is::QuotaExceeded
        | Is::ReadOnlyFilesystem
        | Is::OutOfMemory
        | Is::ResourceBusy
        | Is::WouldBlock
        | Is::TimedOut
        | Is::Interrupted => true,
        // Too many open files, a failing disk, a missing device: these carry the system's error
        // number.
        _ => error.raw_os_error().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open it")]
    struct Open {
        source: io::Error,
    }

    fn kind(source: io::Error) -> Kind {
        Kind::of(&Open { source }, Kind::Config)
    }

    #[test]
    fn the_kind_follows_the_cause() {
        for errno in [
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::AGAIN,
            Errno::IO,
            Errno::NODEV,
            Errno::NXIO,
            Errno::BUSY,
            Errno::STALE,
            Errno::NOBUFS,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
        ] {
            assert_eq!(kind(errno.into()), Kind::Unavailable, "{errno:?}");
        }
        for errno in [
            Errno::NOENT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::INVAL,
            Errno::NAMETOOLONG,
            Errno::FBIG,
        ] {
            assert_eq!(kind(errno.into()), Kind::Config, "{errno:?}");
        }
        let wrong = io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
        assert_eq!(kind(wrong), Kind::Config);
        assert_eq!(kind(io::Error::other("a parser")), Kind::Config);
    }

    #[test]
    fn what_a_library_says_in_words_alone_is_understood() {
        let said = |text: &str| Kind::of(anyhow::anyhow!("{text}").as_ref(), Kind::Config);
        let words = "libonnxruntime.so: failed to map segment: Cannot allocate memory";
        assert_eq!(said(words), Kind::Unavailable);
        assert_eq!(
            said("CUDA failure 2: out of memory ; GPU=0"),
            Kind::Unavailable
        );
        assert_eq!(said("invalid ELF header"), Kind::Config);
    }
}
