//! One pass over image files that puts their features into the cache.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_core::preprocess::Preprocessor;
use flawd_onnx::FeatureExtractor;

use super::{ExtractionObserver, FeatureSource, FeaturesError};
use crate::decode;
use crate::digest::sha256;

/// An image that has features in the cache.
#[derive(Clone, Debug)]
pub struct FeatureImage {
    /// Its file.
    pub path: PathBuf,
    /// Digest of the file.
    pub digest: Digest,
    /// Where the cache keeps its features; differs whenever they would.
    pub key: String,
}

/// An image that cannot be used.
#[derive(Debug)]
pub struct SkippedImage {
    /// Its file.
    pub path: PathBuf,
    /// Why, in words.
    pub reason: String,
}

/// What is done with a file that is byte for byte the same as an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// It is left out: the same part in both halves of a split would spoil what a calibration
    /// promises.
    LeaveOut,
    /// It counts as often as it is there.
    Keep,
}

/// What an extraction reports as it goes.
pub enum ExtractionStep<'a> {
    /// An image cannot be used.
    Skipped(&'a SkippedImage),
    /// Features of `done` of `total` images are there.
    Done {
        /// Images looked at so far.
        done: usize,
        /// Images in all.
        total: usize,
        /// How many of them had been extracted by an earlier run.
        cached: usize,
    },
}

/// Puts the features of images into the cache.
pub(super) struct Extraction<'a> {
    source: &'a FeatureSource,
    extractor: FeatureExtractor,
    /// The software and the providers: other ones give other numbers.
    computed_by: String,
    repeated: Repeated,
    preprocessor: Preprocessor,
    tensor: Vec<u8>,
    seen: HashSet<Digest>,
    cached: usize,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(
        source: &'a FeatureSource,
        extractor: FeatureExtractor,
        computed_by: String,
        repeated: Repeated,
    ) -> Self {
        let preprocessor = Preprocessor::new(source.spec.size, source.geometry);
        let tensor = vec![0; preprocessor.tensor_len()];
        Self {
            source,
            extractor,
            computed_by,
            repeated,
            preprocessor,
            tensor,
            seen: HashSet::new(),
            cached: 0,
        }
    }

    pub(super) fn run(
        mut self,
        paths: Vec<PathBuf>,
        observe: &mut ExtractionObserver,
    ) -> Result<Vec<FeatureImage>, FeaturesError> {
        let mut tell = |step: ExtractionStep| match observe(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(FeaturesError::Interrupted),
        };
        let total = paths.len();
        let mut images = Vec::with_capacity(total);
        for (number, path) in paths.into_iter().enumerate() {
            match self.extract(&path)? {
                Ok((digest, key)) => images.push(FeatureImage { path, digest, key }),
                Err(reason) => tell(ExtractionStep::Skipped(&SkippedImage { path, reason }))?,
            }
            tell(ExtractionStep::Done {
                done: number + 1,
                total,
                cached: self.cached,
            })?;
        }
        Ok(images)
    }

    /// Digest and cache key of an image, or why it cannot be used.
    fn extract(&mut self, path: &Path) -> Result<Result<(Digest, String), String>, FeaturesError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let digest = sha256(&bytes);
        if !self.seen.insert(digest) && self.repeated == Repeated::LeaveOut {
            return Ok(Err("the same file as an earlier one".to_owned()));
        }
        let key = self.key(digest);
        if self.source.cache.contains(&key) {
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
        self.source.cache.store(&key, &features)?;
        Ok(Ok((digest, key)))
    }

    /// A name that differs whenever the features would.
    fn key(&self, image: Digest) -> String {
        let FeatureSource {
            graph_digest,
            geometry,
            ..
        } = self.source;
        let inputs = format!("{} {graph_digest} {geometry:?} {image}", self.computed_by);
        sha256(inputs.as_bytes()).hex()
    }
}
