//! Where flawd keeps what it can make again: features of training images, TensorRT engines.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The cache folder: systemd's `$CACHE_DIRECTORY`, `$XDG_CACHE_HOME/flawd` or `~/.cache/flawd`,
/// the first that there is. It need not exist yet.
pub fn folder() -> Option<PathBuf> {
    choose(|name| env::var_os(name).filter(|value| !value.is_empty()))
}

/// Where TensorRT engines are kept unless the operator names another folder.
pub fn engines() -> Option<PathBuf> {
    Some(folder()?.join("engines"))
}

fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(given) = variable("CACHE_DIRECTORY") {
        // The unit may have several, between colons; the first is flawd's own.
        return env::split_paths(&given).next();
    }
    let base = match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(&variable("HOME")?).join(".cache"),
    };
    Some(base.join("flawd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_managers_folder_goes_before_the_users() {
        let all = [
            ("CACHE_DIRECTORY", "/var/cache/flawd:/var/cache/other"),
            ("XDG_CACHE_HOME", "/cache"),
            ("HOME", "/home/me"),
        ];
        let expected = ["/var/cache/flawd", "/cache/flawd", "/home/me/.cache/flawd"];
        for (skipped, expected) in expected.iter().enumerate() {
            let variable = |asked: &str| {
                let found = all[skipped..].iter().find(|(name, _)| *name == asked);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(choose(variable), Some(PathBuf::from(expected)));
        }
        assert_eq!(choose(|_| None), None);
    }
}
