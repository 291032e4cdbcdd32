//! The depth of the pictures of a set, which a bundle records for pictures of more than 8 bits.
//!
//! Files of 16 bits per channel usually do not state how many bits their camera delivers. One
//! picture does not show it, because it may be dark; all good pictures of a part do, by their
//! highest value. The result is reported, and can be overridden; nothing is assumed silently.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use flawd_core::depth::Depth;
use flawd_core::interrupted::Interrupted;

use super::decode::{self, Samples};

/// A summary of the pictures of a set.
#[derive(Clone, Debug, Default)]
struct Survey {
    /// Number of pictures of 8 bits.
    eight: usize,
    /// Depths stated by pictures of more bits.
    stated: BTreeSet<Depth>,
    /// Number of pictures of more bits that do not state a depth.
    unstated: usize,
    /// The highest value of those, and its file.
    highest: Option<(u16, PathBuf)>,
}

/// The depth that applies to a set, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `None` if the pictures have 8 bits, or state different depths.
    pub depth: Option<Depth>,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// No picture has more than 8 bits.
    Eight,
    /// The user stated it.
    Asked,
    /// Each picture of more than 8 bits states it.
    Stated(Vec<Depth>),
    /// Their highest value shows it.
    Highest { value: u16, pictures: usize },
}

/// Why a set has no depth.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The user stated a depth that is too small for the pictures.
    #[error(
        "--depth {}: values of such pictures end at {}, and {} has {highest}: state {} or more, or \
         leave that picture out", u8::from(*asked), asked.white(), path.display(),
        u8::from(Depth::holding(*highest))
    )]
    Exceeded {
        /// The stated depth.
        asked: Depth,
        /// The highest value.
        highest: u16,
        /// Its file.
        path: PathBuf,
    },
    /// Some pictures have 8 bits, and others have values that imply another brightness.
    #[error(
        "{deep} pictures have 16 bits a channel and values up to {highest} in them, {eight} have 8 \
         bits, so which brightness is the same is not known: state the bits that the camera gives \
         with --depth BITS (their values suggest {}), or save all pictures alike",
        u8::from(Depth::holding(*highest))
    )]
    Mixed {
        /// Number of pictures of 16 bits.
        deep: usize,
        /// Number of pictures of 8 bits.
        eight: usize,
        /// The highest value of the pictures of 16 bits.
        highest: u16,
    },
    /// The caller asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Receives how many pictures of how many were examined, and may stop the examination.
pub type Observer<'a> = dyn FnMut(usize, usize) -> Result<(), Interrupted> + 'a;

/// Examines all pictures of a set. `asked` is the depth stated by the user. Pictures that cannot be
/// read are ignored.
///
/// # Errors
/// [`SetError`].
pub fn of_set<'a>(
    paths: impl ExactSizeIterator<Item = &'a Path>,
    asked: Option<Depth>,
    observe: &mut Observer,
) -> Result<Found, SetError> {
    let mut survey = Survey::default();
    let total = paths.len();
    for (done, path) in paths.enumerate() {
        observe(done, total)?;
        let bytes = decode::read(path);
        if let Ok(samples) = bytes.and_then(|bytes| decode::samples(path, &bytes)) {
            survey.add(path, samples);
        }
    }
    survey.depth(asked)
}

impl Survey {
    fn add(&mut self, path: &Path, samples: Samples) {
        match samples {
            Samples::Eight => self.eight += 1,
            Samples::Stated(depth) => {
                self.stated.insert(depth);
            }
            Samples::Unstated(value) => {
                self.unstated += 1;
                if self.highest.as_ref().is_none_or(|(most, _)| value > *most) {
                    self.highest = Some((value, path.to_owned()));
                }
            }
        }
    }

    fn depth(self, asked: Option<Depth>) -> Result<Found, SetError> {
        if let Some(asked) = asked {
            return match self.highest {
                Some((highest, path)) if highest > asked.white() => Err(SetError::Exceeded {
                    asked,
                    highest,
                    path,
                }),
                _ => Ok(Found {
                    depth: Some(asked),
                    why: Why::Asked,
                }),
            };
        }
        let Some((highest, _)) = self.highest else {
            return Ok(Found::stated(self.stated));
        };
        let suggested = Depth::holding(highest);
        // White is the same at 16 bits as at 8 bits.
        if self.eight > 0 && suggested < Depth::FULL {
            return Err(SetError::Mixed {
                deep: self.unstated,
                eight: self.eight,
                highest,
            });
        }
        // If some state that the camera delivers more bits, the others come from the same camera.
        let stated = self.stated.last().copied();
        Ok(Found {
            depth: stated.max(Some(suggested)),
            why: Why::Highest {
                value: highest,
                pictures: self.unstated,
            },
        })
    }
}

impl Found {
    fn stated(depths: BTreeSet<Depth>) -> Self {
        let depths: Vec<Depth> = depths.into_iter().collect();
        match depths[..] {
            [] => Self {
                depth: None,
                why: Why::Eight,
            },
            [depth] => Self {
                depth: Some(depth),
                why: Why::Stated(depths),
            },
            _ => Self {
                depth: None,
                why: Why::Stated(depths),
            },
        }
    }

    /// Returns `true` if there is something to report: pictures have more than 8 bits.
    pub fn is_worth_saying(&self) -> bool {
        self.why != Why::Eight
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.why, self.depth) {
            (Why::Eight, _) | (Why::Asked, None) => f.write_str("8 bits"),
            (Why::Asked, Some(depth)) => write!(f, "{depth}, as --depth says"),
            (Why::Stated(_), Some(depth)) => write!(f, "{depth}, as the files say"),
            (Why::Stated(depths), None) => {
                let depths: Vec<String> = depths.iter().map(Depth::to_string).collect();
                write!(f, "as each file says: {}", depths.join(", "))
            }
            (Why::Highest { value, pictures }, depth) => {
                let depth = depth.unwrap_or(Depth::FULL);
                write!(
                    f,
                    "{depth}, as the values of {pictures} pictures of 16 bits a channel end at \
                     {value}; if the camera gives more, state it with --depth BITS"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(bits: u8) -> Depth {
        Depth::try_from(bits).unwrap()
    }

    fn found(samples: &[Samples], asked: Option<u8>) -> Result<Found, SetError> {
        let mut survey = Survey::default();
        for (number, samples) in samples.iter().enumerate() {
            survey.add(Path::new(&format!("{number}.png")), *samples);
        }
        survey.depth(asked.map(bits))
    }

    #[test]
    fn the_highest_value_of_all_pictures_decides_unless_something_is_stated() {
        use Samples::{Eight, Stated, Unstated};
        let twelve = Stated(bits(12));
        type Case<'a> = (&'a [Samples], Option<u8>, Option<u8>, &'a str);
        let cases: [Case<'_>; 13] = [
            (&[], None, None, "8 bits"),
            (&[Eight, Eight], None, None, "8 bits"),
            (&[Eight], Some(12), Some(12), "as --depth says"),
            (
                &[Unstated(9), Unstated(4095)],
                None,
                Some(12),
                "end at 4095",
            ),
            (&[Unstated(900), Unstated(7)], None, Some(10), "2 pictures"),
            (&[Unstated(900)], Some(12), Some(12), "as --depth says"),
            (&[Unstated(4095)], Some(16), Some(16), "as --depth says"),
            (&[Unstated(65520)], None, Some(16), "end at 65520"),
            (&[Unstated(200)], None, Some(8), "8 bits, as the values"),
            (&[twelve, twelve], None, Some(12), "as the files say"),
            (&[twelve, Stated(bits(10))], None, None, "10 bits, 12 bits"),
            (&[twelve, Unstated(900)], None, Some(12), "end at 900"),
            // White is the same in both.
            (&[Eight, Unstated(65535)], None, Some(16), "end at 65535"),
        ];
        for (samples, asked, depth, words) in cases {
            let found = found(samples, asked).unwrap();
            assert_eq!(found.depth.map(u8::from), depth, "{samples:?}");
            assert!(found.to_string().contains(words), "{found} of {samples:?}");
        }
    }

    #[test]
    fn a_depth_that_does_not_hold_the_pictures_and_a_mixed_set_are_refused() {
        use Samples::{Eight, Unstated};
        let said = |samples: &[Samples], asked| found(samples, asked).unwrap_err().to_string();
        let error = said(&[Unstated(4095), Unstated(5000)], Some(12));
        for part in ["--depth 12", "4095", "1.png", "5000", "state 14"] {
            assert!(error.contains(part), "{error}");
        }
        let error = said(&[Eight, Unstated(4095)], None);
        assert!(
            error.contains("--depth") && error.contains("suggest 12"),
            "{error}"
        );
        assert_eq!(
            found(&[Eight, Unstated(4095)], Some(12)).unwrap().depth,
            Some(bits(12))
        );
    }
}
