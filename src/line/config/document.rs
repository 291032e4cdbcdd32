//! The text of a configuration file, and errors that point into it.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{FileError, files};
use crate::messages::{names_in, nearest};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that a key names.
    #[error("{place}")]
    File {
        /// The configuration file, with the line of the key.
        place: String,
        /// What is wrong with the file.
        source: FileError,
    },
    /// Something in the file that is not TOML, not a known key, or of the wrong type.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong, with the nearest right name where there is one.
        problem: String,
    },
    /// A variable that names no key of ours or holds a value of the wrong type.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong.
        problem: String,
    },
    /// A value that is missing, out of range, or at odds with another.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// The file, with the line where the key or its section stands in it.
        place: String,
        /// The key's path, for example `mqtt.port`.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// The text of a configuration file, for as long as errors may have to point into it.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    pub(crate) text: String,
}

impl Document {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError::Read`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::text(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(path, text))
    }

    /// A document that is not, or not yet, a file; relative paths in it start at `path`'s folder.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The folder that relative paths in the configuration start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// An error about the value of `key`, which is a path such as `mqtt.port`.
    pub(crate) fn value_error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            place: self.place(key),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// An error about a file that a key names.
    pub(crate) fn refuse(&self, error: FileError) -> ConfigError {
        let key = match &error {
            FileError::Unreadable { key, .. } | FileError::Unusable { key, .. } => key,
        };
        ConfigError::File {
            place: self.place(key),
            source: error,
        }
    }

    /// The file, with the line where `key` or its section stands in it.
    fn place(&self, key: &str) -> String {
        let path = self.path.display();
        match self.offset_of(key) {
            Some(offset) => format!("{path}:{}", self.position(offset).0),
            None => path.to_string(),
        }
    }

    pub(crate) fn text_error(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = self.position(offset);
        ConfigError::Text {
            path: self.path.clone(),
            line,
            column,
            problem: explain(error.message()),
        }
    }

    /// Line and column of a byte offset, both counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// Where `key`, or else the innermost of its sections, is written.
    fn offset_of(&self, key: &str) -> Option<usize> {
        let document = DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        let mut offset = None;
        for name in key.split('.') {
            let Some((written, value)) = table.get_key_value(name) else {
                break;
            };
            offset = Some(written.span().start);
            let DeValue::Table(inner) = value.get_ref() else {
                break;
            };
            table = inner;
        }
        offset
    }
}

/// A parser's message, with the nearest right name where it is about a name.
pub(crate) fn explain(message: &str) -> String {
    let Some((typed, candidates)) = names_in(message) else {
        return message.to_owned();
    };
    let what = if message.contains("unknown field") {
        "unknown key"
    } else {
        "unknown value"
    };
    match nearest(typed, candidates.iter().copied()) {
        Some(name) => format!("{what} `{typed}`; did you mean `{name}`?"),
        None => format!("{what} `{typed}`; possible here: {}", candidates.join(", ")),
    }
}
