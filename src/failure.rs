//! Why a command failed, in the terms of whoever started the process: an exit code.
//!
//! The numbers are those of `sysexits.h`, so that a service manager can tell a broker that is
//! away (try again) from a wrong configuration (do not).

/// What a command returns: nothing, or why it failed.
pub type Outcome = Result<(), Failure>;

/// An error together with the exit code it deserves.
#[derive(Debug)]
pub struct Failure {
    /// Which exit code the process ends with.
    pub kind: Kind,
    /// What is printed, with its whole chain.
    pub error: anyhow::Error,
}

/// The exit codes of flawd besides 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The work itself could not be done, for example no image could be read: 1.
    Failed,
    /// Wrong command line: 64.
    Usage,
    /// A device or a broker was not there at start, where it is required: 69.
    Unavailable,
    /// A bug in flawd: 70.
    Bug,
    /// Wrong configuration, unusable bundle, missing runtime library: 78.
    Config,
}

impl Kind {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Config => 78,
        }
    }
}

impl Failure {
    /// A failure of the given kind; use as `.map_err(|error| Failure::new(Kind::Config, error))`.
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

    /// A device or broker is not there; use as `.map_err(Failure::unavailable)`.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Unavailable, error)
    }

    /// Wrong configuration or unusable bundle; use as `.map_err(Failure::config)`.
    pub fn config(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Kind::Config, error)
    }
}

/// Lets `?` turn any error into [`Kind::Failed`].
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Kind::Failed, error)
    }
}

/// An error with everything that caused it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
