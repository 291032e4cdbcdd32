//! From the bundles that a configuration names to proven models, each loaded once.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use flawd_core::digest::Digest;
use flawd_core::event::ModelData;
use flawd_core::regions::PixelCalibration;
use flawd_onnx::{Runtime, SessionOptions};
use tracing::info;

use super::self_test::{self, Golden};
use super::{BundleRefusal, CameraModels, LoadStep, ModelInUse, ModelsError};
use crate::bundle::scorer::ScorerError;
use crate::bundle::{Bundle, BundleError};
use crate::line::config::{CameraSettings, InferenceSettings};
use crate::line::engine::{self, EngineOpenError, Engines, Machine};
use crate::line::pipeline::part::model::{Judge, LoadedModel};

/// A bundle that was loaded and proven.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The digest of the manifest, which holds the digest of everything else.
    bundle: Digest,
    session: SessionKey,
    pub(crate) active: Arc<LoadedModel>,
    /// With the files' content: the folder may hold another bundle by now.
    pub(crate) golden: Vec<Golden>,
}

/// What must be the same for two bundles to share a session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SessionKey {
    model: Digest,
    options: SessionOptions,
    engines: Option<PathBuf>,
    role: Role,
}

/// A shadow never shares a session with a model that judges: the line would wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Judge,
    Shadow,
}

/// Loads bundles, each once.
pub(crate) struct Loader<'a> {
    runtime: &'a Runtime,
    options: &'a SessionOptions,
    engines: Option<Engines>,
    /// What was loaded, before or by this loader.
    known: Vec<Arc<Loaded>>,
    /// What this loader has verified, by canonical path.
    opened: HashMap<(PathBuf, Role), Arc<Loaded>>,
    progress: &'a mut dyn FnMut(LoadStep<'_>),
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        inference: &'a InferenceSettings,
        runtime: &'a Runtime,
        known: Vec<Arc<Loaded>>,
        progress: &'a mut dyn FnMut(LoadStep<'_>),
    ) -> Self {
        let engines = inference.engines.as_deref();
        Self {
            runtime,
            options: &inference.session,
            engines: engines.map(|folder| Engines::new(folder, Machine::read(runtime))),
            known,
            opened: HashMap::new(),
            progress,
        }
    }

    pub(crate) fn camera(
        &mut self,
        settings: &CameraSettings,
    ) -> Result<CameraModels, ModelsError> {
        let used_by = format!("camera.{}", settings.name);
        let models = &settings.models;
        let mut recipes = BTreeMap::new();
        let standard = self.member(&models.bundle, Role::Judge, &used_by)?;
        for (name, bundle) in &models.recipes {
            let used_by = format!("{used_by}.recipe.{name}");
            recipes.insert(name.clone(), self.member(bundle, Role::Judge, &used_by)?);
        }
        let shadow = models
            .shadow
            .as_deref()
            .map(|bundle| self.shadow(bundle, &standard, &used_by));
        Ok(CameraModels {
            name: settings.name.clone(),
            standard,
            recipes,
            shadow: shadow.transpose()?,
        })
    }

    /// Loads the shadow, a second opinion on the pictures that `standard` judges.
    fn shadow(
        &mut self,
        bundle: &Path,
        standard: &ModelInUse,
        camera: &str,
    ) -> Result<ModelInUse, ModelsError> {
        let used_by = format!("the shadow of {camera}");
        let shadow = self.member(bundle, Role::Shadow, &used_by)?;
        match (shadow.active.depth, standard.active.depth) {
            (Some(own), Some(judges)) if own != judges => Err(ModelsError::Refused {
                bundle: bundle.to_owned(),
                used_by,
                source: Box::new(BundleRefusal::OtherDepth { own, judges }),
            }),
            _ => Ok(shadow),
        }
    }

    fn member(
        &mut self,
        path: &Path,
        role: Role,
        used_by: &str,
    ) -> Result<ModelInUse, ModelsError> {
        // A bundle may be exchanged by changing a link: all its files must be from one bundle.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let key = (place, role);
        let loaded = match self.opened.get(&key) {
            Some(loaded) => Arc::clone(loaded),
            None => {
                let refused = |source| ModelsError::Refused {
                    bundle: path.to_owned(),
                    used_by: used_by.to_owned(),
                    source: Box::new(source),
                };
                let loaded = self.obtain(&key.0, role).map_err(refused)?;
                self.opened.insert(key, Arc::clone(&loaded));
                loaded
            }
        };
        Ok(ModelInUse {
            active: Arc::clone(&loaded.active),
            loaded,
        })
    }

    /// Returns the bundle at this place: verified, and loaded and proven unless it is known.
    fn obtain(&mut self, place: &Path, role: Role) -> Result<Arc<Loaded>, BundleRefusal> {
        (self.progress)(LoadStep::Loading(place));
        let bundle = Bundle::open(place)?;
        let engines = self.engines.as_ref();
        let session = SessionKey {
            model: bundle.manifest().model.digest,
            options: session_options(self.options, role),
            engines: engines.map(|engines| engines.folder().to_owned()),
            role,
        };
        let mut same_session = self.known.iter().filter(|known| known.session == session);
        if let Some(known) = same_session
            .clone()
            .find(|known| known.bundle == bundle.digest())
        {
            let known = Arc::clone(known);
            (self.progress)(LoadStep::Kept(place));
            return Ok(known);
        }
        let active = match same_session.next() {
            Some(known) => share(&known.active, &bundle)?,
            None => self.open(&bundle, &session.options)?,
        };
        let golden = bundle.manifest().golden.iter();
        let golden = golden.map(|golden| Ok((golden.clone(), bundle.golden_file(golden)?)));
        let golden: Vec<Golden> = golden.collect::<Result<_, BundleError>>()?;
        self_test::prove(&active, &golden)?;
        info!(
            bundle = bundle.manifest().name,
            version = %bundle.manifest().version,
            model = %session.model,
            provider = active.judge.model.provider,
            golden_inputs = golden.len(),
            "Model loaded"
        );
        let loaded = Arc::new(Loaded {
            bundle: bundle.digest(),
            session,
            active: Arc::new(active),
            golden,
        });
        self.known.push(Arc::clone(&loaded));
        (self.progress)(LoadStep::Ready(place));
        Ok(loaded)
    }

    /// Opens the bundle's model in its own session.
    fn open(
        &mut self,
        bundle: &Bundle,
        options: &SessionOptions,
    ) -> Result<LoadedModel, EngineOpenError> {
        let progress = &mut *self.progress;
        let mut begun = None;
        let mut building = || {
            begun = Some(Instant::now());
            progress(LoadStep::BuildingEngine(bundle.folder()));
        };
        let engines = self.engines.as_ref();
        let scorer =
            engine::open_scorer(bundle, self.runtime.with(options), engines, &mut building)?;
        if let Some(begun) = begun {
            (self.progress)(LoadStep::EngineBuilt(bundle.folder(), begun.elapsed()));
        }
        let engine = engine::digest(bundle, options, engines);
        let judge = judge(bundle, scorer.provider(), engine);
        let stated = &bundle.manifest().model;
        let mut active = LoadedModel::new(scorer.into_model(), judge, stated.geometry);
        active.depth = stated.depth;
        Ok(active)
    }
}

/// Combines the session of `active` with the other settings of this bundle, which has the same
/// model.
fn share(active: &LoadedModel, bundle: &Bundle) -> Result<LoadedModel, ScorerError> {
    let stated = &bundle.manifest().model;
    if stated.input != active.input_size() {
        return Err(ScorerError::InputSize {
            stated: stated.input,
            actual: active.input_size(),
        });
    }
    let runs_on = &active.judge.model;
    let mut shared = active.with_judge(judge(bundle, &runs_on.provider, runs_on.engine));
    shared.geometry = stated.geometry;
    shared.depth = stated.depth;
    Ok(shared)
}

fn judge(bundle: &Bundle, provider: &str, engine: Option<Digest>) -> Judge {
    let manifest = bundle.manifest();
    Judge {
        calibration: manifest.calibration.clone(),
        pixel_threshold: manifest.pixel.as_ref().map(PixelCalibration::threshold),
        quality: manifest.quality.as_ref().map(|quality| quality.limits),
        pictures: (manifest.quality.as_ref())
            .and_then(|quality| quality.pictures.clone())
            .map(Arc::new),
        model: ModelData {
            name: manifest.name.clone(),
            version: manifest.version.to_string(),
            digest: manifest.model.digest,
            provider: provider.to_owned(),
            engine,
        },
    }
}

/// Returns the session's options. A shadow runs on one thread: the cores are for the model that
/// judges.
fn session_options(options: &SessionOptions, role: Role) -> SessionOptions {
    match role {
        Role::Judge => options.clone(),
        Role::Shadow => SessionOptions {
            intra_threads: 1,
            ..options.clone()
        },
    }
}
