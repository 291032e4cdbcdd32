//! Which pictures of a calibration stand apart from the others, and the decision about them.
//!
//! Leaving a picture out because of its score would break the promise, which holds for scores that
//! were not selected; keeping a black frame would yield a line that rejects nothing. So flawd does
//! neither on its own: it lists the pictures and refuses, the user decides, and the bundle records
//! the decision.

use std::fmt;
use std::path::{Path, PathBuf};

use flawd_core::calibration::Calibration;
use flawd_core::manifest::SelectionRecord;
use flawd_core::outliers::standing_apart;
use flawd_core::quality::QualityLimits;

use crate::bundle::GoodImage;

/// What the user decided about the pictures of a calibration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Pictures to leave out: paths, or plain file names.
    pub exclude: Vec<PathBuf>,
    /// Pictures that stand apart from the others are good parts as well.
    pub accept_outliers: bool,
}

/// A picture to leave out does not exist.
#[derive(Debug, thiserror::Error)]
#[error("--exclude {}: no such picture is among the {of} that were found", path.display())]
pub struct NotThere {
    /// What was given.
    path: PathBuf,
    /// Number of pictures that exist.
    of: usize,
}

impl Selection {
    /// Divides `paths` into those that are used and the names of those that are left out.
    ///
    /// # Errors
    /// If one that should be left out does not exist.
    pub fn apply(&self, paths: Vec<PathBuf>) -> Result<(Vec<PathBuf>, Vec<String>), NotThere> {
        let of = paths.len();
        let missing = |given: &&PathBuf| !paths.iter().any(|path| is_meant(given, path));
        if let Some(path) = self.exclude.iter().find(missing) {
            return Err(NotThere {
                path: path.clone(),
                of,
            });
        }
        let (out, used): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|path| self.leaves_out(path));
        Ok((used, out.iter().map(|path| name(path)).collect()))
    }

    /// Returns `true` if this picture should be left out.
    pub fn leaves_out(&self, path: &Path) -> bool {
        self.exclude.iter().any(|given| is_meant(given, path))
    }
}

/// Returns `true` if `given` is this path, or its file name.
fn is_meant(given: &Path, path: &Path) -> bool {
    given == path || path.file_name() == Some(given.as_os_str())
}

/// Pictures stand apart from the others, and were not accepted.
#[derive(Debug)]
pub struct StandApart {
    /// The file of each, and how it stands apart.
    pub pictures: Vec<(PathBuf, String)>,
    /// Number of pictures in the calibration.
    pub of: usize,
    /// The highest of the others, human-readable.
    next: String,
}

impl std::error::Error for StandApart {}

impl fmt::Display for StandApart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of the {} calibration pictures stand apart from the others, and a threshold that \
             they set would let defects pass:",
            self.pictures.len(),
            self.of
        )?;
        for (path, how) in &self.pictures {
            writeln!(f, "  {}: {how}", path.display())?;
        }
        writeln!(f, "the highest of the others: {}", self.next)?;
        write!(
            f,
            "look at them: --exclude NAME leaves one out that is not a good part, --accept-outliers \
             takes all as good parts"
        )
    }
}

/// The pictures of a calibration, the highest score first.
pub(crate) struct Standing<'a> {
    pictures: Vec<(&'a Path, &'a GoodImage)>,
    /// How many of them stand apart by their score.
    apart: usize,
}

impl<'a> Standing<'a> {
    pub(crate) fn new(paths: &'a [PathBuf], good: &'a [GoodImage]) -> Self {
        let scores: Vec<f32> = good.iter().map(|image| image.score).collect();
        let mut pictures: Vec<_> = paths.iter().map(PathBuf::as_path).zip(good).collect();
        pictures.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        Self {
            pictures,
            apart: standing_apart(&scores),
        }
    }

    /// Returns those that stand apart, by their score or because the limits of the others reject
    /// them.
    pub(crate) fn odd(&self, limits: &QualityLimits) -> Vec<(PathBuf, String)> {
        let next = self.pictures.get(self.apart).map(|(_, image)| image.score);
        let odd = self.pictures.iter().enumerate();
        odd.filter_map(|(rank, (path, image))| {
            let mut how = Vec::new();
            if rank < self.apart {
                let next = next.unwrap_or(image.score);
                how.push(format!(
                    "score {}, {} times the highest of the others",
                    short(image.score),
                    short(image.score / next)
                ));
            }
            if let Err(error) = limits.check(&image.measured) {
                how.push(error.to_string());
            }
            (!how.is_empty()).then(|| ((*path).to_owned(), how.join("; ")))
        })
        .collect()
    }

    /// Returns the error that lists `odd`.
    pub(crate) fn refused(&self, odd: Vec<(PathBuf, String)>) -> StandApart {
        const NEXT: usize = 3;
        let others = self.pictures.iter().skip(self.apart);
        let others = others.filter(|(path, _)| !odd.iter().any(|(odd, _)| odd == path));
        let next: Vec<String> = others.take(NEXT).map(described).collect();
        StandApart {
            of: self.pictures.len(),
            next: next.join(", "),
            pictures: odd,
        }
    }

    /// Returns the pictures that set the threshold, and how far they are from the rest,
    /// human-readable.
    pub(crate) fn highest(&self, calibration: &Calibration) -> String {
        const LEAST: usize = 3;
        const MOST: usize = 5;
        let place = calibration.rejected_ranks();
        let mut words: Vec<String> = Vec::new();
        let shown = place.max(LEAST).min(self.pictures.len());
        for (rank, picture) in (1..=shown).zip(&self.pictures) {
            if shown > MOST && (MOST..place).contains(&rank) {
                if rank == MOST {
                    words.push(format!("{} more", place - MOST));
                }
                continue;
            }
            let mark = if rank == place {
                " sets the threshold"
            } else {
                ""
            };
            words.push(format!("{}{mark}", described(picture)));
        }
        let median = self.pictures[self.pictures.len() / 2].1.score;
        format!("{}; the median is {}", words.join(", "), short(median))
    }
}

/// Returns what a bundle records of the decision.
pub(crate) fn record(excluded: Vec<String>, accepted: &[(PathBuf, String)]) -> SelectionRecord {
    let accepted = accepted.iter();
    SelectionRecord {
        excluded,
        accepted: accepted
            .map(|(path, how)| format!("{}: {how}", name(path)))
            .collect(),
    }
}

/// Returns the name of a picture's file, in printable characters.
fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().replace(char::is_control, "?")
}

fn described((path, image): &(&Path, &GoodImage)) -> String {
    format!("{} {}", name(path), short(image.score))
}

/// Formats a number for reading.
fn short(value: f32) -> String {
    match value {
        0.01..100.0 => format!("{value:.3}"),
        100.0..10_000.0 => format!("{value:.0}"),
        0.0 => "0".to_owned(),
        value => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use flawd_core::quality::Measured;

    use super::*;

    fn image(score: f32) -> GoodImage {
        GoodImage {
            score,
            map_max: score,
            measured: Measured {
                brightness: 100.0,
                sharpness: 30.0,
                condition: None,
            },
        }
    }

    #[test]
    fn the_pictures_at_and_above_the_threshold_are_named() {
        let good: Vec<GoodImage> = (1..=40).map(|n| image(n as f32 / 100.0)).collect();
        let paths: Vec<PathBuf> = (1..=40).map(|n| format!("top/{n}.png").into()).collect();
        let standing = Standing::new(&paths, &good);
        let said = |rate: f64| {
            let scores = good.iter().map(|image| image.score).collect();
            let calibration = Calibration::from_scores(scores, rate).expect("40 scores");
            standing.highest(&calibration)
        };
        assert_eq!(
            said(0.025),
            "40.png 0.400 sets the threshold, 39.png 0.390, 38.png 0.380; the median is 0.200"
        );
        assert_eq!(
            said(0.25),
            "40.png 0.400, 39.png 0.390, 38.png 0.380, 37.png 0.370, 5 more, 31.png 0.310 sets the \
             threshold; the median is 0.200"
        );
    }

    #[test]
    fn a_picture_is_left_out_by_its_path_or_its_name_and_has_to_be_there() {
        let paths: Vec<PathBuf> = ["good/a.png", "good/b.png", "good/c.png"]
            .map(Into::into)
            .into();
        let leave = |given: &[&str]| {
            let exclude = given.iter().map(PathBuf::from).collect();
            let selection = Selection {
                exclude,
                accept_outliers: false,
            };
            selection.apply(paths.clone())
        };
        let (used, out) = leave(&["good/a.png", "c.png"]).expect("both are there");
        assert_eq!(used, [PathBuf::from("good/b.png")]);
        assert_eq!(out, ["a.png", "c.png"]);
        let error = leave(&["d.png"]).expect_err("it is not there").to_string();
        assert!(error.contains("d.png") && error.contains("3"), "{error}");
    }
}
