//! Compares other methods with a bundle's flow: fitted on the images that trained it, with the same
//! backbone, and measured on the same images.
//!
//! Nothing here decides about parts; the numbers show what the flow contributes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use flawd_core::digest::Digest;
use flawd_onnx::{Execution, FeatureChoice};
use flawd_train::features::{CachedFeatureError, FeatureSet};
use flawd_train::trainer::StepReport;

use super::dataset::{self, DatasetError};
use super::evaluation::ImageRow;
use super::features::{
    BackboneFile, ExtractionStep, FeaturePlan, FeatureSource, FeaturesError, LightPlan, Repeated,
};
use crate::bundle::Bundle;
use crate::files::digest::sha256_file;
use crate::lab::evaluation::compared::{Comparison, ComparisonRow};

pub use super::contender::{Contender, ContenderError, Method};
pub use super::evaluation::compared::AcrossCategories;
pub use super::evaluation::metrics::ImageMetrics;

/// What a bundle is compared with.
#[derive(Clone, Debug)]
pub struct ComparisonPlan {
    /// The methods, in the order of the table.
    pub methods: Vec<Method>,
    /// The file of the backbone that the bundle was made with; `None` for flawd's own.
    pub backbone: Option<PathBuf>,
    /// A folder with the training images in `train/<good>`.
    pub images: PathBuf,
    /// The folder name of good parts there.
    pub good: String,
    /// Where features are kept.
    pub cache: PathBuf,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The training images cannot be listed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// An image cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The features are unavailable.
    #[error(transparent)]
    Features(#[from] FeaturesError),
    /// Cached features cannot be read.
    #[error(transparent)]
    Cache(#[from] CachedFeatureError),
    /// The images that trained the bundle's flow are unknown.
    #[error(
        "the bundle's flow was imported, so the images that trained it are not known: other \
         methods can be compared with a bundle that `flawd train` made"
    )]
    Imported,
    /// The backbone is not the one that the bundle was made with.
    #[error(
        "{} is not the backbone of this bundle: the bundle was made with {file}, {expected}, and \
         this one is {actual}; name the right file with --backbone", path.display()
    )]
    OtherBackbone {
        /// The file.
        path: PathBuf,
        /// The file name of the bundle's backbone.
        file: String,
        /// Its digest.
        expected: Digest,
        /// The digest of the file.
        actual: Digest,
    },
    /// Some images that trained the bundle are missing.
    #[error(
        "{found} of the {expected} images that trained the bundle are in {}: other methods are \
         fitted on the same images or not at all", folder.display()
    )]
    TrainingImages {
        /// The folder that was searched.
        folder: PathBuf,
        /// Number of images that trained the bundle.
        expected: usize,
        /// How many of them were found and can be used.
        found: usize,
    },
    /// There is only one kind of test image.
    #[error("a comparison takes good images and images with a defect; one kind is missing")]
    OneKind,
    /// A method has no scores.
    #[error("{method} has no scores")]
    Method {
        /// Its name.
        method: &'static str,
        /// The reason.
        source: ContenderError,
    },
}

/// Progress reports of a comparison.
pub enum ComparisonStep<'a> {
    /// Features are being extracted.
    Features(ExtractionStep<'a>),
    /// A method starts.
    Fits(Method),
    /// A trained method has completed a step.
    Trains(Method, StepReport),
}

/// A comparison whose backbone and training images have been verified.
pub struct PreparedComparison {
    plan: ComparisonPlan,
    source: FeatureSource,
    training: Vec<PathBuf>,
    seed: u64,
}

impl PreparedComparison {
    /// Checks everything that can be checked before the flow is measured.
    ///
    /// # Errors
    /// If the backbone is not the bundle's, or training images are missing.
    pub fn prepare(bundle: &Bundle, plan: ComparisonPlan) -> Result<Self, ComparisonError> {
        let manifest = bundle.manifest();
        let trained = (manifest.training.as_ref()).ok_or(ComparisonError::Imported)?;
        let file = BackboneFile::read(plan.backbone.as_deref()).map_err(FeaturesError::from)?;
        if file.digest != manifest.backbone.digest {
            return Err(ComparisonError::OtherBackbone {
                path: file.path,
                file: manifest.backbone.file.clone(),
                expected: manifest.backbone.digest,
                actual: file.digest,
            });
        }
        let features = FeaturePlan {
            backbone: plan.backbone.clone(),
            choice: FeatureChoice {
                outputs: manifest.backbone.outputs.clone(),
                normalisation: Some(manifest.backbone.normalisation),
            },
            size: manifest.model.input,
            geometry: manifest.model.geometry,
            depth: manifest.model.depth,
            light: (manifest.model.light).map_or(LightPlan::AsTaken, LightPlan::Known),
            cache: plan.cache.clone(),
        };
        let source = FeatureSource::of(&file, &features)?;
        let training = training_images(bundle, trained.images, &plan)?;
        Ok(Self {
            source,
            training,
            seed: trained.seed,
            plan,
        })
    }

    /// Fits every method and scores the images that the flow scored, `images` of the evaluated
    /// `folder`.
    ///
    /// # Errors
    /// If the features are unavailable or a method cannot be fitted.
    pub fn run(
        &self,
        images: &[ImageRow],
        folder: &Path,
        execution: Execution,
        observe: &mut dyn FnMut(ComparisonStep),
    ) -> Result<Comparison, ComparisonError> {
        let mut extract = |paths: Vec<PathBuf>| {
            let mut tell = |step: ExtractionStep| {
                observe(ComparisonStep::Features(step));
                Ok(())
            };
            self.source
                .extract(paths, Repeated::Keep, execution, &mut tell)
        };
        let train = extract(self.training.clone())?;
        if train.len() < self.training.len() {
            return Err(ComparisonError::TrainingImages {
                folder: self.plan.images.join("train").join(&self.plan.good),
                expected: self.training.len(),
                found: train.len(),
            });
        }
        let test = extract(
            images
                .iter()
                .map(|image| folder.join(&image.path))
                .collect(),
        )?;
        let readable: HashSet<&Path> = test.iter().map(|image| image.path.as_path()).collect();
        let images = images
            .iter()
            .filter(|image| readable.contains(folder.join(&image.path).as_path()))
            .collect::<Vec<_>>();
        let metrics = |scores: &[f32]| {
            let kinds = images.iter().map(|image| image.kind.as_str());
            ImageMetrics::new(kinds.zip(scores.iter().copied())).ok_or(ComparisonError::OneKind)
        };
        let own: Vec<f32> = images.iter().map(|image| image.score).collect();
        let mut rows = vec![ComparisonRow {
            method: "cs-flow",
            how: "the bundle's model",
            metrics: metrics(&own)?,
        }];
        let training_images = train.len();
        let (train, test) = (self.source.set(&train)?, self.source.set(&test)?);
        for &method in &self.plan.methods {
            let scores = self.scores(method, &train, &test, observe)?;
            rows.push(ComparisonRow {
                method: method.name(),
                how: method.how(),
                metrics: metrics(&scores)?,
            });
        }
        Ok(Comparison {
            training_images,
            test_images: images.len(),
            rows,
        })
    }

    /// Fits one method on `train` and scores `test`.
    fn scores(
        &self,
        method: Method,
        train: &FeatureSet,
        test: &FeatureSet,
        observe: &mut dyn FnMut(ComparisonStep),
    ) -> Result<Vec<f32>, ComparisonError> {
        observe(ComparisonStep::Fits(method));
        let mut trains = |step| {
            observe(ComparisonStep::Trains(method, step));
            Ok(())
        };
        let scored = method
            .contender(self.seed)
            .scores(train, test, &mut trains)
            .map_err(|source| ComparisonError::Method {
                method: method.name(),
                source,
            })?;
        Ok(scored.scores.iter().map(|&score| score as f32).collect())
    }
}

/// Returns the files that trained the bundle, each once.
fn training_images(
    bundle: &Bundle,
    expected: usize,
    plan: &ComparisonPlan,
) -> Result<Vec<PathBuf>, ComparisonError> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for path in dataset::train_good(&plan.images, &plan.good)?.paths {
        let digest = match sha256_file(&path) {
            Ok(digest) => digest,
            Err(source) => return Err(ComparisonError::Unreadable { path, source }),
        };
        if bundle.was_trained_on(digest) && seen.insert(digest) {
            found.push(path);
        }
    }
    if found.len() < expected {
        return Err(ComparisonError::TrainingImages {
            folder: plan.images.join("train").join(&plan.good),
            expected,
            found: found.len(),
        });
    }
    Ok(found)
}
