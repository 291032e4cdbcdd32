//! Certain changes, as a user states them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::Change;
use super::kind::{ChangeError, ChangeKind, parts};

/// Certain changes, at least one, in the order in which they happen to a picture.
///
/// As text, `noise=2%,light=-5%`: the kinds and ranges of [`Variation`](super::Variation), with a
/// sign if a kind has two directions. `shift=2` is to the right and `shift=2:-1` also up.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeList(Vec<(ChangeKind, Change)>);

impl ChangeList {
    /// Returns the changes, for [`apply_all`](super::apply_all).
    pub fn changes(&self) -> Vec<Change> {
        self.0.iter().map(|(_, change)| *change).collect()
    }
}

impl FromStr for ChangeList {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut changes = Vec::new();
        for (kind, value) in parts(text)? {
            changes.push((kind, change(kind, value)?));
        }
        let order = |kind: ChangeKind| ChangeKind::ALL.iter().position(|other| *other == kind);
        changes.sort_by_key(|(kind, _)| order(*kind));
        Ok(Self(changes))
    }
}

fn change(kind: ChangeKind, value: &str) -> Result<Change, ChangeError> {
    let number = |text| kind.signed(text);
    Ok(match kind {
        ChangeKind::Light => Change::Light(1.0 + number(value)?),
        ChangeKind::Noise => Change::Noise(number(value)?),
        ChangeKind::Blur => Change::Blur(number(value)?),
        // A whole number from 5 to 100.
        ChangeKind::Jpeg => Change::Jpeg(number(value)? as u8),
        ChangeKind::Shift => {
            let (x, y) = value.split_once(':').unwrap_or((value, "0"));
            let (x, y) = (number(x)?, number(y)?);
            Change::Shift { x, y }
        }
        ChangeKind::Zoom => Change::Zoom(1.0 + number(value)?),
        ChangeKind::Turn => Change::Turn(number(value)?),
    })
}

impl fmt::Display for ChangeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.0.iter().map(|(kind, change)| {
            let value = match *change {
                Change::Light(factor) | Change::Zoom(factor) => kind.value(factor - 1.0),
                Change::Noise(value) | Change::Blur(value) | Change::Turn(value) => {
                    kind.value(value)
                }
                Change::Jpeg(quality) => kind.value(quality.into()),
                Change::Shift { x, y: 0.0 } => kind.value(x),
                Change::Shift { x, y } => format!("{}:{}", kind.value(x), kind.value(y)),
            };
            format!("{kind}={value}")
        });
        f.write_str(&texts.collect::<Vec<_>>().join(","))
    }
}

impl Serialize for ChangeList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
