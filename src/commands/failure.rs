//! How a command fails: an error and its exit code.

use crate::exit_code::Kind;

/// What a command returns: nothing, or why it failed.
pub type Outcome = Result<(), Failure>;

/// An error together with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The kind, which determines the exit code of the process.
    pub kind: Kind,
    /// The error, which is printed with its whole chain of causes.
    pub error: anyhow::Error,
}

impl Failure {
    /// Creates a failure of the given kind; use as
    /// `.map_err(|error| Failure::new(Kind::Config, error))`.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self {
            kind,
            error: error.into(),
        }
    }

    /// Wrong command line; use as `.map_err(Failure::usage)`.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// A device or broker is unavailable; use as `.map_err(Failure::unavailable)`.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Unavailable, error)
    }

    /// Wrong configuration or unusable bundle, unless the environment may resolve it; use as
    /// `.map_err(Failure::config)`.
    pub fn config(error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        Self::new(Kind::of(error.as_ref(), Kind::Config), error)
    }
}

/// Lets `?` turn any error into [`Kind::Failed`].
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Kind::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open it")]
    struct Open {
        source: io::Error,
    }

    #[test]
    fn a_failure_of_a_command_is_of_the_kind_of_its_cause() {
        let full = Open {
            source: Errno::NOSPC.into(),
        };
        assert_eq!(Failure::config(full).kind, Kind::Unavailable);
        let wrong = Open {
            source: Errno::NOENT.into(),
        };
        assert_eq!(Failure::config(wrong).kind, Kind::Config);
    }
}
