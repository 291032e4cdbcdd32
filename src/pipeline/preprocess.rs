//! From a picture to the input of the model that will judge it, in buffers that go round.

use std::sync::Arc;

use flawd_core::{
    image::{RgbImage, Size},
    preprocess::{Geometry, Preprocessor},
    quality::{self, FrozenPicture},
    verdict::Reason,
};

use super::{
    active::ActiveModel,
    frame::{Flaw, Tensor},
    inbox::Inbox,
    pool::{Pool, Pooled},
};
use crate::config::CameraSettings;

/// Tensors of one camera: one in the model, one being filled. A third would only be older.
pub(super) const TENSORS: usize = 2;

/// A sensor's noise makes no two pictures the same, so this many equal ones are none of them new.
const FROZEN: usize = 3;

/// Prepares the parts of one camera.
pub(super) struct Preprocess {
    /// The camera's own geometry goes before the model's.
    geometry: Option<Geometry>,
    /// Pictures are refused that cannot be judged.
    gate: bool,
    /// Notices a camera that gives the same picture again and again; none where that is no fault.
    frozen: Option<FrozenPicture>,
    /// Woken when a tensor has come back.
    inbox: Inbox,
    /// Made for the model that judged last; another one may want another size.
    made_for: Option<(Preprocessor, Pool<Tensor>)>,
}

impl Preprocess {
    /// A preprocessing for a camera with these settings.
    pub(super) fn new(settings: &CameraSettings, inbox: Inbox) -> Self {
        Self {
            geometry: settings.geometry,
            gate: settings.quality_gate,
            frozen: (settings.quality_gate && !settings.is_on_demand())
                .then(|| FrozenPicture::new(FROZEN)),
            inbox,
            made_for: None,
        }
    }

    /// A free tensor for this model, if there is one.
    pub(super) fn tensor(&mut self, model: &ActiveModel) -> Option<Pooled<Tensor>> {
        let (size, geometry) = self.wants(model);
        let fits = |(preprocessor, _): &(Preprocessor, _)| {
            preprocessor.target() == size && *preprocessor.geometry() == geometry
        };
        if !self.made_for.as_ref().is_some_and(fits) {
            let tensor = || vec![0; size.area() * 3].into_boxed_slice();
            let tensors = (0..TENSORS).map(|_| tensor()).collect();
            let inbox = self.inbox.clone();
            let pool = Pool::new(tensors, move || inbox.nudge());
            self.made_for = Some((Preprocessor::new(size, geometry), pool));
        }
        self.made_for.as_ref()?.1.take()
    }

    /// Fills a tensor that was made for `model`, and looks whether the picture can be judged.
    pub(super) fn run(
        &mut self,
        picture: &Result<Arc<RgbImage>, String>,
        model: &ActiveModel,
        mut tensor: Pooled<Tensor>,
    ) -> Result<Pooled<Tensor>, Flaw> {
        let flaw = |detail| Flaw {
            reason: Reason::ImageQuality,
            detail,
        };
        let picture = picture.as_ref().map_err(|problem| flaw(problem.clone()))?;
        if let Some((preprocessor, _)) = &mut self.made_for {
            preprocessor
                .run(picture, &mut tensor)
                .map_err(|error| flaw(error.to_string()))?;
        }
        if self.frozen.as_mut().is_some_and(|it| it.see(&tensor)) {
            let detail = format!("the camera has given the same picture {FROZEN} times");
            return Err(flaw(detail));
        }
        if let Some(limits) = model.judge.quality.filter(|_| self.gate) {
            let measured = quality::measure(&tensor, model.input_size());
            (limits.check(measured)).map_err(|error| flaw(error.to_string()))?;
        }
        Ok(tensor)
    }

    /// What is cut out of a picture for this model.
    pub(super) fn geometry(&self, model: &ActiveModel) -> Geometry {
        self.geometry.unwrap_or(model.geometry)
    }

    fn wants(&self, model: &ActiveModel) -> (Size, Geometry) {
        (model.input_size(), self.geometry.unwrap_or(model.geometry))
    }
}
