//! The normalisation that a backbone expects of its pixels.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Maps a byte `b` of channel `c` to `(b / 255 - mean[c]) / std[c]`, and orders the channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Subtracted from values in `0..=1`, in the backbone's channel order.
    pub mean: [f32; 3],
    /// Divided by, in the backbone's channel order; finite and above zero.
    pub std: [f32; 3],
    /// The order in which the backbone expects its channels. Images come as RGB.
    pub channel_order: ChannelOrder,
}

/// The order of colour channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// A normalisation that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NormalisationError {
    /// Only some of the properties are present.
    #[error("the metadata has `{present}` but not `{missing}`")]
    Incomplete {
        /// A property that the file has.
        present: &'static str,
        /// The property that it lacks.
        missing: &'static str,
    },
    /// Three finite numbers were expected.
    #[error("`{key}` must be three finite numbers such as `0.485,0.456,0.406`, not `{value}`")]
    NotThreeNumbers {
        /// The property.
        key: &'static str,
        /// What it holds.
        value: String,
    },
    /// A division by zero or by a negative number.
    #[error("`std` must be above zero, not `{0}`")]
    BadDeviation(String),
    /// Numbers for bytes instead of shares of 255.
    #[error(
        "`{key}` is {value}, which is about values from 0 to 255: write mean and std for values from 0 \
         to 1, that is each divided by 255"
    )]
    Bytes {
        /// The property.
        key: &'static str,
        /// What it holds.
        value: String,
    },
    /// Neither RGB nor BGR.
    #[error("`channel_order` must be RGB or BGR, not `{0}`")]
    UnknownOrder(String),
}

impl Normalisation {
    /// The usual one of networks trained on ImageNet.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        channel_order: ChannelOrder::Rgb,
    };

    /// From -1 to 1: networks trained as Inception was, and timm's of TensorFlow's lite ones.
    pub const INCEPTION: Self = Self {
        mean: [0.5; 3],
        std: [0.5; 3],
        channel_order: ChannelOrder::Rgb,
    };

    /// `(b - 127) / 128`: EfficientNet-Lite as it was published, whose weights were made to be
    /// quantised to bytes.
    pub const LITE: Self = Self {
        mean: [127.0 / 255.0; 3],
        std: [128.0 / 255.0; 3],
        channel_order: ChannelOrder::Rgb,
    };

    /// Reads the properties `mean`, `std` and `channel_order`; `None` if the first two are absent.
    /// The order defaults to RGB.
    ///
    /// # Errors
    /// If one of `mean` and `std` is absent, or a property is malformed.
    pub fn from_properties<'a>(
        property: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Self>, NormalisationError> {
        let incomplete = |present, missing| NormalisationError::Incomplete { present, missing };
        let (mean, std) = match (property("mean"), property("std")) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(incomplete("mean", "std")),
            (None, Some(_)) => return Err(incomplete("std", "mean")),
            (Some(mean), Some(std)) => (three("mean", mean)?, three("std", std)?),
        };
        if std.iter().any(|&x| x <= 0.0) {
            let std = property("std").unwrap_or_default();
            return Err(NormalisationError::BadDeviation(std.to_owned()));
        }
        for (key, values) in [("mean", mean), ("std", std)] {
            // No backbone wants white below its mean, or all pixels within less than 1.
            if values.iter().any(|&x| x > 1.0) {
                let value = property(key).unwrap_or_default().to_owned();
                return Err(NormalisationError::Bytes { key, value });
            }
        }
        let channel_order = match property("channel_order") {
            None => ChannelOrder::Rgb,
            Some(text) => match text.trim().to_ascii_uppercase().as_str() {
                "RGB" => ChannelOrder::Rgb,
                "BGR" => ChannelOrder::Bgr,
                _ => return Err(NormalisationError::UnknownOrder(text.to_owned())),
            },
        };
        Ok(Some(Self {
            mean,
            std,
            channel_order,
        }))
    }

    /// Returns the properties that [`Normalisation::from_properties`] reads back.
    pub fn to_properties(self) -> [(&'static str, String); 3] {
        let join = |numbers: [f32; 3]| numbers.map(|x| x.to_string()).join(",");
        [
            ("mean", join(self.mean)),
            ("std", join(self.std)),
            ("channel_order", self.channel_order.to_string()),
        ]
    }
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
        })
    }
}

fn three(key: &'static str, text: &str) -> Result<[f32; 3], NormalisationError> {
    let numbers: Option<Vec<f32>> = text
        .trim_matches(['[', ']', ' '])
        .split(',')
        .map(|number| number.trim().parse().ok().filter(|x: &f32| x.is_finite()))
        .collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| NormalisationError::NotThreeNumbers {
            key,
            value: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &[(&str, &str)]) -> Result<Option<Normalisation>, NormalisationError> {
        Normalisation::from_properties(|key| {
            let found = properties.iter().find(|(name, _)| *name == key)?;
            Some(found.1)
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        let normalisation = Normalisation {
            mean: [0.5, 0.25, 0.1],
            channel_order: ChannelOrder::Bgr,
            ..Normalisation::IMAGENET
        };
        let written = normalisation.to_properties();
        let borrowed = written
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        assert_eq!(read(&borrowed), Ok(Some(normalisation)));
    }

    #[test]
    fn nothing_said_is_no_normalisation() {
        assert_eq!(read(&[("author", "x")]), Ok(None));
    }

    #[test]
    fn numbers_for_bytes_are_refused_with_what_to_write() {
        for (mean, std, key) in [
            ("123.675,116.28,103.53", "58.395,57.12,57.375", "`mean`"),
            ("0,0,0", "255,255,255", "`std`"),
        ] {
            let error = read(&[("mean", mean), ("std", std)]).expect_err("for bytes");
            let said = error.to_string();
            assert!(
                said.contains(key) && said.contains("divided by 255"),
                "{said}"
            );
        }
        assert!(read(&[("mean", "0,0,0"), ("std", "1,1,1")]).is_ok());
    }

    #[test]
    fn half_said_and_wrongly_said_are_errors() {
        let wrong: [&[(&str, &str)]; 5] = [
            &[("mean", "0,0,0")],
            &[("std", "1,1,1")],
            &[("mean", "0,0"), ("std", "1,1,1")],
            &[("mean", "0,0,0"), ("std", "1,0,1")],
            &[
                ("mean", "0,0,0"),
                ("std", "1,1,1"),
                ("channel_order", "GRB"),
            ],
        ];
        for properties in wrong {
            assert!(read(properties).is_err(), "{properties:?}");
        }
    }
}
