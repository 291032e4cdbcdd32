//! One pass over image files that stores their features in the cache.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::image::RgbImage;
use flawd_core::preprocess::Preprocessor;
use flawd_onnx::{Execution, FeatureExtractor, ModelError};

use super::{ExtractionObserver, FeatureSource, FeaturesError};
use crate::files::digest::{sha256, sha256_pixels};
use crate::lab::calibration::same_pixels;
use crate::messages::with_causes;
use crate::pictures::decode;

/// An image that has features in the cache.
#[derive(Clone, Debug)]
pub struct FeatureImage {
    /// Its file.
    pub path: PathBuf,
    /// Digest of the file.
    pub digest: Digest,
    /// Digest of its pixels, which other files may share.
    pub pixels: Digest,
    /// The key of its features in the cache; differs whenever the features would.
    pub key: String,
}

impl FeatureImage {
    /// Returns its pixels, read at `depth` as for its features, if the file is still the one whose
    /// features were extracted; otherwise a human-readable reason.
    pub fn read_again(&self, depth: Option<Depth>) -> Result<RgbImage, String> {
        let bytes = decode::read(&self.path).map_err(|error| with_causes(&error))?;
        if sha256(&bytes) != self.digest {
            return Err("the file changed after its features were extracted".to_owned());
        }
        decode::from_bytes(&self.path, &bytes, depth).map_err(|error| with_causes(&error))
    }
}

/// An image that cannot be used.
#[derive(Debug)]
pub struct SkippedImage {
    /// Its file.
    pub path: PathBuf,
    /// Why, human-readable.
    pub reason: String,
}

/// How to treat a picture that has the same pixels as an earlier one, whatever its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// It is left out: the same shot in both halves of a split would spoil what a calibration
    /// promises, and twice in one half it would count as two parts.
    LeaveOut,
    /// It counts as often as it occurs.
    Keep,
}

/// Progress reports of an extraction.
pub enum ExtractionStep<'a> {
    /// An image cannot be used.
    Skipped(&'a SkippedImage),
    /// The features of `done` of `total` images are available.
    Done {
        /// Images examined so far.
        done: usize,
        /// Total number of images.
        total: usize,
        /// How many of them an earlier run had extracted.
        cached: usize,
    },
}

/// Stores the features of images in the cache.
pub(crate) struct Extraction<'a> {
    source: &'a FeatureSource,
    extractor: FeatureExtractor,
    /// The software and the providers, because other ones yield other numbers.
    computed_by: String,
    repeated: Repeated,
    preprocessor: Preprocessor,
    tensor: Vec<u8>,
    /// Pixels that occurred, and in which file.
    seen: HashMap<Digest, PathBuf>,
    cached: usize,
}

impl<'a> Extraction<'a> {
    pub(crate) fn open(
        source: &'a FeatureSource,
        execution: Execution,
        repeated: Repeated,
    ) -> Result<Self, ModelError> {
        let extractor = FeatureExtractor::load(execution, &source.graph)?;
        let computed_by = format!(
            "{} {:?}",
            env!("CARGO_PKG_VERSION"),
            execution.options.providers
        );
        let preprocessor = Preprocessor::new(source.spec.size, source.geometry);
        let tensor = vec![0; preprocessor.tensor_len()];
        Ok(Self {
            source,
            extractor,
            computed_by,
            repeated,
            preprocessor,
            tensor,
            seen: HashMap::new(),
            cached: 0,
        })
    }

    pub(crate) fn run(
        mut self,
        paths: Vec<PathBuf>,
        observe: &mut ExtractionObserver,
    ) -> Result<Vec<FeatureImage>, FeaturesError> {
        let total = paths.len();
        let mut images = Vec::with_capacity(total);
        for (number, path) in paths.into_iter().enumerate() {
            match self.extract(&path)? {
                Ok(image) => images.push(image),
                Err(reason) => observe(ExtractionStep::Skipped(&SkippedImage { path, reason }))?,
            }
            observe(ExtractionStep::Done {
                done: number + 1,
                total,
                cached: self.cached,
            })?;
        }
        Ok(images)
    }

    /// Returns an image with features in the cache, or why it cannot be used.
    fn extract(&mut self, path: &Path) -> Result<Result<FeatureImage, String>, FeaturesError> {
        let bytes = match decode::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(with_causes(&error))),
        };
        let digest = sha256(&bytes);
        let key = self.key(digest);
        let image = |pixels| FeatureImage {
            path: path.to_owned(),
            digest,
            pixels,
            key: key.clone(),
        };
        let kept = self.source.cache.note(&key);
        if let Some(pixels) = kept.and_then(|note| note.parse().ok()) {
            self.cached += 1;
            return Ok(self.first(pixels, path).map(|()| image(pixels)));
        }
        let picture = match decode::from_bytes(path, &bytes, self.source.depth) {
            Ok(picture) => picture,
            Err(error) => return Ok(Err(with_causes(&error))),
        };
        let pixels = sha256_pixels(&picture);
        if let Err(repeats) = self.first(pixels, path) {
            return Ok(Err(repeats));
        }
        let stored = self.store(&picture, &key, pixels)?;
        Ok(stored.map(|()| image(pixels)))
    }

    /// Computes the features of a picture and stores them; the picture may be unusable.
    pub(crate) fn store(
        &mut self,
        picture: &RgbImage,
        key: &str,
        pixels: Digest,
    ) -> Result<Result<(), String>, FeaturesError> {
        if let Err(error) = self.preprocessor.run(picture, &mut self.tensor) {
            return Ok(Err(with_causes(&error)));
        }
        let features = self.extractor.run(&self.tensor)?;
        let note = pixels.to_string();
        self.source.cache.store(key, &note, &features)?;
        Ok(Ok(()))
    }

    /// Returns `true` if there are features under this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.source.cache.note(key).is_some()
    }

    /// Returns the depth at which pictures are read.
    pub(crate) fn depth(&self) -> Option<Depth> {
        self.source.depth
    }

    /// Checks that these pixels are new, or returns which picture they repeat.
    fn first(&mut self, pixels: Digest, path: &Path) -> Result<(), String> {
        match self.seen.entry(pixels) {
            Entry::Occupied(earlier) if self.repeated == Repeated::LeaveOut => {
                Err(same_pixels(earlier.get()))
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(place) => {
                place.insert(path.to_owned());
                Ok(())
            }
        }
    }

    /// Returns a name that differs whenever the features would.
    fn key(&self, image: Digest) -> String {
        let FeatureSource {
            graph_digest,
            geometry,
            depth,
            ..
        } = self.source;
        let inputs = format!(
            "{} {} {graph_digest} {geometry:?} {depth:?} {image}",
            self.computed_by,
            decode::REVISION
        );
        sha256(inputs.as_bytes()).hex()
    }
}
