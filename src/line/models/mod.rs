//! The models of a daemon: which bundles the configuration names, each loaded once, proven before
//! it judges anything, and exchanged for others.
//!
//! ```text
//! configuration ─► bundles, verified ─► session ─► golden inputs ─► LoadedModels ─► ModelSet
//!                        ▲                                            │             per camera
//!                        └── unchanged models are kept ◄──────────────┘ reload
//! ```
//! A set of models never changes: a reload, or another threshold, creates a second one beside it.
//! So an error on the way leaves the first unchanged, and nothing has to be rolled back. Contains
//! nothing about threads, topics or parts; the pipeline exchanges the models between two parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flawd_core::calibration::CalibrationError;
use flawd_core::depth::Depth;
use flawd_onnx::Runtime;

use super::camera::PerCamera;
use super::config::ValidConfig;
use super::engine::{EngineError, EngineOpenError};
use super::pipeline::part::model::{Judge, LoadedModel, ModelSet};
use crate::bundle::BundleError;
use crate::bundle::scorer::ScorerError;

mod loader;
mod self_test;

use loader::{Loaded, Loader};

pub use self_test::{GoldenReport, ModelReport, SelfTestReport};

/// Why models could not be loaded or exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// A bundle is not fit to judge parts.
    #[error("the bundle {} of {used_by} is refused", bundle.display())]
    Refused {
        /// Its folder.
        bundle: PathBuf,
        /// What names it, for example `camera.top`.
        used_by: String,
        /// What is wrong.
        source: Box<BundleRefusal>,
    },
    /// There is no camera of this name.
    #[error("there is no camera `{camera}`; there are {}", cameras.join(", "))]
    NoSuchCamera {
        /// The requested name.
        camera: String,
        /// The existing names.
        cameras: Vec<String>,
    },
    /// The calibration scores do not allow this threshold.
    #[error("no threshold of {bundle} for camera `{camera}`")]
    Threshold {
        /// The camera.
        camera: String,
        /// The bundle's name.
        bundle: String,
        /// What is wrong.
        source: CalibrationError,
    },
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleRefusal {
    /// It is missing, damaged, or does not match its manifest.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its model cannot be loaded, or does not score here as it did where the bundle was made.
    #[error(transparent)]
    Model(#[from] ScorerError),
    /// It is a shadow, and would get the pictures in the depth of the model that judges.
    #[error(
        "it was trained with pictures of {own}, and the model that judges reads them by {judges}: \
         train both with the same --depth"
    )]
    OtherDepth {
        /// The depth of the shadow.
        own: Depth,
        /// That of the model that judges.
        judges: Depth,
    },
    /// There is no engine for it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<EngineOpenError> for BundleRefusal {
    fn from(error: EngineOpenError) -> Self {
        match error {
            EngineOpenError::Scorer(error) => Self::Model(error),
            EngineOpenError::Engine(error) => Self::Engine(error),
        }
    }
}

/// A step in loading models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStep<'a> {
    /// A bundle is verified, loaded and proven.
    Loading(&'a Path),
    /// Its engine is being built, which may take minutes.
    BuildingEngine(&'a Path),
    /// It was built, in this time.
    EngineBuilt(&'a Path, Duration),
    /// It is proven and ready.
    Ready(&'a Path),
    /// It has not changed, so the loaded one stays in use.
    Kept(&'a Path),
}

/// The models of all cameras, proven.
#[derive(Clone, Debug)]
pub struct LoadedModels {
    cameras: Vec<CameraModels>,
}

/// The models of one camera.
#[derive(Clone, Debug)]
struct CameraModels {
    name: String,
    standard: ModelInUse,
    recipes: BTreeMap<String, ModelInUse>,
    shadow: Option<ModelInUse>,
}

/// A model in use, and the bundle that it comes from. Their thresholds differ after one was set by
/// command.
#[derive(Clone, Debug)]
struct ModelInUse {
    active: Arc<LoadedModel>,
    loaded: Arc<Loaded>,
}

impl LoadedModels {
    /// Opens every bundle that the configuration names, loads its model, and proves with its golden
    /// inputs that it scores here as it did where the bundle was made. `progress` receives each
    /// step.
    ///
    /// # Errors
    /// [`ModelsError`], which names the bundle and what is wrong with it.
    pub fn load(
        config: &ValidConfig,
        runtime: &Runtime,
        progress: &mut dyn FnMut(LoadStep<'_>),
    ) -> Result<Self, ModelsError> {
        Self::assemble(config, runtime, Vec::new(), progress)
    }

    /// Loads the models of another configuration, or of the same one after a bundle was exchanged
    /// on the disk. Unchanged models are kept, and not loaded again; a threshold that was set by
    /// command is reset to the bundle's.
    ///
    /// # Errors
    /// As [`Self::load`]; these models stay unchanged in any case.
    pub fn reload(
        &self,
        config: &ValidConfig,
        runtime: &Runtime,
        progress: &mut dyn FnMut(LoadStep<'_>),
    ) -> Result<Self, ModelsError> {
        let members = self.cameras.iter().flat_map(CameraModels::members);
        let loaded = members.map(|member| Arc::clone(&member.loaded)).collect();
        Self::assemble(config, runtime, loaded, progress)
    }

    /// Returns the models with another threshold, from the calibration scores of the bundles, for
    /// one camera or for all; its recipes' models get theirs by the same rate. Nothing is loaded.
    ///
    /// # Errors
    /// If there is no such camera, or too few calibration images for this rate.
    pub fn recalibrated(
        &self,
        camera: Option<&str>,
        false_reject_rate: f64,
    ) -> Result<Self, ModelsError> {
        let mut models = self.clone();
        let mut found = false;
        // Cameras that shared a model continue to share one.
        let mut done: Vec<(Arc<LoadedModel>, Arc<LoadedModel>)> = Vec::new();
        for models in &mut models.cameras {
            if camera.is_some_and(|camera| camera != models.name) {
                continue;
            }
            found = true;
            let judges = std::iter::once(&mut models.standard).chain(models.recipes.values_mut());
            for member in judges {
                let known = done
                    .iter()
                    .find(|(old, _)| Arc::ptr_eq(old, &member.active));
                let new = match known {
                    Some((_, new)) => Arc::clone(new),
                    None => Arc::new(member.recalibrated(&models.name, false_reject_rate)?),
                };
                done.push((Arc::clone(&member.active), Arc::clone(&new)));
                member.active = new;
            }
        }
        match camera {
            Some(camera) if !found => Err(ModelsError::NoSuchCamera {
                camera: camera.to_owned(),
                cameras: self
                    .cameras
                    .iter()
                    .map(|models| models.name.clone())
                    .collect(),
            }),
            _ => Ok(models),
        }
    }

    /// Returns the models that judge each camera's parts.
    pub fn model_sets(&self) -> PerCamera<ModelSet> {
        let set = |models: &CameraModels| ModelSet {
            standard: Arc::clone(&models.standard.active),
            recipes: models
                .recipes
                .iter()
                .map(|(name, member)| (name.clone(), Arc::clone(&member.active)))
                .collect(),
        };
        self.cameras.iter().map(set).collect()
    }

    /// Returns each camera's shadow, which scores its parts as well and decides nothing.
    pub fn shadows(&self) -> PerCamera<Option<Arc<LoadedModel>>> {
        let shadow = |models: &CameraModels| {
            let shadow = models.shadow.as_ref();
            shadow.map(|member| Arc::clone(&member.active))
        };
        self.cameras.iter().map(shadow).collect()
    }

    fn assemble(
        config: &ValidConfig,
        runtime: &Runtime,
        known: Vec<Arc<Loaded>>,
        progress: &mut dyn FnMut(LoadStep<'_>),
    ) -> Result<Self, ModelsError> {
        let mut loader = Loader::new(&config.inference, runtime, known, progress);
        let cameras = config
            .cameras
            .iter()
            .map(|camera| loader.camera(camera))
            .collect::<Result<_, _>>()?;
        Ok(Self { cameras })
    }
}

impl CameraModels {
    fn members(&self) -> impl Iterator<Item = &ModelInUse> {
        std::iter::once(&self.standard)
            .chain(self.recipes.values())
            .chain(&self.shadow)
    }
}

impl ModelInUse {
    fn recalibrated(&self, camera: &str, rate: f64) -> Result<LoadedModel, ModelsError> {
        let judge = &self.active.judge;
        let calibration =
            (judge.calibration.at_rate(rate)).map_err(|source| ModelsError::Threshold {
                camera: camera.to_owned(),
                bundle: judge.model.name.clone(),
                source,
            })?;
        Ok(self.active.with_judge(Judge {
            calibration,
            ..judge.clone()
        }))
    }
}
