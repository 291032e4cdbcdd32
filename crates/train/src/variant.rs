//! A variant of the flow: its view of the features, how it is built and trained, and its scores.
//!
//! The scores are those of the trainer's own forward pass: a variant is for comparison, not for
//! shipping.

use flawd_core::flow::FlowSpec;
use flawd_core::interrupted::Interrupted;

use crate::features::FeatureSet;
use crate::settings::FlowSettings;
use crate::trainer::{EpochError, StepReport, Trainer};
use crate::transform;
use crate::view::FeatureView;

/// Everything that the scores of a variant depend on besides the images.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its view of the features.
    pub view: FeatureView,
    /// Whether its scales are linked.
    pub cross_scale: bool,
    /// How it is built and trained.
    pub flow: FlowSettings,
}

/// The results of a trained variant.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantScores {
    /// The anomaly score of each image, in the order of the set.
    pub scores: Vec<f64>,
    /// Number of trainable parameters.
    pub parameters: usize,
    /// Mean loss of the last epoch.
    pub final_loss: f64,
}

/// Images that are scored at a time.
const BATCH: usize = 16;

impl Variant {
    /// Returns the shape of the flow for these features.
    pub fn spec(&self, features: &FeatureSet) -> FlowSpec {
        let shapes = features.seen_as(self.view.clone()).shapes();
        (self.flow).spec(shapes[0][0], shapes.len(), self.cross_scale)
    }

    /// Trains on `train` and scores `test`; `observe` is called after every step and may stop it.
    ///
    /// # Errors
    /// As [`Trainer::epoch`]; an interrupted variant starts over.
    pub fn scores(
        &self,
        train: &FeatureSet,
        test: &FeatureSet,
        mut observe: impl FnMut(StepReport) -> Result<(), Interrupted>,
    ) -> Result<VariantScores, EpochError> {
        let (train, test) = (
            train.seen_as(self.view.clone()),
            test.seen_as(self.view.clone()),
        );
        let transform = transform::fit(self.flow.transform, &train)?;
        let spec = self.spec(&train);
        let mut trainer = Trainer::new(spec, self.flow.training.clone(), &train, &transform)?;
        while !trainer.is_finished() {
            trainer.epoch(&mut observe)?;
        }
        let mut scores = Vec::with_capacity(test.len());
        for batch in test.batches(BATCH) {
            let (latents, _) = trainer.flow().forward(transform::apply(&transform, batch?));
            scores.extend(latents.scores(self.flow.score));
        }
        Ok(VariantScores {
            scores,
            parameters: trainer.flow().parameters.len(),
            final_loss: trainer.epochs().last().map_or(f64::NAN, |epoch| epoch.loss),
        })
    }
}
