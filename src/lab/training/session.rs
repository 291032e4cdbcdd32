//! What all flows of one training share: the plan, the features, and where checkpoints are.

use std::path::PathBuf;

use flawd_core::calibration::{Calibration, CalibrationError};
use flawd_core::flow::{FlowSpec, SCALES};
use flawd_onnx::Execution;
use flawd_train::trainer::TrainingSettings;

use super::run::fingerprint;
use super::{TrainingError, TrainingObserver, TrainingPlan, TrainingProgress};
use crate::lab::features::{ExtractionStep, FeatureImage, FeatureSource, FeaturesError, Variants};

/// What all flows of a session share.
pub(crate) struct Session<'a> {
    pub(crate) plan: &'a TrainingPlan,
    pub(crate) execution: Execution<'a>,
    pub(crate) source: &'a FeatureSource,
}

impl Session<'_> {
    /// Returns where the state of unfinished runs is kept.
    pub(crate) fn runs(&self) -> PathBuf {
        self.plan.features.cache.join("runs")
    }

    /// Returns where the state of the run with this fingerprint is kept.
    pub(crate) fn checkpoint(&self, fingerprint: &str) -> PathBuf {
        self.runs().join(format!("{fingerprint}.safetensors"))
    }

    /// Returns the images that a flow is trained on: those given, and if the plan varies pictures,
    /// random changes of each.
    pub(crate) fn varied(
        &self,
        training: &[FeatureImage],
        observe: &mut TrainingObserver,
    ) -> Result<Vec<FeatureImage>, TrainingError> {
        let mut images = training.to_vec();
        if let Some(variation) = &self.plan.vary {
            let variants = Variants {
                variation,
                number: VARIANTS,
                seed: self.plan.flow.training.seed,
            };
            let mut extraction = |step: ExtractionStep| observe(TrainingProgress::Varied(step));
            let source = self.source;
            images.extend(source.vary(training, &variants, self.execution, &mut extraction)?);
        }
        Ok(images)
    }

    /// Returns a name that differs between runs whose numbers would.
    pub(crate) fn fingerprint(
        &self,
        training: &[FeatureImage],
        settings: &TrainingSettings,
    ) -> Result<String, TrainingError> {
        let spec = flow_spec(self.plan, self.source)?;
        Ok(fingerprint(
            self.plan,
            settings,
            &spec,
            self.source,
            training,
        ))
    }
}

/// Varied pictures per picture that trains, beside itself.
const VARIANTS: usize = 3;

/// Returns the flow of a plan on these features.
pub(crate) fn flow_spec(
    plan: &TrainingPlan,
    source: &FeatureSource,
) -> Result<FlowSpec, FeaturesError> {
    Ok(plan.flow.spec(source.channels()?, SCALES, true))
}

/// Returns the threshold for `scores`, as the plan promises it.
pub(crate) fn calibrate(
    plan: &TrainingPlan,
    scores: Vec<f32>,
) -> Result<Calibration, CalibrationError> {
    let calibration = plan.promise.calibrate(scores)?;
    calibration.with_method(plan.hold_out.method())
}
