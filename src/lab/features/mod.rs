//! From image files to feature maps in the cache: the first step of training, comparing and
//! ablating.
//!
//! Features are stored under a name that differs whenever they would, so that a request for the
//! same picture through the same backbone at the same size finds them. Nothing here knows what the
//! features are used for.

use std::path::{Path, PathBuf};
use std::{fs, io};

use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::image::Size;
use flawd_core::interrupted::Interrupted;
use flawd_core::light::LightNormalisation;
use flawd_core::preprocess::Geometry;
use flawd_onnx::filter_bank::{self, filter_bank};
use flawd_onnx::{
    Backbone, BackboneError, Execution, ExportError, FeatureChoice, FeatureSpec, ModelError,
    feature_graph,
};
use flawd_train::features::{CachedFeatureError, FeatureCache, FeatureSet};

use crate::files::cache::InUse;
use crate::files::digest::sha256;

mod extraction;
pub(crate) mod light;
mod varied;

pub use extraction::{ExtractionStep, FeatureImage, Repeated, SkippedImage};
pub(crate) use varied::Variants;

use extraction::Extraction;

/// What features depend on, apart from the image.
#[derive(Clone, Debug)]
pub struct FeaturePlan {
    /// An ONNX file that computes feature maps; `None` for flawd's own filter bank.
    pub backbone: Option<PathBuf>,
    /// Which of its outputs to use, with which pixels; the filter bank needs no choice.
    pub choice: FeatureChoice,
    /// Size of the network's input.
    pub size: Size,
    /// Which part of a picture is inspected, and how it is rotated and flipped.
    pub geometry: Geometry,
    /// What is known about pictures of more than 8 bits that do not state their depth.
    pub depth: Option<Depth>,
    /// The light that every picture is brought to.
    pub light: LightPlan,
    /// The cache folder; features are stored in its `features`.
    pub cache: PathBuf,
}

/// Which light pictures are brought to before the backbone sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LightPlan {
    /// None: they stay as they were taken.
    AsTaken,
    /// That of a bundle.
    Known(LightNormalisation),
    /// That of the pictures that will train.
    OfTraining {
        /// The largest factor, above 1.
        limit: f32,
    },
}

/// Why there are no features.
#[derive(Debug, thiserror::Error)]
pub enum FeaturesError {
    /// The backbone cannot be read.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The backbone does not provide the requested features.
    #[error(transparent)]
    Outputs(#[from] flawd_onnx::FeatureError),
    /// The backbone does not provide these features at this size.
    #[error(transparent)]
    Graph(#[from] ExportError),
    /// The feature graph does not run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Features cannot be stored.
    #[error(transparent)]
    Cache(#[from] CachedFeatureError),
    /// The cache cannot be used.
    #[error("cannot use the cache {}: name another folder with --cache", path.display())]
    NotLocked {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("interrupted; run the same command again to go on, without --fresh")]
    Interrupted,
}

impl From<Interrupted> for FeaturesError {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// Receives progress reports of an extraction, and may stop it.
pub type ExtractionObserver<'a> = dyn FnMut(ExtractionStep<'_>) -> Result<(), Interrupted> + 'a;

/// The bytes of a backbone that have not been examined yet.
pub struct BackboneFile {
    /// Their path; for the filter bank, which is not a file, only its name.
    pub path: PathBuf,
    /// Their digest.
    pub digest: Digest,
    bytes: Vec<u8>,
}

impl BackboneFile {
    /// Reads the file at `path`, or returns the filter bank if `None`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: Option<&Path>) -> Result<Self, BackboneError> {
        let (path, bytes) = match path {
            None => (PathBuf::from(filter_bank::FILE_NAME), filter_bank()),
            Some(path) => {
                let path = path.to_owned();
                match fs::read(&path) {
                    Ok(bytes) => (path, bytes),
                    Err(source) => return Err(BackboneError::Unreadable { path, source }),
                }
            }
        };
        let digest = sha256(&bytes);
        Ok(Self {
            path,
            digest,
            bytes,
        })
    }
}

/// A backbone with a plan for its use.
pub struct FeatureSource {
    /// The backbone.
    pub backbone: Backbone,
    /// Digest of the backbone's bytes.
    pub backbone_digest: Digest,
    /// Which of its outputs, at which size, with which pixels.
    pub spec: FeatureSpec,
    /// Digest of the graph that computes the features.
    pub graph_digest: Digest,
    graph: Vec<u8>,
    geometry: Geometry,
    depth: Option<Depth>,
    cache: FeatureCache,
    /// Prevents the cache from being cleared meanwhile.
    _in_use: InUse,
}

impl FeatureSource {
    /// Opens the source that a plan names.
    ///
    /// # Errors
    /// If the backbone cannot be read or does not provide the requested features, or the cache
    /// cannot be created.
    pub fn open(plan: &FeaturePlan) -> Result<Self, FeaturesError> {
        Self::of(&BackboneFile::read(plan.backbone.as_deref())?, plan)
    }

    /// Like [`FeatureSource::open`], for a file that has already been read.
    ///
    /// # Errors
    /// As [`FeatureSource::open`].
    pub fn of(file: &BackboneFile, plan: &FeaturePlan) -> Result<Self, FeaturesError> {
        let backbone = Backbone::from_bytes(&file.path, &file.bytes)?;
        let mut choice = plan.choice.clone();
        if plan.backbone.is_none() && choice.outputs.is_empty() {
            choice.outputs.push(filter_bank::DEFAULT_OUTPUT.to_owned());
        }
        let spec = FeatureSpec {
            light: match plan.light {
                LightPlan::Known(light) => Some(light),
                // Those of the training pictures are not known yet: see `lit`.
                LightPlan::AsTaken | LightPlan::OfTraining { .. } => None,
            },
            ..choice.complete(&backbone, plan.size)?
        };
        let graph = feature_graph(&backbone, &spec)?;
        let in_use = InUse::shared(&plan.cache).map_err(|source| FeaturesError::NotLocked {
            path: plan.cache.clone(),
            source,
        })?;
        Ok(Self {
            _in_use: in_use,
            backbone,
            backbone_digest: file.digest,
            spec,
            graph_digest: sha256(&graph),
            graph,
            geometry: plan.geometry,
            depth: plan.depth,
            cache: FeatureCache::open(&plan.cache.join("features"))?,
        })
    }

    /// Returns this source for pictures of this depth, if their set shows it.
    pub fn reading(self, depth: Option<Depth>) -> Self {
        Self { depth, ..self }
    }

    /// Returns this source with every picture brought to this light.
    ///
    /// # Errors
    /// As [`FeatureSource::open`].
    pub fn lit(mut self, light: Option<LightNormalisation>) -> Result<Self, FeaturesError> {
        if self.spec.light == light {
            return Ok(self);
        }
        self.spec.light = light;
        self.graph = feature_graph(&self.backbone, &self.spec)?;
        self.graph_digest = sha256(&self.graph);
        Ok(self)
    }

    /// Returns the depth of pictures of more than 8 bits that do not state it.
    pub fn depth(&self) -> Option<Depth> {
        self.depth
    }

    /// Extracts what is not cached yet. Images that cannot be used are reported and left out; the
    /// others are returned in the order of `paths`.
    ///
    /// # Errors
    /// If the graph does not run, the cache cannot be written, or `observe` asks to stop.
    pub fn extract(
        &self,
        paths: Vec<PathBuf>,
        repeated: Repeated,
        execution: Execution,
        observe: &mut ExtractionObserver,
    ) -> Result<Vec<FeatureImage>, FeaturesError> {
        Extraction::open(self, execution, repeated)?.run(paths, observe)
    }

    /// Extracts the features of changes of images that were extracted: `variants.number` of each,
    /// with the same names and digests.
    ///
    /// # Errors
    /// As [`Self::extract`].
    pub(crate) fn vary(
        &self,
        images: &[FeatureImage],
        variants: &Variants,
        execution: Execution,
        observe: &mut ExtractionObserver,
    ) -> Result<Vec<FeatureImage>, FeaturesError> {
        Extraction::open(self, execution, Repeated::Keep)?.vary(images, variants, observe)
    }

    /// Returns the number of feature channels per scale.
    ///
    /// # Errors
    /// As [`FeatureSource::open`], which has checked the same.
    pub fn channels(&self) -> Result<usize, FeaturesError> {
        Ok(self.spec.shape(&self.backbone)?.channels)
    }

    /// Returns the size of the graph that computes the features, in bytes.
    pub fn graph_len(&self) -> usize {
        self.graph.len()
    }

    /// Returns the features of images that were extracted.
    ///
    /// # Errors
    /// If there are none, or those of the first one no longer exist.
    pub fn set(&self, images: &[FeatureImage]) -> Result<FeatureSet, CachedFeatureError> {
        let keys = images.iter().map(|image| image.key.clone()).collect();
        FeatureSet::new(self.cache.clone(), keys)
    }
}
