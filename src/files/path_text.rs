//! Paths in text: reports, manifests, lists, messages, parts.
//!
//! A file name is any bytes, and text is UTF-8. A byte that belongs to no character is written as
//! `\xNN`, so that the difference is visible and two different names stay different.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serializer;

/// Returns a path as text, unchanged if its name is UTF-8.
pub fn text(path: &Path) -> Cow<'_, str> {
    if let Some(text) = path.to_str() {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a string takes it");
        }
    }
    Cow::Owned(text)
}

/// For `#[serde(serialize_with)]`: serde itself rejects a name that is not UTF-8.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(path))
}

/// Counts files by extension: `100 .webp, 10 .tmp, 2 without an ending`, the most frequent first.
pub fn by_ending(files: &[PathBuf]) -> String {
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let ending = file.extension().map_or_else(
            || "without an ending".to_owned(),
            |ending| format!(".{}", ending.to_string_lossy().to_lowercase()),
        );
        *endings.entry(ending).or_default() += 1;
    }
    let mut endings: Vec<(String, usize)> = endings.into_iter().collect();
    endings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let endings: Vec<String> = endings
        .iter()
        .map(|(ending, count)| format!("{count} {ending}"))
        .collect();
    endings.join(", ")
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn path(bytes: &[u8]) -> &Path {
        Path::new(OsStr::from_bytes(bytes))
    }

    #[test]
    fn a_name_that_is_utf_8_is_written_as_it_is_and_another_one_is_marked() {
        assert_eq!(
            text(path("tür/ä\u{fffd}.png".as_bytes())),
            "tür/ä\u{fffd}.png"
        );
        assert_eq!(text(path(b"t\xfcr/\xe4.png")), "t\\xfcr/\\xe4.png");
        assert_ne!(text(path(b"\xe4.png")), text(path(b"\xe5.png")));
    }
}
