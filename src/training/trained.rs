//! A trained flow, and the file that it is exported to: written, run as the daemon runs it, and
//! compared with the flow itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_core::transform::FeatureTransform;
use flawd_onnx::model_graph;
use flawd_train::network::Flow;
use flawd_train::trainer::EpochReport;
use flawd_train::transform;

use super::session::Session;
use super::{Observer, Progress, TrainingError, tell};
use crate::bundle::GoodImage;
use crate::decode::decode_file;
use crate::features::FeatureImage;
use crate::scorer::Scorer;
use crate::stress;

/// Largest relative difference between a score of the exported model and the trainer's own.
pub(super) const EXPORT_TOLERANCE: f64 = 1e-4;

/// Images on which the export is compared with the trainer.
const COMPARED_IMAGES: usize = 8;

/// A flow at the end of its training.
pub(super) struct Trained {
    pub(super) transform: FeatureTransform,
    pub(super) flow: Flow,
    pub(super) epochs: Vec<EpochReport>,
    /// The state that the run would go on from.
    pub(super) checkpoint: PathBuf,
}

/// What an exported model says of images.
pub(super) struct Examination {
    /// Of each image, in their order.
    pub(super) good: Vec<GoodImage>,
    /// Largest relative difference between a score and the trainer's.
    pub(super) difference: f64,
}

impl Trained {
    /// The bytes of `model.onnx`.
    pub(super) fn export(&self, session: &Session) -> Result<Vec<u8>, TrainingError> {
        Ok(model_graph(
            &session.source.backbone,
            &session.source.spec,
            &self.transform,
            self.flow.spec(),
            &self.flow.parameters,
            session.plan.map,
            &BTreeMap::from([("name".to_owned(), session.plan.name.clone())]),
        )?)
    }

    /// Scores `images` with the exported file `model`, through the daemon's own preprocessing.
    ///
    /// # Errors
    /// If one cannot be scored, any other picture cannot, or the file does not score as the flow does.
    pub(super) fn examine(
        &self,
        session: &Session,
        model: &Path,
        images: &[FeatureImage],
        observe: &mut Observer,
    ) -> Result<Examination, TrainingError> {
        let geometry = session.plan.features.geometry;
        let mut scorer = Scorer::load(model, geometry, session.runtime, session.options)?;
        let mut good: Vec<GoodImage> = Vec::with_capacity(images.len());
        for (done, image) in images.iter().enumerate() {
            let total = images.len();
            tell(observe, Progress::Scored { done, total })?;
            good.push(scorer.examine(&decode_file(&image.path)?)?.into());
        }
        stress::check(&mut scorer)?;
        let difference = self.difference(session, images, &good)?;
        tell(observe, Progress::Exported { difference })?;
        if difference.is_nan() || difference > EXPORT_TOLERANCE {
            return Err(TrainingError::ExportDiffers { difference });
        }
        Ok(Examination { good, difference })
    }

    /// Largest relative difference between the exported model's scores of the first images and the
    /// flow's own.
    fn difference(
        &self,
        session: &Session,
        images: &[FeatureImage],
        exported: &[GoodImage],
    ) -> Result<f64, TrainingError> {
        let compared = &images[..images.len().min(COMPARED_IMAGES)];
        let features = session.source.set(compared)?;
        let samples: Vec<usize> = (0..features.len()).collect();
        let batch = transform::apply(&self.transform, features.load(&samples)?);
        let own = self.flow.forward(batch).0.scores();
        let difference =
            |(own, exported): (&f64, &GoodImage)| (f64::from(exported.score) - own).abs() / own;
        // What is no number stays none: `f64::max` would leave it out.
        let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        Ok(own.iter().zip(exported).map(difference).fold(0.0, larger))
    }
}
