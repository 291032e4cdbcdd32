//! The sets of real pictures, all in the MVTec AD layout.

use std::path::Path;

/// A set of real pictures.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// Name of its folder.
    pub(crate) name: &'static str,
}

/// Every set; docs/detection.md says what they are.
pub(crate) const SETS: [Set; 5] = [
    Set { name: "mtd" },
    Set { name: "bottle" },
    Set { name: "screw" },
    Set { name: "solar_mono" },
    Set { name: "deeppcb" },
];

impl Set {
    /// Returns whether `data` has pictures of the set for training and for testing.
    pub(super) fn is_in(&self, data: &Path) -> bool {
        let folder = data.join(self.name);
        folder.join("train/good").is_dir() && folder.join("test").is_dir()
    }

    /// Finds a set by its name.
    pub(super) fn named(name: &str) -> Result<&'static Self, String> {
        SETS.iter().find(|set| set.name == name).ok_or_else(|| {
            let names: Vec<&str> = SETS.iter().map(|set| set.name).collect();
            format!("`{name}` is not a set; there are {}", names.join(", "))
        })
    }
}
