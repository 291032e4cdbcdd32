//! A trained flow, and the file that it is exported to: written, run as in the daemon, and compared
//! with the flow itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_core::anomaly::Readout;
use flawd_core::transform::FeatureTransform;
use flawd_onnx::model_graph;
use flawd_train::network::Flow;
use flawd_train::trainer::{EpochReport, TrainingSettings};
use flawd_train::transform;

use super::run::Run;
use super::session::{Session, flow_spec};
use super::{TrainingError, TrainingObserver, TrainingProgress};
use crate::bundle::scorer::Scorer;
use crate::bundle::stress;
use crate::lab::calibration::Examined;
use crate::lab::features::{FeatureImage, SkippedImage};

/// Largest relative difference between a score of the exported model and the trainer's own.
pub(crate) const EXPORT_TOLERANCE: f64 = 1e-4;

/// Number of images on which the export is compared with the trainer.
const COMPARED_IMAGES: usize = 8;

/// Number of held-out images whose loss is watched at most: enough for a mean, and a twentieth of the
/// time of an epoch over 250 images.
const WATCHED_IMAGES: usize = 32;

/// A flow at the end of its training.
pub(crate) struct Trained {
    pub(crate) transform: FeatureTransform,
    pub(crate) flow: Flow,
    pub(crate) epochs: Vec<EpochReport>,
    /// The state from which the run would resume.
    pub(crate) checkpoint: PathBuf,
}

/// An exported model's results for images.
pub(crate) struct Examination {
    /// Each image that could still be read, in order, and what is known about it.
    pub(crate) good: Vec<(FeatureImage, Examined)>,
    /// Largest relative difference between a score and the trainer's.
    pub(crate) difference: f64,
    /// What scored them.
    pub(crate) scorer: Scorer,
}

impl Trained {
    /// Trains a flow on `training`, from the start or from this run's checkpoint, and watches its loss
    /// on some of `held_out`.
    pub(crate) fn train(
        session: &Session,
        training: &[FeatureImage],
        settings: &TrainingSettings,
        held_out: &[FeatureImage],
        observe: &mut TrainingObserver,
    ) -> Result<Self, TrainingError> {
        let fingerprint = session.fingerprint(training, settings)?;
        let varied = session.varied(training, observe)?;
        let set = session.source.set(&varied)?;
        let settings = &settings.clone().over(training.len(), varied.len());
        let transform = transform::fit(session.plan.flow.transform, &set)?;
        let checkpoint = session.checkpoint(&fingerprint);
        let watched = match &held_out[..held_out.len().min(WATCHED_IMAGES)] {
            [] => None,
            some => Some(session.source.set(some)?),
        };
        let run = Run {
            plan: session.plan,
            spec: flow_spec(session.plan, session.source)?,
            set: &set,
            watched: watched.as_ref(),
            transform: &transform,
            settings,
            held_out: held_out.len(),
            fingerprint,
            checkpoint: checkpoint.clone(),
        };
        let (flow, epochs) = run.train(observe)?;
        Ok(Self {
            transform,
            flow,
            epochs,
            checkpoint,
        })
    }

    /// Returns the bytes of `model.onnx`.
    pub(crate) fn export(&self, session: &Session) -> Result<Vec<u8>, TrainingError> {
        Ok(model_graph(
            &session.source.backbone,
            &session.source.spec,
            &self.transform,
            self.flow.spec(),
            &self.flow.parameters,
            Readout {
                score: session.plan.flow.score,
                map: session.plan.map,
            },
            &BTreeMap::from([("name".to_owned(), session.plan.name.clone())]),
        )?)
    }

    /// Scores `images` with the exported file `model`, through the daemon's own preprocessing.
    /// Files that changed or disappeared since their features were extracted are reported and left
    /// out: one such file should not end hours of training.
    ///
    /// # Errors
    /// If no image is left, one cannot be scored, the model cannot score other pictures, or the
    /// file does not score as the flow does.
    pub(crate) fn examine(
        &self,
        session: &Session,
        model: &Path,
        images: &[FeatureImage],
        observe: &mut TrainingObserver,
    ) -> Result<Examination, TrainingError> {
        let geometry = session.plan.features.geometry;
        let depth = session.source.depth();
        let mut scorer = Scorer::load(model, geometry, session.execution)?;
        let vary = session.plan.vary.as_ref();
        let mut good: Vec<(FeatureImage, Examined)> = Vec::with_capacity(images.len());
        for (done, image) in images.iter().enumerate() {
            let total = images.len();
            observe(TrainingProgress::Scored { done, total })?;
            match image.read_again(depth) {
                Ok(picture) => {
                    let examined = Examined::new(&mut scorer, &picture, vary, image.digest.seed())?;
                    good.push((image.clone(), examined));
                }
                Err(reason) => {
                    let path = image.path.clone();
                    let skipped = SkippedImage { path, reason };
                    observe(TrainingProgress::Skipped(&skipped))?;
                }
            }
        }
        if good.is_empty() {
            return Err(TrainingError::NoneLeft(images.len()));
        }
        stress::check(&mut scorer)?;
        let difference = self.difference(session, &good)?;
        observe(TrainingProgress::Exported { difference })?;
        if difference.is_nan() || difference > EXPORT_TOLERANCE {
            return Err(TrainingError::ExportDiffers {
                difference,
                allowed: EXPORT_TOLERANCE,
            });
        }
        Ok(Examination {
            good,
            difference,
            scorer,
        })
    }

    /// Returns the largest relative difference between the exported model's scores of the first
    /// images and the flow's own.
    fn difference(
        &self,
        session: &Session,
        exported: &[(FeatureImage, Examined)],
    ) -> Result<f64, TrainingError> {
        let compared = &exported[..exported.len().min(COMPARED_IMAGES)];
        let images: Vec<FeatureImage> = compared.iter().map(|(image, _)| image.clone()).collect();
        let features = session.source.set(&images)?;
        let samples: Vec<usize> = (0..features.len()).collect();
        let batch = transform::apply(&self.transform, features.load(&samples)?);
        let own = self.flow.forward(batch).0.scores(session.plan.flow.score);
        let difference = |(own, (_, exported)): (&f64, &(FeatureImage, Examined))| {
            (f64::from(exported.taken.score) - own).abs() / own
        };
        // NaN is kept: `f64::max` would drop it.
        let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        Ok(own.iter().zip(compared).map(difference).fold(0.0, larger))
    }
}
