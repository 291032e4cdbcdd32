//! The kinds of changes as text: `light=10%,noise=2%,turn=3`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::messages::nearest;

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Brightness, per cent.
    Light,
    /// Sensor noise, per cent of white.
    Noise,
    /// Blur, pixels.
    Blur,
    /// Quality of a JPEG.
    Jpeg,
    /// Movement, pixels.
    Shift,
    /// Distance of the camera, per cent.
    Zoom,
    /// Rotation, degrees.
    Turn,
}

/// Text that names no changes, or changes out of range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChangeError {
    /// Nothing at all.
    #[error("no changes: write KIND=VALUE, for example light=10%,noise=2%")]
    Empty,
    /// A part without a value.
    #[error("`{0}` has no value: write KIND=VALUE, for example noise=2%")]
    NoValue(String),
    /// A kind that does not exist.
    #[error(
        "`{typed}` is not a kind of change{}; the kinds are {}",
        match .suggested {
            Some(kind) => format!(", did you mean `{kind}`?"),
            None => String::new(),
        },
        ChangeKind::ALL.map(ChangeKind::name).join(", ")
    )]
    Unknown {
        /// The given name.
        typed: String,
        /// The one that was probably meant.
        suggested: Option<&'static str>,
    },
    /// A kind that is given twice.
    #[error("`{0}` is given twice")]
    Twice(ChangeKind),
    /// A value that is not a number of the kind's unit.
    #[error("`{text}` is not a value of `{kind}`: write {}", .kind.form())]
    NotANumber {
        /// The kind.
        kind: ChangeKind,
        /// The given value.
        text: String,
    },
    /// A value that is too large or too small.
    #[error("`{kind}={text}` is out of range: it must be from {from} to {to}")]
    OutOfRange {
        /// The kind.
        kind: ChangeKind,
        /// The given value.
        text: String,
        /// The least value.
        from: String,
        /// The greatest value.
        to: String,
    },
}

impl ChangeKind {
    /// Every kind, in the order in which a picture is changed: the camera moves, the light and the
    /// lens act, the sensor adds its noise, the picture is saved.
    pub const ALL: [Self; 7] = [
        Self::Turn,
        Self::Zoom,
        Self::Shift,
        Self::Light,
        Self::Blur,
        Self::Noise,
        Self::Jpeg,
    ];

    /// Returns its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Noise => "noise",
            Self::Blur => "blur",
            Self::Jpeg => "jpeg",
            Self::Shift => "shift",
            Self::Zoom => "zoom",
            Self::Turn => "turn",
        }
    }

    /// Returns how a value is written, as the end of a sentence.
    fn form(self) -> &'static str {
        match self {
            Self::Light => "it in per cent, for example light=10%",
            Self::Noise => "the standard deviation in per cent of white, for example noise=2%",
            Self::Blur => "the standard deviation in pixels, for example blur=0.7",
            Self::Jpeg => "the quality as a whole number, for example jpeg=60",
            Self::Shift => "it in pixels, for example shift=2",
            Self::Zoom => "it in per cent, for example zoom=2%",
            Self::Turn => "it in degrees, for example turn=3",
        }
    }

    fn is_share(self) -> bool {
        matches!(self, Self::Light | Self::Noise | Self::Zoom)
    }

    /// Returns the range of its values, in the units of its text. What is beyond is another scene
    /// rather than a small change; not measured.
    fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::Light => 0.0..=50.0,
            Self::Noise | Self::Zoom => 0.0..=20.0,
            Self::Blur => 0.0..=10.0,
            Self::Jpeg => 5.0..=100.0,
            Self::Shift => 0.0..=64.0,
            Self::Turn => 0.0..=45.0,
        }
    }

    /// Reads the greatest change of this kind, without a sign: shares of 1, pixels, degrees, or a
    /// quality.
    pub(super) fn limit(self, text: &str) -> Result<f64, ChangeError> {
        self.number(text, self.range())
    }

    /// Reads one change of this kind, which may have a sign if it has two directions.
    pub(super) fn signed(self, text: &str) -> Result<f64, ChangeError> {
        let range = self.range();
        let has_directions = matches!(self, Self::Light | Self::Shift | Self::Zoom | Self::Turn);
        let from = if has_directions {
            -range.end()
        } else {
            *range.start()
        };
        self.number(text, from..=*range.end())
    }

    fn number(self, text: &str, range: RangeInclusive<f64>) -> Result<f64, ChangeError> {
        let not_a_number = || ChangeError::NotANumber {
            kind: self,
            text: text.to_owned(),
        };
        let digits = match self.is_share() {
            true => text.strip_suffix('%').ok_or_else(not_a_number)?,
            false => text,
        };
        let number: f64 = digits.trim().parse().map_err(|_| not_a_number())?;
        let is_whole = number.fract() == 0.0;
        if number.is_nan() || self == Self::Jpeg && number.is_finite() && !is_whole {
            return Err(not_a_number());
        }
        if !range.contains(&number) {
            return Err(ChangeError::OutOfRange {
                kind: self,
                text: text.to_owned(),
                from: self.with_unit(*range.start()),
                to: self.with_unit(*range.end()),
            });
        }
        let number = rounded(number);
        Ok(if self.is_share() {
            number / 100.0
        } else {
            number
        })
    }

    /// Returns the text of a value that [`limit`](Self::limit) or [`signed`](Self::signed) reads
    /// back.
    pub(super) fn value(self, value: f64) -> String {
        self.with_unit(rounded(if self.is_share() {
            100.0 * value
        } else {
            value
        }))
    }

    fn with_unit(self, number: f64) -> String {
        let unit = if self.is_share() { "%" } else { "" };
        // Adding 0 makes a negative zero positive.
        format!("{}{unit}", number + 0.0)
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rounds to millionths, so that a value and its text are one and the same.
fn rounded(number: f64) -> f64 {
    (1e6 * number).round() / 1e6
}

/// Splits text into kinds and their values, at least one, none twice.
pub(super) fn parts(text: &str) -> Result<Vec<(ChangeKind, &str)>, ChangeError> {
    let mut parts: Vec<(ChangeKind, &str)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err(ChangeError::Empty);
        }
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim(), value.trim());
        let kind = ChangeKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| ChangeError::Unknown {
            typed: name.to_owned(),
            suggested: nearest(name, ChangeKind::ALL.map(ChangeKind::name)),
        })?;
        if value.is_empty() {
            return Err(ChangeError::NoValue(part.to_owned()));
        }
        if parts.iter().any(|(other, _)| *other == kind) {
            return Err(ChangeError::Twice(kind));
        }
        parts.push((kind, value));
    }
    Ok(parts)
}
