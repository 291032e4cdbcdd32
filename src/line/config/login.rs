//! User name and password of the broker's account.

use std::path::{Path, PathBuf};

use super::{FileError, Secret, files};

/// MQTT cannot encode a longer password.
const LONGEST: usize = u16::MAX as usize;

/// The account, and the place of its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub username: String,
    pub(crate) password: Password,
}

/// The place of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    /// From the environment, or unset: then it is empty.
    Given(Secret),
    /// In the first line of a file, which the configuration's `key` names.
    File { key: &'static str, path: PathBuf },
}

impl Login {
    /// Returns the password. A file is read each time, so that a changed one is used from the next
    /// connection on.
    ///
    /// # Errors
    /// [`FileError`], which does not show it.
    pub fn password(&self) -> Result<Secret, FileError> {
        match &self.password {
            Password::Given(password) => Ok(password.clone()),
            Password::File { key, path } => first_line(key, path),
        }
    }

    /// Returns the password's file, if any.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.password {
            Password::Given(_) => None,
            Password::File { path, .. } => Some(path),
        }
    }
}

fn first_line(key: &'static str, path: &Path) -> Result<Secret, FileError> {
    let text = files::read_text(key, path)?;
    // Text from another system may end its lines with a carriage return alone.
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    match problem(line) {
        None => Ok(Secret::new(line)),
        Some(problem) => {
            let problem = format!("the password in its first line {problem}");
            Err(FileError::unusable(key, path, problem))
        }
    }
}

/// Returns what makes a password unusable, if anything.
pub(crate) fn problem(password: &str) -> Option<&'static str> {
    if password.is_empty() {
        Some("is empty")
    } else if password.chars().any(char::is_control) {
        Some("holds a control character")
    } else if password.len() > LONGEST {
        Some("has more than 65,535 bytes, and MQTT can write no more")
    } else {
        None
    }
}
