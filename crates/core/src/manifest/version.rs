//! The version of a bundle, which counts up by what changed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Version of a bundle: `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleVersion {
    /// Another model.
    pub major: u32,
    /// Another threshold.
    pub minor: u32,
    /// Another description.
    pub patch: u32,
}

impl BundleVersion {
    /// The first version of a bundle.
    pub const FIRST: Self = Self {
        major: 1,
        minor: 0,
        patch: 0,
    };

    /// Returns the version after a new calibration.
    pub fn recalibrated(self) -> Self {
        Self {
            minor: self.minor.saturating_add(1),
            patch: 0,
            ..self
        }
    }

    /// Returns the version after a change that no verdict depends on.
    pub fn redescribed(self) -> Self {
        Self {
            patch: self.patch.saturating_add(1),
            ..self
        }
    }
}

impl fmt::Display for BundleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A string that is not a [`BundleVersion`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a version: three numbers such as 1.0.0 are expected")]
pub struct BundleVersionError(String);

impl FromStr for BundleVersion {
    type Err = BundleVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(BundleVersionError(text.to_owned())),
        }
    }
}

impl Serialize for BundleVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BundleVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_by_what_changed() {
        let version: BundleVersion = "2.3.4".parse().expect("a version");
        assert_eq!(version.recalibrated().to_string(), "2.4.0");
        assert_eq!(version.redescribed().to_string(), "2.3.5");
        for wrong in ["", "1.2", "1.2.3.4", "1.2.x", "v1.2.3"] {
            assert!(wrong.parse::<BundleVersion>().is_err(), "{wrong}");
        }
    }
}
