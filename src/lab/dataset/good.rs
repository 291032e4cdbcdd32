//! Names of folders of good parts.

use std::path::Path;

/// The folder name that means "without a defect".
pub const GOOD: &str = "good";

/// Common names for good parts, in lower case and letters only. A kind of defect is not named like
/// this; if one is, `--good` resolves it.
const LIKE_GOOD: [&str; 27] = [
    "accept",
    "accepted",
    "clean",
    "defectfree",
    "faultfree",
    "fehlerfrei",
    "flawless",
    "free",
    "good",
    "goods",
    "gut",
    "healthy",
    "intact",
    "io",
    "nodefect",
    "nodefects",
    "nominal",
    "nondefective",
    "nondefect",
    "normal",
    "normals",
    "ok",
    "okay",
    "oks",
    "pass",
    "passed",
    "undamaged",
];

/// Returns `true` if a folder is named like good parts: `ok`, `Good`, `OK`, `good_parts`,
/// `defect-free`, …
pub(crate) fn like_good(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = plain(&name);
    let name = ["parts", "part", "images", "imgs", "samples"]
        .iter()
        .find_map(|noun| name.strip_suffix(noun))
        .unwrap_or(&name);
    LIKE_GOOD.contains(&name)
}

/// Returns a name in lower case, letters only.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphabetic());
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_good_parts_are_known_in_their_usual_forms() {
        for name in [
            "good",
            "Good",
            "ok",
            "OK",
            "Ok_1",
            "normal",
            "pass",
            "iO",
            "i.O.",
            "defect-free",
            "non_defective",
            "good parts",
            "OK_images",
        ] {
            assert!(like_good(Path::new(name)), "{name}");
        }
        for name in [
            "crack", "not_ok", "niO", "nok", "bad", "abnormal", "", "12", "broken",
        ] {
            assert!(!like_good(Path::new(name)), "{name}");
        }
    }
}
