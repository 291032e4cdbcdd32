//! Held-out good images: which of them can be used, what they score, and what a bundle takes from
//! that.
//!
//! Everything that calibrates goes this way, so that a promise means the same wherever it is made.
//! The module reports through a callback and prints nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::digest::Digest;

use crate::bundle::{GoldenInput, GoodImage, Thresholds, choose_golden};
use crate::decode::{DecodeError, decode_file};
use crate::digest::sha256_file;
use crate::failure::with_causes;
use crate::scorer::{Scorer, ScorerError};

/// What a threshold is to promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// Share of good parts that are rejected at most, in `(0, 1)`.
    pub false_reject_rate: f64,
    /// Take the lowest rate that the images can promise where they are too few.
    pub accept_achievable: bool,
}

impl Promise {
    /// The threshold for the scores of held-out good images.
    ///
    /// # Errors
    /// If they are too few for the rate, or not all finite.
    pub fn calibrate(&self, scores: Vec<f32>) -> Result<Calibration, CalibrationError> {
        if self.accept_achievable {
            Calibration::from_scores_or_achievable(scores, self.false_reject_rate)
        } else {
            Calibration::from_scores(scores, self.false_reject_rate)
        }
    }

    /// Whether so many images are enough, before any is scored.
    ///
    /// # Errors
    /// If they are too few for the rate.
    pub fn check(&self, images: usize) -> Result<(), CalibrationError> {
        self.calibrate(vec![0.0; images]).map(drop)
    }
}

/// What is reported of the images.
pub enum Progress<'a> {
    /// An image cannot be used.
    Skipped {
        /// Its file.
        path: &'a Path,
        /// Why, in words.
        reason: &'a str,
    },
    /// So many are scored.
    Scored {
        /// Images that were looked at.
        done: usize,
        /// Images in all.
        total: usize,
    },
}

/// Images that trained the model are among those that are to calibrate it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{trained} of the {total} images trained this model, {} among them: a threshold from images \
     that the model knows would be too low; use other good images", first.display()
)]
pub struct TrainedOn {
    /// How many.
    pub trained: usize,
    /// Images in all.
    pub total: usize,
    /// The first one.
    pub first: PathBuf,
}

/// Hears of progress, and may end the scoring.
pub type Observer<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// The caller asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

fn tell(observe: &mut Observer, progress: Progress) -> Result<(), Interrupted> {
    match observe(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Interrupted),
    }
}

/// Leaves out what cannot be read, and files that are there twice: two scores of one part are not
/// exchangeable with the next part's.
///
/// # Errors
/// If images trained the model.
pub fn usable(
    paths: Vec<PathBuf>,
    was_trained_on: impl Fn(Digest) -> bool,
    observe: &mut Observer,
) -> Result<Vec<PathBuf>, TrainedOn> {
    let total = paths.len();
    let mut seen: HashMap<Digest, PathBuf> = HashMap::new();
    let mut trained_on: Vec<PathBuf> = Vec::new();
    let mut usable = Vec::new();
    for path in paths {
        let mut skip = |reason: &str| {
            let path = &path;
            // Who wants to stop says so again when the scoring begins.
            tell(observe, Progress::Skipped { path, reason }).ok();
        };
        match sha256_file(&path) {
            Err(error) => skip(&error.to_string()),
            Ok(digest) if was_trained_on(digest) => trained_on.push(path),
            Ok(digest) => match seen.entry(digest) {
                Entry::Occupied(earlier) => {
                    skip(&format!("the same file as {}", earlier.get().display()));
                }
                Entry::Vacant(place) => {
                    place.insert(path.clone());
                    usable.push(path);
                }
            },
        }
    }
    match trained_on.first() {
        None => Ok(usable),
        Some(first) => Err(TrainedOn {
            trained: trained_on.len(),
            total,
            first: first.clone(),
        }),
    }
}

/// Held-out good images that were scored.
pub struct HeldOut {
    paths: Vec<PathBuf>,
    good: Vec<GoodImage>,
}

impl HeldOut {
    /// Images with what is known of them.
    pub fn new(images: impl IntoIterator<Item = (PathBuf, GoodImage)>) -> Self {
        let (paths, good) = images.into_iter().unzip();
        Self { paths, good }
    }

    /// Scores what can be scored; reports and leaves out what cannot.
    ///
    /// # Errors
    /// [`Interrupted`], if the observer wants to stop.
    pub fn score(
        scorer: &mut Scorer,
        paths: Vec<PathBuf>,
        observe: &mut Observer,
    ) -> Result<Self, Interrupted> {
        let mut examine = |path: &Path| -> Result<GoodImage, ScorerError> {
            Ok(scorer.examine(&decode_file(path)?)?.into())
        };
        let total = paths.len();
        let mut scored = Vec::with_capacity(total);
        for (done, path) in paths.into_iter().enumerate() {
            tell(observe, Progress::Scored { done, total })?;
            match examine(&path) {
                Ok(image) => scored.push((path, image)),
                Err(error) => {
                    let reason = &with_causes(&error);
                    tell(
                        observe,
                        Progress::Skipped {
                            path: &path,
                            reason,
                        },
                    )?;
                }
            }
        }
        Ok(Self::new(scored))
    }

    /// Their scores, in order.
    pub fn scores(&self) -> Vec<f32> {
        self.good.iter().map(|image| image.score).collect()
    }

    /// All thresholds that follow from them.
    ///
    /// # Errors
    /// If they are too few for the promise, or a score or map is not finite.
    pub fn thresholds(&self, promise: &Promise) -> Result<Thresholds, CalibrationError> {
        Thresholds::from_good(&self.good, |scores| promise.calibrate(scores))
    }

    /// The pictures that every device has to score as this one did.
    ///
    /// # Errors
    /// If a picture can no longer be decoded.
    pub fn golden(&self, calibration: &Calibration) -> Result<Vec<GoldenInput>, DecodeError> {
        let scores = self.scores();
        let input = |place: usize| {
            Ok(GoldenInput {
                image: decode_file(&self.paths[place])?,
                score: scores[place],
            })
        };
        choose_golden(&scores, calibration)
            .into_iter()
            .map(input)
            .collect()
    }
}
