//! The images of a training run: their features, and which of them are held out.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_core::preprocess::Preprocessor;
use flawd_onnx::FeatureExtractor;
use flawd_train::features::FeatureCache;

use super::{Observer, Progress, TrainingError, TrainingPlan, tell};
use crate::decode;
use crate::digest::sha256;

/// An image that has features in the cache.
pub(super) struct TrainingImage {
    pub(super) path: PathBuf,
    /// Digest of the image file.
    pub(super) digest: Digest,
    /// Where the cache keeps its features.
    pub(super) key: String,
}

/// An image that cannot be used.
#[derive(Debug)]
pub struct SkippedImage {
    /// Its file.
    pub path: PathBuf,
    /// Why, in words.
    pub reason: String,
}

/// Puts the features of a plan's images into the cache.
pub(super) struct Extraction<'a> {
    plan: &'a TrainingPlan,
    /// Digest of the graph that computes the features.
    graph: Digest,
    extractor: FeatureExtractor,
    cache: &'a FeatureCache,
    preprocessor: Preprocessor,
    tensor: Vec<u8>,
    seen: HashSet<Digest>,
    cached: usize,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(
        plan: &'a TrainingPlan,
        graph: Digest,
        extractor: FeatureExtractor,
        cache: &'a FeatureCache,
    ) -> Self {
        let preprocessor = Preprocessor::new(plan.size, plan.geometry);
        let tensor = vec![0; preprocessor.tensor_len()];
        let seen = HashSet::new();
        Self {
            plan,
            graph,
            extractor,
            cache,
            preprocessor,
            tensor,
            seen,
            cached: 0,
        }
    }

    /// Extracts what is not cached yet; images that cannot be used are reported and left out.
    pub(super) fn run(
        mut self,
        paths: Vec<PathBuf>,
        observe: &mut Observer,
    ) -> Result<Vec<TrainingImage>, TrainingError> {
        let total = paths.len();
        let mut images = Vec::with_capacity(total);
        for (number, path) in paths.into_iter().enumerate() {
            match self.extract(&path)? {
                Ok((digest, key)) => images.push(TrainingImage { path, digest, key }),
                Err(reason) => tell(observe, Progress::Skipped(&SkippedImage { path, reason }))?,
            }
            let done = number + 1;
            tell(
                observe,
                Progress::Features {
                    done,
                    total,
                    cached: self.cached,
                },
            )?;
        }
        Ok(images)
    }

    /// Digest and cache key of an image, or why it cannot be used.
    ///
    /// A file that is byte for byte the same as an earlier one counts once: the same part in both
    /// halves of the split would spoil the calibration's promise.
    fn extract(&mut self, path: &Path) -> Result<Result<(Digest, String), String>, TrainingError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let digest = sha256(&bytes);
        if !self.seen.insert(digest) {
            return Ok(Err("the same file as an earlier one".to_owned()));
        }
        let key = self.key(digest);
        if self.cache.contains(&key) {
            self.cached += 1;
            return Ok(Ok((digest, key)));
        }
        let image = match decode::from_bytes(path, &bytes) {
            Ok(image) => image,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Err(error) = self.preprocessor.run(&image, &mut self.tensor) {
            return Ok(Err(error.to_string()));
        }
        let features = self.extractor.run(&self.tensor)?;
        self.cache.store(&key, &features)?;
        Ok(Ok((digest, key)))
    }

    /// A name that differs whenever the features would.
    fn key(&self, image: Digest) -> String {
        let inputs = format!("{} {:?} {image}", self.graph, self.plan.geometry);
        sha256(inputs.as_bytes()).hex()
    }
}

/// Parts the images: the first part trains, the second calibrates.
///
/// The order in which images are dealt depends on their content and the seed, not on their names,
/// so neither part is made of the last shift's pictures. At least one image goes to each part.
pub(super) fn split(
    mut images: Vec<TrainingImage>,
    hold_out: f64,
    seed: u64,
) -> (Vec<TrainingImage>, Vec<TrainingImage>) {
    images.sort_by_cached_key(|image| sha256(format!("{seed} {}", image.digest).as_bytes()));
    let count = (images.len() as f64 * hold_out).round() as usize;
    let held_out = images.split_off(images.len() - count.clamp(1, images.len() - 1));
    (images, held_out)
}

/// Where the cache keeps the features of these images.
pub(super) fn keys(images: &[TrainingImage]) -> Vec<String> {
    images.iter().map(|image| image.key.clone()).collect()
}
