//! How the observer of long work asks it to stop.

/// The caller asked to stop. Long work reports its progress to an observer, which returns this to
/// end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;
