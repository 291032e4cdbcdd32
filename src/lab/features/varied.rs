//! Features of pictures under changes that a line may see.

use flawd_core::digest::Digest;
use flawd_core::random::SplitMix64;

use super::extraction::Extraction;
use super::{ExtractionObserver, ExtractionStep, FeatureImage, FeaturesError, SkippedImage};
use crate::files::digest::sha256;
use crate::lab::variation::{Change, Variation, apply_all};

/// Which changes of each picture to make.
pub(crate) struct Variants<'a> {
    /// The changes that occur.
    pub(crate) variation: &'a Variation,
    /// Changed pictures for each picture.
    pub(crate) number: usize,
    /// Decides which changes are drawn.
    pub(crate) seed: u64,
}

impl Variants<'_> {
    /// Draws the changes of a picture, and the seed of its noise. They depend on its content and not
    /// on its place among others, so that the same picture has the same variants in every run.
    fn draw(&self, picture: Digest, number: usize) -> (Vec<Change>, u64) {
        let inputs = format!("{} {picture} {number}", self.seed);
        let mut random = SplitMix64::new(sha256(inputs.as_bytes()).seed());
        (self.variation.sample(&mut random), random.next_u64())
    }
}

impl Extraction<'_> {
    /// Stores the features of the variants of images, and returns them: those of each image in a
    /// row. An image that has changed since its own features were extracted is reported and has
    /// none.
    pub(crate) fn vary(
        mut self,
        images: &[FeatureImage],
        variants: &Variants,
        observe: &mut ExtractionObserver,
    ) -> Result<Vec<FeatureImage>, FeaturesError> {
        let total = images.len() * variants.number;
        let mut varied = Vec::with_capacity(total);
        let mut cached = 0;
        for (place, image) in images.iter().enumerate() {
            let draws = (0..variants.number).map(|number| variants.draw(image.digest, number));
            let draws = draws.map(|(changes, seed)| {
                let inputs = format!("{} {changes:?} {seed}", image.key);
                (sha256(inputs.as_bytes()).hex(), changes, seed)
            });
            let draws: Vec<(String, Vec<Change>, u64)> = draws.collect();
            if draws.iter().all(|(key, ..)| self.has(key)) {
                cached += draws.len();
            } else if let Err(reason) = self.store_all(image, &draws)? {
                let path = image.path.clone();
                observe(ExtractionStep::Skipped(&SkippedImage { path, reason }))?;
                continue;
            }
            varied.extend(draws.into_iter().map(|(key, ..)| FeatureImage {
                key,
                ..image.clone()
            }));
            let done = (place + 1) * variants.number;
            observe(ExtractionStep::Done {
                done,
                total,
                cached,
            })?;
        }
        Ok(varied)
    }

    fn store_all(
        &mut self,
        image: &FeatureImage,
        draws: &[(String, Vec<Change>, u64)],
    ) -> Result<Result<(), String>, FeaturesError> {
        let picture = match image.read_again(self.depth()) {
            Ok(picture) => picture,
            Err(reason) => return Ok(Err(reason)),
        };
        for (key, changes, seed) in draws {
            let changed = apply_all(changes, &picture, *seed);
            if let Err(reason) = self.store(&changed, key, image.pixels)? {
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }
}
