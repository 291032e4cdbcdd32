//! The folders that the service manager, or the user, provides for flawd.
//!
//! A function of the environment alone; it does not access the disk.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The purpose of a folder, and the variables that name it.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// Set by systemd for a unit with such a folder; several are joined by colons
    /// (systemd.exec(5)), and the first is used.
    unit: &'static str,
    /// The user's base folder (XDG Base Directory Specification 0.8).
    user: &'static str,
    /// Its default below the home folder, if the variable is unset.
    default: &'static str,
}

/// What must survive a restart.
pub const STATE: Purpose = Purpose {
    unit: "STATE_DIRECTORY",
    user: "XDG_STATE_HOME",
    default: ".local/state",
};

/// What the user has made or fetched, and names in other commands.
pub const DATA: Purpose = Purpose {
    unit: "STATE_DIRECTORY",
    user: "XDG_DATA_HOME",
    default: ".local/share",
};

/// What can be made again.
pub const CACHE: Purpose = Purpose {
    unit: "CACHE_DIRECTORY",
    user: "XDG_CACHE_HOME",
    default: ".cache",
};

/// Returns the folders with data that packages and administrators provide for all users, in order
/// of precedence. An empty or relative path counts as absent.
pub fn shared_data(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folders = |list: &OsString| -> Vec<PathBuf> {
        env::split_paths(list)
            .filter(|path| path.is_absolute())
            .map(|path| path.join("flawd"))
            .collect()
    };
    variable("XDG_DATA_DIRS")
        .filter(|list| !list.is_empty())
        .map_or_else(
            || folders(&"/usr/local/share:/usr/share".into()),
            |list| folders(&list),
        )
}

/// A folder for flawd. It need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directory {
    /// The unit's, which belongs to this process alone.
    Unit(PathBuf),
    /// `flawd` in the user's, which all processes of the user share.
    User(PathBuf),
}

impl Directory {
    /// Returns its path.
    pub fn into_path(self) -> PathBuf {
        match self {
            Self::Unit(path) | Self::User(path) => path,
        }
    }
}

impl Purpose {
    /// Returns the folder according to the environment: the service manager's, else the user's.
    /// `None` if neither is given; an empty or relative path counts as absent, as the specification
    /// requires.
    pub fn folder(self, variable: impl Fn(&str) -> Option<OsString>) -> Option<Directory> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let units = variable(self.unit).unwrap_or_default();
        if let Some(unit) = env::split_paths(&units).next().and_then(absolute) {
            return Some(Directory::Unit(unit));
        }
        let path = |name: &str| absolute(variable(name)?.into());
        let base = path(self.user).or_else(|| Some(path("HOME")?.join(self.default)))?;
        Some(Directory::User(base.join("flawd")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(purpose: Purpose, variables: &[(&str, &str)]) -> Option<Directory> {
        purpose.folder(|asked| {
            let (_, value) = variables.iter().find(|(name, _)| *name == asked)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn the_service_managers_folder_takes_precedence_over_the_users() {
        let all = [
            ("CACHE_DIRECTORY", "/var/cache/flawd:/var/cache/other"),
            ("XDG_CACHE_HOME", "/cache"),
            // A list of folders is what systemd makes; a user's folder may have a colon.
            ("HOME", "/home/ann:b"),
        ];
        let expected = [
            Directory::Unit("/var/cache/flawd".into()),
            Directory::User("/cache/flawd".into()),
            Directory::User("/home/ann:b/.cache/flawd".into()),
        ];
        for (skipped, expected) in expected.into_iter().enumerate() {
            assert_eq!(found(CACHE, &all[skipped..]), Some(expected));
        }
        assert_eq!(found(CACHE, &[]), None);
    }

    #[test]
    fn shared_data_is_where_the_specification_says() {
        let found = |list: Option<&str>| shared_data(|_| list.map(OsString::from));
        let usual = ["/usr/local/share/flawd", "/usr/share/flawd"].map(PathBuf::from);
        assert_eq!(found(None), usual);
        assert_eq!(found(Some("")), usual);
        assert_eq!(
            found(Some("/a:b:/c")),
            ["/a/flawd", "/c/flawd"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_folder_that_is_empty_or_relative_counts_as_absent() {
        for nothing in ["", "state"] {
            for (purpose, unit, user) in [
                (STATE, "STATE_DIRECTORY", "XDG_STATE_HOME"),
                (CACHE, "CACHE_DIRECTORY", "XDG_CACHE_HOME"),
                (DATA, "STATE_DIRECTORY", "XDG_DATA_HOME"),
            ] {
                let variables = [(unit, nothing), (user, nothing), ("HOME", "/home/ann")];
                let expected = format!("/home/ann/{}/flawd", purpose.default);
                assert_eq!(
                    found(purpose, &variables),
                    Some(Directory::User(expected.into()))
                );
                assert_eq!(found(purpose, &variables[..2]), None);
            }
        }
    }
}
