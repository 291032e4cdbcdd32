//! The result of a command: done, or why it was not followed. `publish/task/send.rs` sends it.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use crate::line::config::ConfigError;
use crate::line::models::ModelsError;
use crate::line::pipeline::part::refusal::MessageRefusal;
use crate::messages::with_causes;

/// Why a command was not followed, or only in part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// It is not acted on.
    #[error(transparent)]
    Refused(#[from] MessageRefusal),
    /// It is about a camera that does not exist.
    #[error("there is no camera `{0}`")]
    NoSuchCamera(String),
    /// The models' thread has enough to do.
    #[error("too many earlier commands have not been followed yet")]
    TooMany,
    /// It was followed, and the next start will not know.
    #[error("it is done, but a restart will not know of it: cannot write {}", file.display())]
    NotSaved { file: PathBuf, source: io::Error },
    /// Sections of the configuration stay as they are; the rest is in use.
    #[error("a change of {} takes a restart; the rest is taken over", .0.join(", "))]
    TakesRestart(Vec<String>),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The models cannot be used.
    #[error(transparent)]
    Models(#[from] ModelsError),
}

/// The result of a command, as sent to the requester.
#[derive(Debug, Serialize)]
pub(crate) struct CommandResult {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl From<Result<(), CommandError>> for CommandResult {
    fn from(done: Result<(), CommandError>) -> Self {
        Self {
            ok: done.is_ok(),
            problem: done.err().map(|error| with_causes(&error)),
        }
    }
}
