//! Scores of pictures under the changes that a line may see, so that a promise covers them.
//!
//! A picture calibrates with the highest of its scores: as it was taken, and at each end of the
//! variation. Those highest scores are exchangeable with that of the next part, whose score as it is
//! or at any one end is not above its own highest; so the part is rejected with a probability of at
//! most the promised one, whichever of the ends the line is at.

use flawd_core::image::RgbImage;
use flawd_core::quality::Measured;

use crate::bundle::GoodImage;
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::lab::variation::Variation;

/// A good picture as it was taken and at the ends of a variation.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    /// As it was taken.
    pub(crate) taken: GoodImage,
    /// What calibrates: the highest of each number. The same as `taken` if nothing varies.
    pub(crate) worst: GoodImage,
    /// Its level as it was taken, in grey levels.
    pub(crate) level: f32,
    /// How bright and sharp it is at each end, in their order.
    pub(crate) ends: Vec<Measured>,
}

impl Examined {
    /// Examines a picture; `seed` determines its noise.
    ///
    /// # Errors
    /// If it cannot be preprocessed, or the model fails.
    pub(crate) fn new(
        scorer: &mut Scorer,
        image: &RgbImage,
        variation: Option<&Variation>,
        seed: u64,
    ) -> Result<Self, ScorerError> {
        let taken: GoodImage = scorer.examine(image)?.into();
        let level = scorer.level();
        let mut worst = taken.clone();
        let mut ends = Vec::new();
        for change in variation.iter().flat_map(|variation| variation.ends()) {
            let end: GoodImage = scorer.examine(&change.apply(image, seed))?.into();
            worst.score = worst.score.max(end.score);
            worst.map_max = worst.map_max.max(end.map_max);
            ends.push(end.measured);
        }
        Ok(Self {
            taken,
            worst,
            level,
            ends,
        })
    }
}
