//! Held-out good images: which of them can be used, their scores, and what a bundle derives from
//! them.
//!
//! All calibrations use this module, so that a promise has the same meaning wherever it is made. It
//! reports through a callback and prints nothing.

mod standing;
mod varied;

pub use standing::{NotThere, Selection, StandApart};

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::interrupted::Interrupted;
use flawd_core::light::LightNormalisation;
use flawd_core::quality::{Measured, QualityError, QualityLimits};

use super::picture::Picture;
use super::variation::Variation;
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::bundle::{GoldenInput, GoodImage, Thresholds, choose_golden, foreign_input};
use crate::messages::with_causes;
use crate::pictures::decode::{DecodeError, decode_file};
use standing::Standing;
pub(crate) use varied::Examined;

/// The false-reject rate that is promised by default, if the images support it.
pub const DEFAULT_RATE: f64 = 0.01;

/// What a threshold should promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromiseTarget {
    /// Maximum share of good parts that are rejected, in `(0, 1)`.
    pub false_reject_rate: f64,
    /// Use the lowest rate that the images can promise if they are too few.
    pub accept_achievable: bool,
}

impl PromiseTarget {
    /// Returns the threshold for the scores of held-out good images.
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

    /// Checks whether this number of images is enough, before any is scored.
    ///
    /// # Errors
    /// If they are too few for the rate.
    pub fn check(&self, images: usize) -> Result<(), CalibrationError> {
        self.calibrate(vec![0.0; images]).map(drop)
    }
}

/// Progress reports about the images.
pub enum CalibrationProgress<'a> {
    /// An image cannot be used.
    Skipped {
        /// Its file.
        path: &'a Path,
        /// Why, human-readable.
        reason: &'a str,
    },
    /// The number of images scored.
    Scored {
        /// Images examined so far.
        done: usize,
        /// Total number of images.
        total: usize,
    },
}

/// Images that trained the model are among those that should calibrate it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{trained} of the {total} images trained this model, {} among them: a threshold from images \
     that the model knows would be too low; use other good images", first.display()
)]
pub struct TrainedOn {
    /// Their number.
    pub trained: usize,
    /// Total number of images.
    pub total: usize,
    /// The first one.
    pub first: PathBuf,
}

/// The images were taken in another light than those that trained the model.
#[derive(Debug, thiserror::Error)]
#[error(
    "these images have a level of {level:.0} (their median), those that trained the model one of \
     {:.0}, and the model corrects a factor of {} at most: a threshold from them would be about the \
     light. Correct the light or the exposure, or train with images of this light",
    light.reference,
    light.limit
)]
pub struct OtherLight {
    /// The median of their levels, in grey levels.
    pub level: f32,
    /// What the model corrects.
    pub light: LightNormalisation,
}

/// Receives progress reports, and may stop the scoring.
pub type CalibrationObserver<'a> =
    dyn FnMut(CalibrationProgress<'_>) -> Result<(), Interrupted> + 'a;

/// Why held-out images have no scores.
#[derive(Debug, thiserror::Error)]
pub enum ScoringError {
    /// Images trained the model.
    #[error(transparent)]
    TrainedOn(#[from] TrainedOn),
    /// The caller asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Says that a picture has the same pixels as an earlier one.
pub fn same_pixels(earlier: &Path) -> String {
    format!("the same pixels as {}", earlier.display())
}

fn skip(observe: &mut CalibrationObserver, path: &Path, reason: &str) -> Result<(), Interrupted> {
    observe(CalibrationProgress::Skipped { path, reason })
}

/// Scored held-out good images.
#[derive(Default)]
pub struct HeldOut {
    paths: Vec<PathBuf>,
    /// What calibrates: the worst of the changes that the line may see.
    good: Vec<GoodImage>,
    /// The scores of the pictures as they were taken.
    taken: Vec<f32>,
    /// Their levels in grey levels; empty if another model scored them.
    levels: Vec<f32>,
    /// What was measured of each at the ends of the variation; empty if nothing varies or another
    /// model scored them.
    ends: Vec<Vec<Measured>>,
}

/// Why scored images yield no thresholds.
#[derive(Debug, thiserror::Error)]
pub enum ThresholdError {
    /// They are too few, or a score is not finite.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// Some stand apart from the others.
    #[error(transparent)]
    StandApart(#[from] StandApart),
    /// At an end of the variation no picture could be judged.
    #[error(
        "with --vary {variation} the line would refuse all {images} pictures at one end ({change}), \
         the first as {source}: vary less"
    )]
    TooWide {
        /// The variation, as text.
        variation: String,
        /// The change at that end, human-readable.
        change: String,
        /// Number of pictures.
        images: usize,
        /// Why the first of them would be refused.
        source: QualityError,
    },
}

impl HeldOut {
    /// Wraps images that another model scored, and what is known about them.
    pub fn new(images: impl IntoIterator<Item = (PathBuf, GoodImage)>) -> Self {
        let mut all = Self::default();
        for (path, good) in images {
            all.paths.push(path);
            all.taken.push(good.score);
            all.good.push(good);
        }
        all
    }

    /// Wraps images that were examined.
    pub(crate) fn examined(images: impl IntoIterator<Item = (PathBuf, Examined)>) -> Self {
        let mut all = Self::default();
        for (path, examined) in images {
            let Examined {
                taken,
                worst,
                level,
                ends,
            } = examined;
            all.levels.push(level);
            all.paths.push(path);
            all.taken.push(taken.score);
            all.good.push(worst);
            all.ends.push(ends);
        }
        all
    }

    /// Scores the images. Reports and leaves out those that cannot be scored, and pictures with the
    /// same pixels as an earlier one, whatever their bytes: two scores of one part are not
    /// exchangeable with that of the next part. `was_trained_on` is called with the digest of each
    /// file and of its pixels.
    ///
    /// # Errors
    /// If images trained the model, in which case the rest is not scored, or the observer asks to
    /// stop.
    pub fn score(
        scorer: &mut Scorer,
        paths: Vec<PathBuf>,
        was_trained_on: impl Fn(Digest) -> bool,
        variation: Option<&Variation>,
        observe: &mut CalibrationObserver,
    ) -> Result<Self, ScoringError> {
        let total = paths.len();
        let mut seen: HashMap<Digest, PathBuf> = HashMap::new();
        let mut trained_on: Vec<PathBuf> = Vec::new();
        let mut scored = Vec::with_capacity(total);
        for (done, path) in paths.into_iter().enumerate() {
            observe(CalibrationProgress::Scored { done, total })?;
            let picture = match Picture::read(&path, scorer.depth()) {
                Ok(picture) => picture,
                Err(error) => {
                    skip(observe, &path, &with_causes(&error))?;
                    continue;
                }
            };
            if picture.is_any(&was_trained_on) {
                trained_on.push(path);
                continue;
            }
            if let Some(earlier) = seen.get(&picture.pixels) {
                skip(observe, &path, &same_pixels(earlier))?;
                continue;
            }
            seen.insert(picture.pixels, path.clone());
            if !trained_on.is_empty() {
                continue;
            }
            let seed = picture.file.seed();
            match Examined::new(scorer, &picture.image, variation, seed) {
                Ok(examined) => scored.push((path, examined)),
                Err(error) => skip(observe, &path, &with_causes(&error))?,
            }
        }
        match trained_on.first() {
            None => Ok(Self::examined(scored)),
            Some(first) => Err(ScoringError::TrainedOn(TrainedOn {
                trained: trained_on.len(),
                total,
                first: first.clone(),
            })),
        }
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Adds images that were scored by another model.
    pub fn extend(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.good.extend(other.good);
        self.taken.extend(other.taken);
        self.levels.extend(other.levels);
        self.ends.extend(other.ends);
    }

    /// Checks that most of the images can be brought to the light of those that trained the model.
    ///
    /// # Errors
    /// If not: their scores would be about the lamp and not about the parts.
    pub fn check_light(&self, light: LightNormalisation) -> Result<(), OtherLight> {
        let mut levels = self.levels.clone();
        levels.sort_by(f32::total_cmp);
        match levels.get(levels.len() / 2) {
            Some(&level) if !light.reaches(level) => Err(OtherLight { level, light }),
            _ => Ok(()),
        }
    }

    /// Returns what was measured of each.
    pub fn good(&self) -> &[GoodImage] {
        &self.good
    }

    /// Returns all thresholds that `calibrate` derives from them; `excluded` are the names of those
    /// that were left out by hand.
    ///
    /// # Errors
    /// If `calibrate` fails, a map is not finite, images stand apart from the others and `selection`
    /// does not accept that, or no image could be judged at an end of `variation`.
    pub fn thresholds(
        &self,
        calibrate: impl FnOnce(Vec<f32>) -> Result<Calibration, CalibrationError>,
        selection: &Selection,
        excluded: Vec<String>,
        variation: Option<&Variation>,
    ) -> Result<Thresholds, ThresholdError> {
        let mut thresholds = Thresholds::from_good(&self.good, calibrate)?;
        let standing = Standing::new(&self.paths, &self.good);
        let odd = standing.odd(&thresholds.quality.limits);
        if !odd.is_empty() && !selection.accept_outliers {
            return Err(standing.refused(odd).into());
        }
        thresholds.selection = standing::record(excluded, &odd);
        if let Some(variation) = variation {
            self.check_ends(variation, &thresholds.quality.limits)?;
            for place in 0..variation.ends().len() {
                let at_end = self.ends.iter().filter_map(|ends| ends.get(place));
                thresholds.cover(&at_end.cloned().collect::<Vec<Measured>>());
            }
            thresholds.calibration = thresholds.calibration.varied(variation.to_string());
        }
        Ok(thresholds)
    }

    /// Checks that at each end of the variation at least one image can be judged: the limits will be
    /// widened for what was stated, but not without end.
    fn check_ends(
        &self,
        variation: &Variation,
        limits: &QualityLimits,
    ) -> Result<(), ThresholdError> {
        let limits = limits.with_as_much_room_again();
        for (place, change) in variation.ends().into_iter().enumerate() {
            let at_end = self.ends.iter().filter_map(|ends| ends.get(place));
            let refused: Result<Vec<QualityError>, ()> = at_end
                .map(|measured| limits.check(measured).err().ok_or(()))
                .collect();
            if let Ok(refused) = refused
                && let Some(&source) = refused.first()
            {
                return Err(ThresholdError::TooWide {
                    variation: variation.to_string(),
                    change: format!("{change:?}"),
                    images: refused.len(),
                    source,
                });
            }
        }
        Ok(())
    }

    /// Returns which of them set the threshold, and how far they are from the rest, human-readable.
    pub fn highest(&self, calibration: &Calibration) -> String {
        Standing::new(&self.paths, &self.good).highest(calibration)
    }

    /// Returns the pictures that every device must score as this one did, read at the depth at
    /// which they were scored, and one made from them that every device must call `ng`, if there is one.
    ///
    /// # Errors
    /// If a picture can no longer be decoded, or the model fails.
    pub fn golden(
        &self,
        scorer: &mut Scorer,
        calibration: &Calibration,
        depth: Option<Depth>,
    ) -> Result<Vec<GoldenInput>, ScorerError> {
        let input = |place: usize| {
            Ok(GoldenInput {
                image: decode_file(&self.paths[place], depth)?,
                score: self.taken[place],
                is_part: true,
            })
        };
        let chosen = choose_golden(&self.taken, calibration).into_iter();
        let mut golden: Vec<GoldenInput> = chosen.map(input).collect::<Result<_, DecodeError>>()?;
        if let Some(median) = golden.get(golden.len() / 2) {
            let foreign = foreign_input(&median.image, scorer, calibration)?;
            golden.extend(foreign);
        }
        Ok(golden)
    }
}
