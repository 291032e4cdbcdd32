//! Converts a picture to the input of the model that will judge it, in reused buffers.
//!
//! A camera has [`TENSORS`] of them, whatever models judge its parts: they take the size that the
//! next part needs, and limit how many parts are on their way to the model.

use std::sync::Arc;

use flawd_core::image::{RgbImage, Size};
use flawd_core::preprocess::{Geometry, Preprocessor};
use flawd_core::quality::{self, FrozenPicture, Measured};
use flawd_core::verdict::Reason;

use super::inbox::Inbox;
use crate::line::config::CameraSettings;
use crate::line::pipeline::channels::pool::{Pool, Pooled};
use crate::line::pipeline::part::frame::{FrameError, NoDecision, Tensor};
use crate::line::pipeline::part::model::{LoadedModel, ModelSet};
use crate::messages::with_causes;

/// Tensors of one camera: one in the model, one being filled. A third would only add age.
pub(crate) const TENSORS: usize = 2;

/// A sensor's noise makes every picture different, so this many equal ones are all the same frame.
const FROZEN: usize = 3;

/// Prepares the parts of one camera.
pub(crate) struct Preprocess {
    /// The camera's own geometry takes precedence over the model's.
    geometry: Option<Geometry>,
    /// Whether pictures that cannot be judged are refused.
    gate: bool,
    tensors: Pool<Tensor>,
    /// One for each input size that the models in use need, created with the first part for it.
    fitted: Vec<Fitted>,
}

/// What prepares one kind of input.
struct Fitted {
    preprocessor: Preprocessor,
    /// Detects a camera that delivers the same picture over and over.
    frozen: FrozenPicture,
    /// The source's name for the part in the last picture.
    last: Option<Arc<str>>,
}

impl Preprocess {
    /// Creates the preprocessing for a camera with these settings; `inbox` is notified when a
    /// tensor has been returned.
    pub(crate) fn new(settings: &CameraSettings, inbox: Inbox) -> Self {
        let tensors = vec![Tensor::new(); TENSORS];
        Self {
            geometry: settings.geometry,
            gate: settings.quality_gate,
            tensors: Pool::new(tensors, move || inbox.nudge()),
            fitted: Vec::new(),
        }
    }

    /// Returns a free tensor, if any.
    pub(crate) fn tensor(&self) -> Option<Pooled<Tensor>> {
        self.tensors.take()
    }

    /// Fills a tensor for `model` with a picture, which the source calls `part`. Sets `measured` to
    /// what was measured of it, if anything needs that: also of a picture that cannot be judged.
    ///
    /// # Errors
    /// Why the picture cannot be judged.
    pub(crate) fn run(
        &mut self,
        part: Option<&Arc<str>>,
        picture: &Result<Arc<RgbImage>, FrameError>,
        model: &LoadedModel,
        tensor: &mut Tensor,
        measured: &mut Option<Measured>,
    ) -> Result<(), NoDecision> {
        let undecided = |detail| NoDecision {
            reason: Reason::ImageQuality,
            detail,
        };
        let gate = self.gate;
        let picture = (picture.as_ref()).map_err(|error| undecided(with_causes(error)))?;
        let fitted = self.fitted(model);
        tensor.resize(fitted.preprocessor.target().area() * 3, 0);
        (fitted.preprocessor.run(picture, tensor)).map_err(|error| undecided(error.to_string()))?;
        if gate && fitted.is_frozen(part, tensor) {
            let detail = format!("the camera has given the same picture {FROZEN} times");
            return Err(undecided(detail));
        }
        let limits = model.judge.quality.filter(|_| gate);
        if limits.is_none() && model.judge.pictures.is_none() {
            return Ok(());
        }
        let geometry = fitted.preprocessor.geometry();
        let found = quality::measure(picture, geometry, tensor, model.input_size())
            .map_err(|error| undecided(error.to_string()))?;
        let found = measured.insert(found);
        match limits {
            Some(limits) => (limits.check(found)).map_err(|error| undecided(error.to_string())),
            None => Ok(()),
        }
    }

    /// Returns the geometry that is applied to a picture for this model.
    pub(crate) fn geometry(&self, model: &LoadedModel) -> Geometry {
        self.geometry.unwrap_or(model.geometry)
    }

    /// Keeps what these models need, and drops everything else.
    pub(crate) fn keep_for(&mut self, models: &ModelSet) {
        let wanted: Vec<_> = models.all().map(|model| self.wanted_form(model)).collect();
        self.fitted.retain(|it| wanted.contains(&it.form()));
    }

    fn fitted(&mut self, model: &LoadedModel) -> &mut Fitted {
        let wanted = self.wanted_form(model);
        let found = self.fitted.iter().position(|it| it.form() == wanted);
        let index = found.unwrap_or_else(|| {
            let (size, geometry) = wanted;
            self.fitted.push(Fitted {
                preprocessor: Preprocessor::new(size, geometry),
                frozen: FrozenPicture::new(FROZEN),
                last: None,
            });
            self.fitted.len() - 1
        });
        &mut self.fitted[index]
    }

    fn wanted_form(&self, model: &LoadedModel) -> (Size, Geometry) {
        (model.input_size(), self.geometry(model))
    }
}

impl Fitted {
    fn form(&self) -> (Size, Geometry) {
        let preprocessor = &self.preprocessor;
        (preprocessor.target(), *preprocessor.geometry())
    }

    /// Returns whether the camera repeats itself. A file that is shown again does not count: it has
    /// the name of the previous one.
    fn is_frozen(&mut self, part: Option<&Arc<str>>, tensor: &Tensor) -> bool {
        let is_same_file = part.is_some() && self.last.as_ref() == part;
        self.last = part.cloned();
        !is_same_file && self.frozen.see(tensor)
    }
}
