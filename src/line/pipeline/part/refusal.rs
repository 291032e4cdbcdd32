//! Why a message from the broker is refused.

use flawd_core::request::RequestError;
use jiff::SignedDuration;

use super::trigger::NotTaken;
use crate::line::monitor::MessageOutcome;

/// Why a trigger or a command is not acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageRefusal {
    /// The broker had stored it.
    #[error("it is retained, so its age is not known")]
    Retained,
    /// It was too long to be read.
    #[error("it has {size} bytes; it may have {limit}, all counted")]
    TooLong {
        /// The bytes of its packet.
        size: usize,
        /// The maximum.
        limit: u32,
    },
    /// Its payload does not fit its schema.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It must state when it was sent.
    #[error("it has no `sent_at`, so it is not known how long it was on its way")]
    Undated,
    /// It was sent too long ago, or in the future.
    #[error("by its `sent_at` it is {:.1} s old; are both clocks right?", age.as_secs_f64())]
    Stale {
        /// Its age by its own time stamp.
        age: SignedDuration,
    },
    /// A trigger that was acted on already.
    #[error("it has been delivered before")]
    Duplicate,
    /// Too many commands.
    #[error("more commands come than can be followed")]
    TooManyCommands,
    /// The camera's stage does not take a trigger.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}

impl MessageRefusal {
    /// Returns the outcome to count.
    pub fn outcome(&self) -> MessageOutcome {
        match self {
            Self::Retained => MessageOutcome::Retained,
            Self::TooLong { .. } | Self::Request(_) => MessageOutcome::Invalid,
            Self::Undated => MessageOutcome::Undated,
            Self::Stale { .. } => MessageOutcome::Stale,
            Self::Duplicate => MessageOutcome::Duplicate,
            Self::TooManyCommands | Self::NotTaken(NotTaken::Full { .. }) => {
                MessageOutcome::Overrun
            }
            Self::NotTaken(NotTaken::Ended) => MessageOutcome::Shutdown,
        }
    }
}
