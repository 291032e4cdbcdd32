//! Where a station keeps what has to survive a restart, where its operator names no folder.
//!
//! A function of the environment alone; it looks at no disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The state folder of `station` by the environment: the service manager's, else the user's.
/// `None` where the environment names neither.
///
/// - systemd sets `STATE_DIRECTORY` for a unit with `StateDirectory=`, several of them joined by
///   colons (systemd.exec(5)); the first is taken. A unit runs one station, so its name is no
///   part of the path.
/// - `XDG_STATE_HOME`, by default `~/.local/state`, is for state of the user's programs. A
///   relative path in it counts as absent (XDG Base Directory Specification 0.8).
pub(crate) fn default_folder(
    station: &str,
    variables: &BTreeMap<String, String>,
) -> Option<PathBuf> {
    let folder = |name: &str| {
        let first = variables.get(name)?.split(':').next()?;
        let path = Path::new(first);
        path.is_absolute().then(|| path.to_owned())
    };
    folder("STATE_DIRECTORY").or_else(|| {
        let state_home =
            folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
        Some(state_home.join("flawd").join(station))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let folder = default_folder("press-3", &variables)?;
        Some(folder.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_service_managers_folder_goes_before_the_users() {
        let everything = [
            ("STATE_DIRECTORY", "/var/lib/flawd:/var/lib/other"),
            ("XDG_STATE_HOME", "/home/ann/state"),
            ("HOME", "/home/ann"),
        ];
        let expected = [
            "/var/lib/flawd",
            "/home/ann/state/flawd/press-3",
            "/home/ann/.local/state/flawd/press-3",
        ];
        for (first, expected) in expected.into_iter().enumerate() {
            assert_eq!(found(&everything[first..]).as_deref(), Some(expected));
        }
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_folder_that_is_empty_or_relative_counts_as_absent() {
        for nothing in ["", "state"] {
            let variables = [
                ("STATE_DIRECTORY", nothing),
                ("XDG_STATE_HOME", nothing),
                ("HOME", "/home/ann"),
            ];
            let expected = "/home/ann/.local/state/flawd/press-3";
            assert_eq!(found(&variables).as_deref(), Some(expected));
            assert_eq!(found(&variables[..2]), None);
        }
    }
}
