//! The default folder for what a station keeps across restarts.
//!
//! Depends on the environment alone; the disk is not read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::files::directories::{Directory, STATE};

/// Returns the state folder of `station` according to the environment: the service manager's, which
/// runs one station, so that the station's name is not part of the path; otherwise the station's
/// folder in the user's ([`STATE`]). `None` if the environment names neither.
pub(crate) fn default_folder(
    station: &str,
    variables: &BTreeMap<String, String>,
) -> Option<PathBuf> {
    let folder = STATE.folder(|name| variables.get(name).map(OsString::from))?;
    Some(match folder {
        Directory::Unit(path) => path,
        Directory::User(path) => path.join(station),
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
    fn a_unit_has_one_station_and_a_user_may_have_several() {
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
}
