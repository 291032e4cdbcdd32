//! What a new bundle can be expected to do: how its scores spread, and which made-up defects its
//! threshold would let through.
//!
//! An estimate for the user who has no defects yet. It decides nothing.

use std::fmt;

use flawd_core::calibration::Calibration;
use flawd_train::trainer::EpochReport;

use super::session::Session;
use super::{TrainingError, TrainingObserver, TrainingProgress};
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::lab::features::FeatureImage;
use crate::lab::synthetic::{DefectShape, SyntheticDefect};

/// Pictures that get each defect at most: enough for a rate within a sixth or so, and some seconds
/// on a small processor.
const PICTURES: usize = 24;

/// Lengths of the made-up defects, as a share of the shorter side of what is inspected.
const LENGTHS: [f64; 3] = [1.0 / 8.0, 1.0 / 16.0, 1.0 / 32.0];

/// Rise of the loss of held-out images above its lowest that is worth saying: a tenth of a nat per
/// dimension. From epoch to epoch it varies by less.
const RISE: f64 = 0.1;

/// A flow that fits its own images better and better, and others worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overfit {
    /// The epoch, from 1, after which the loss of held-out images was lowest.
    pub best: usize,
    /// All epochs.
    pub of: usize,
}

impl fmt::Display for Overfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { best, of } = self;
        write!(
            f,
            "the loss of held-out images was lowest after epoch {best} of {of} and has risen since: \
             the flow overfits; fewer --epochs, more --feature-noise or more images help"
        )
    }
}

/// Returns whether the loss of held-out images was lower than it is at the end.
pub(crate) fn overfit(epochs: &[EpochReport]) -> Option<Overfit> {
    let losses = || epochs.iter().filter_map(|epoch| epoch.held_out_loss);
    let (best, lowest) = losses()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (losses().next_back()? > lowest + RISE).then_some(Overfit {
        best: best + 1,
        of: epochs.len(),
    })
}

/// What to expect of a bundle.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Lowest, median and highest score of the calibration.
    pub spread: [f32; 3],
    /// Escapes of each made-up defect; empty if no picture could be read.
    pub escapes: Vec<Escapes>,
}

/// How many pictures with a made-up defect would pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Escapes {
    /// The defect.
    pub defect: SyntheticDefect,
    /// Pictures below the threshold.
    pub passed: usize,
    /// Pictures with this defect.
    pub of: usize,
}

impl fmt::Display for Escapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.defect.shape {
            DefectShape::Patch => "patch",
            DefectShape::Scratch => "scratch",
        };
        let part = self.defect.length.recip();
        let Self { passed, of, .. } = self;
        write!(
            f,
            "{shape} of 1/{part} of the side: {passed} of {of} escape"
        )
    }
}

/// Scores good pictures with made-up defects, some of `images`; `calibration` is the bundle's.
///
/// # Errors
/// If a picture cannot be scored, or the observer asks to stop. Pictures that can no longer be read
/// are left out.
pub(crate) fn expect(
    session: &Session,
    scorer: &mut Scorer,
    calibration: &Calibration,
    images: &[FeatureImage],
    observe: &mut TrainingObserver,
) -> Result<Expectation, TrainingError> {
    let geometry = session.plan.features.geometry;
    let mut escapes: Vec<Escapes> = defects()
        .map(|defect| Escapes {
            defect,
            passed: 0,
            of: 0,
        })
        .collect();
    let images = &images[..images.len().min(PICTURES)];
    for (done, image) in images.iter().enumerate() {
        let total = images.len();
        observe(TrainingProgress::Expected { done, total })?;
        let Ok(picture) = image.read_again(session.source.depth()) else {
            continue;
        };
        let region = geometry
            .inspected(picture.size())
            .map_err(ScorerError::from)?;
        for escapes in &mut escapes {
            let damaged = escapes.defect.paste(&picture, region, image.digest.seed());
            let score = scorer.score(&damaged)?.score;
            escapes.of += 1;
            escapes.passed += usize::from(!calibration.is_anomalous(score));
        }
    }
    escapes.retain(|escapes| escapes.of > 0);
    Ok(Expectation {
        spread: spread(calibration.scores()),
        escapes,
    })
}

fn defects() -> impl Iterator<Item = SyntheticDefect> {
    let shapes = [DefectShape::Patch, DefectShape::Scratch].into_iter();
    shapes.flat_map(|shape| LENGTHS.map(|length| SyntheticDefect { shape, length }))
}

/// Returns the lowest, the median and the highest of some scores.
fn spread(scores: &[f32]) -> [f32; 3] {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    [0, sorted.len() / 2, sorted.len() - 1].map(|place| sorted[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(losses: &[Option<f64>]) -> Vec<EpochReport> {
        let report = |(place, loss): (usize, &Option<f64>)| EpochReport {
            epoch: place + 1,
            loss: -1.0,
            held_out_loss: *loss,
            learning_rate: 1e-3,
            seconds: 1.0,
        };
        losses.iter().enumerate().map(report).collect()
    }

    #[test]
    fn a_loss_that_rose_names_the_epoch_before() {
        let risen = epochs(&[Some(0.5), Some(-1.3), Some(-1.1), Some(0.2)]);
        assert_eq!(overfit(&risen), Some(Overfit { best: 2, of: 4 }));
    }

    #[test]
    fn a_loss_that_falls_or_was_not_watched_is_no_matter() {
        let falls = epochs(&[Some(0.5), Some(-1.3), Some(-1.25)]);
        for epochs in [falls, epochs(&[None, None]), Vec::new()] {
            assert_eq!(overfit(&epochs), None);
        }
    }
}
