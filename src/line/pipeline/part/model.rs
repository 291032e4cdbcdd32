//! A model that judges parts, loaded and proven. Each part carries it through the pipeline, so that
//! the model can be exchanged between two parts without affecting either.
//!
//! Every [`Arc`] of one keeps it alive: after an exchange the old model is dropped with the last
//! part that it had to judge. Cameras with the same bundle share one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use flawd_core::calibration::Calibration;
use flawd_core::condition::UsualPictures;
use flawd_core::depth::Depth;
use flawd_core::event::ModelData;
use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use flawd_core::quality::QualityLimits;
use flawd_onnx::{Model, ModelError, Prediction};
use parking_lot::Mutex;

/// The criteria by which parts are judged.
#[derive(Clone, Debug)]
pub struct Judge {
    /// The threshold and what it guarantees.
    pub calibration: Calibration,
    /// A cell of the anomaly map above this belongs to a region; `None` for no regions.
    pub pixel_threshold: Option<f32>,
    /// Limits on a picture's quality; `None` for no limits.
    pub quality: Option<QualityLimits>,
    /// What pictures were like in the calibration; `None` if that is not known.
    pub pictures: Option<Arc<UsualPictures>>,
    /// The model that judges.
    pub model: ModelData,
}

/// A loaded model with everything needed to interpret its scores.
pub struct LoadedModel {
    /// Turns its scores into verdicts.
    pub judge: Judge,
    /// The geometry applied to the picture first, unless the camera sets its own.
    pub geometry: Geometry,
    /// The depth of pictures of more than 8 bits that do not state it.
    pub depth: Option<Depth>,
    input_size: Size,
    /// One run at a time: a session has one set of buffers.
    session: Arc<Mutex<Model>>,
}

impl LoadedModel {
    /// Creates a model that has been proven with its golden inputs.
    pub fn new(model: Model, judge: Judge, geometry: Geometry) -> Self {
        Self {
            judge,
            geometry,
            depth: None,
            input_size: model.input_size(),
            session: Arc::new(Mutex::new(model)),
        }
    }

    /// Returns the same model with another judge: it shares the session, so nothing is loaded
    /// again.
    pub fn with_judge(&self, judge: Judge) -> Self {
        Self {
            judge,
            geometry: self.geometry,
            depth: self.depth,
            input_size: self.input_size,
            session: Arc::clone(&self.session),
        }
    }

    /// Returns whether both run in one session, regardless of their judges.
    pub fn shares_session_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.session, &other.session)
    }

    /// Returns the size of the image that it takes.
    pub fn input_size(&self) -> Size {
        self.input_size
    }

    /// Scores one image of [`Self::input_size`]; waits while another thread does.
    ///
    /// # Errors
    /// If the run fails or its results are not finite numbers.
    pub fn run(&self, tensor: &[u8]) -> Result<Prediction, ModelError> {
        self.session.lock().run(tensor)
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveModel")
            .field("judge", &self.judge.model)
            .finish_non_exhaustive()
    }
}

/// The models of one camera.
#[derive(Clone, Debug)]
pub struct ModelSet {
    /// For parts that request no recipe.
    pub standard: Arc<LoadedModel>,
    /// For parts that request one, by its name.
    pub recipes: BTreeMap<String, Arc<LoadedModel>>,
}

impl ModelSet {
    /// Returns every model in it.
    pub fn all(&self) -> impl Iterator<Item = &Arc<LoadedModel>> {
        std::iter::once(&self.standard).chain(self.recipes.values())
    }

    /// Returns the model for a recipe. If no recipes are set up, a recipe is only a name to be
    /// echoed.
    pub fn select(&self, recipe: Option<&str>) -> Option<&Arc<LoadedModel>> {
        match recipe {
            Some(recipe) if !self.recipes.is_empty() => self.recipes.get(recipe),
            _ => Some(&self.standard),
        }
    }
}
