//! From a picture to the input of the model that will judge it, in buffers that go round.
//!
//! A camera has [`TENSORS`] of them, whatever models judge its parts: they take the size that the
//! next part wants, and bound how many parts are on their way to the model.

use std::sync::Arc;

use flawd_core::image::{RgbImage, Size};
use flawd_core::preprocess::{Geometry, Preprocessor};
use flawd_core::quality::{self, FrozenPicture};
use flawd_core::verdict::Reason;

use super::inbox::Inbox;
use crate::line::config::CameraSettings;
use crate::line::pipeline::channels::pool::{Pool, Pooled};
use crate::line::pipeline::part::frame::{NoDecision, Tensor};
use crate::line::pipeline::part::model::{LoadedModel, ModelSet};

/// Tensors of one camera: one in the model, one being filled. A third would only be older.
pub(crate) const TENSORS: usize = 2;

/// A sensor's noise makes no two pictures the same, so this many equal ones are none of them new.
const FROZEN: usize = 3;

/// Prepares the parts of one camera.
pub(crate) struct Preprocess {
    /// The camera's own geometry takes precedence over the model's.
    geometry: Option<Geometry>,
    /// Pictures are refused that cannot be judged.
    gate: bool,
    tensors: Pool<Tensor>,
    /// One for each input that the models in use want, made when the first part comes for it.
    fitted: Vec<Fitted>,
}

/// What makes one kind of input.
struct Fitted {
    preprocessor: Preprocessor,
    /// Notices a camera that gives the same picture again and again.
    frozen: FrozenPicture,
    /// What the source called the part of the last picture.
    last: Option<Arc<str>>,
}

impl Preprocess {
    /// A preprocessing for a camera with these settings; `inbox` is told when a tensor has come
    /// back.
    pub(crate) fn new(settings: &CameraSettings, inbox: Inbox) -> Self {
        let tensors = vec![Tensor::new(); TENSORS];
        Self {
            geometry: settings.geometry,
            gate: settings.quality_gate,
            tensors: Pool::new(tensors, move || inbox.nudge()),
            fitted: Vec::new(),
        }
    }

    /// A free tensor, if there is one.
    pub(crate) fn tensor(&self) -> Option<Pooled<Tensor>> {
        self.tensors.take()
    }

    /// Fills a tensor for `model` with a picture, which the source calls `part`.
    ///
    /// # Errors
    /// Why the picture cannot be judged.
    pub(crate) fn run(
        &mut self,
        part: Option<&Arc<str>>,
        picture: &Result<Arc<RgbImage>, String>,
        model: &LoadedModel,
        tensor: &mut Tensor,
    ) -> Result<(), NoDecision> {
        let undecided = |detail| NoDecision {
            reason: Reason::ImageQuality,
            detail,
        };
        let gate = self.gate;
        let picture = (picture.as_ref()).map_err(|problem| undecided(problem.clone()))?;
        let fitted = self.fitted(model);
        tensor.resize(fitted.preprocessor.target().area() * 3, 0);
        (fitted.preprocessor.run(picture, tensor)).map_err(|error| undecided(error.to_string()))?;
        if gate && fitted.is_frozen(part, tensor) {
            let detail = format!("the camera has given the same picture {FROZEN} times");
            return Err(undecided(detail));
        }
        if let Some(limits) = model.judge.quality.filter(|_| gate) {
            let measured = quality::measure(tensor, model.input_size());
            (limits.check(measured)).map_err(|error| undecided(error.to_string()))?;
        }
        Ok(())
    }

    /// What is cut out of a picture for this model.
    pub(crate) fn geometry(&self, model: &LoadedModel) -> Geometry {
        self.geometry.unwrap_or(model.geometry)
    }

    /// Keeps what these models want, and nothing of those before them.
    pub(crate) fn keep_for(&mut self, models: &ModelSet) {
        let wanted: Vec<_> = models.all().map(|model| self.wants(model)).collect();
        self.fitted.retain(|it| wanted.contains(&it.makes()));
    }

    fn fitted(&mut self, model: &LoadedModel) -> &mut Fitted {
        let wanted = self.wants(model);
        let found = self.fitted.iter().position(|it| it.makes() == wanted);
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

    fn wants(&self, model: &LoadedModel) -> (Size, Geometry) {
        (model.input_size(), self.geometry(model))
    }
}

impl Fitted {
    fn makes(&self) -> (Size, Geometry) {
        let preprocessor = &self.preprocessor;
        (preprocessor.target(), *preprocessor.geometry())
    }

    /// Whether the camera repeats itself. A file that is shown again says nothing of a camera: it
    /// has the name of the one before it.
    fn is_frozen(&mut self, part: Option<&Arc<str>>, tensor: &Tensor) -> bool {
        let is_same_file = part.is_some() && self.last.as_ref() == part;
        self.last = part.cloned();
        !is_same_file && self.frozen.see(tensor)
    }
}
