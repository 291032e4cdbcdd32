//! Which made-up defects a new bundle's threshold would let through: an estimate for the user who has
//! no defects yet. It decides nothing.

use std::fmt;

use flawd_core::calibration::Calibration;

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

/// Scores good pictures with made-up defects, some of `images`; `calibration` is the bundle's. Empty
/// if no picture could be read.
///
/// # Errors
/// If a picture cannot be scored, or the observer asks to stop. Pictures that can no longer be read
/// are left out.
pub(crate) fn estimate(
    session: &Session,
    scorer: &mut Scorer,
    calibration: &Calibration,
    images: &[FeatureImage],
    observe: &mut TrainingObserver,
) -> Result<Vec<Escapes>, TrainingError> {
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
        observe(TrainingProgress::Damaged { done, total })?;
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
    Ok(escapes)
}

fn defects() -> impl Iterator<Item = SyntheticDefect> {
    let shapes = [DefectShape::Patch, DefectShape::Scratch].into_iter();
    shapes.flat_map(|shape| LENGTHS.map(|length| SyntheticDefect { shape, length }))
}
