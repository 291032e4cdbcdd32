//! The text of a configuration file, and errors that point into it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{FileError, files};
use crate::messages::{names_in, nearest};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file that a key names cannot be used.
    #[error("{place}")]
    File {
        /// The variable that sets the key; or the configuration file, and the line of the key.
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
        /// What is wrong, with the closest valid name, if any.
        problem: String,
    },
    /// A variable that matches no key of ours or holds a value of the wrong type.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong.
        problem: String,
    },
    /// A value that is missing, out of range, or in conflict with another.
    #[error("{place}: {key}: {problem}")]
    Value {
        /// The variable that sets it; or the file, and the line of the key or its section.
        place: String,
        /// The key's path, for example `mqtt.port`.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// The text of a configuration file, kept for as long as errors may have to point into it.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    pub(crate) text: String,
    /// The variables that take precedence over the text, by key.
    variables: BTreeMap<String, String>,
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

    /// Creates a document that is not, or not yet, a file; relative paths in it start at `path`'s
    /// folder.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
            variables: BTreeMap::new(),
        }
    }

    /// The same document under variables, by key: an error about a key that one of them sets names
    /// the variable.
    pub(crate) fn under(&self, variables: BTreeMap<String, String>) -> Self {
        Self {
            variables,
            ..self.clone()
        }
    }

    /// Returns the folder that relative paths in the configuration start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Creates an error about the value of `key`, a path such as `mqtt.port`.
    pub(crate) fn value_error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            place: self.place(key),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// Creates an error about a file that a key names.
    pub(crate) fn refuse(&self, error: FileError) -> ConfigError {
        let key = match &error {
            FileError::Unreadable { key, .. } | FileError::Unusable { key, .. } => key,
        };
        ConfigError::File {
            place: self.place(key),
            source: error,
        }
    }

    /// Returns the variable that sets `key`; or else the file, and the line of `key` or its section,
    /// if it is in the file.
    fn place(&self, key: &str) -> String {
        if let Some(variable) = self.variables.get(key) {
            return format!("environment variable {variable}");
        }
        let path = self.path.display();
        match self.offset_of(key) {
            Some(offset) => format!("{path}:{}", self.position(offset).0),
            None => path.to_string(),
        }
    }

    pub(crate) fn text_error(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        let (line, column) = self.position(span.start);
        let problem = match self.text.get(span) {
            Some(name) if error.message() == "duplicate key" => {
                format!("the key `{name}` is there already; keep one of the two")
            }
            _ => explain(error.message()),
        };
        ConfigError::Text {
            path: self.path.clone(),
            line,
            column,
            problem,
        }
    }

    /// Returns line and column of a byte offset, both counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// Finds where `key`, or else its innermost section, is written.
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

/// Returns a parser's message, with the closest valid name if it is about a name.
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
