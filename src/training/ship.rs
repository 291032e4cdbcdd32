//! From a trained flow to a bundle: export, compare, calibrate, write.
//!
//! Everything here is computed with the exported file, by the path that the daemon takes.

use std::collections::BTreeMap;

use flawd_core::calibration::Calibration;
use flawd_core::manifest::{
    self, BackboneRecord, BundleVersion, Manifest, ModelRecord, TrainingRecord,
};
use flawd_core::transform::FeatureTransform;
use flawd_onnx::{Runtime, SessionOptions, model_graph};
use flawd_train::network::Flow;
use flawd_train::trainer::EpochReport;
use flawd_train::transform;
use jiff::Timestamp;

use super::session::calibrate;
use super::{Observer, Progress, TrainingError, TrainingPlan, tell};
use crate::bundle::{
    Bundle, Draft, DraftRecord, GoldenInput, GoodImage, Thresholds, choose_golden,
};
use crate::decode::decode_file;
use crate::features::{FeatureImage, FeatureSource};
use crate::scorer::Scorer;

/// Largest relative difference between a score of the exported model and the trainer's own.
pub(super) const EXPORT_TOLERANCE: f64 = 1e-4;

/// Held-out images on which the export is compared with the trainer.
const COMPARED_IMAGES: usize = 8;

/// A trained flow with everything that goes into its bundle.
pub(super) struct Shipment<'a> {
    pub(super) plan: &'a TrainingPlan,
    pub(super) source: &'a FeatureSource,
    pub(super) transform: &'a FeatureTransform,
    pub(super) flow: &'a Flow,
    pub(super) epochs: &'a [EpochReport],
    pub(super) training: &'a [FeatureImage],
    pub(super) held_out: &'a [FeatureImage],
}

/// A bundle in its place.
pub(super) struct Shipped {
    pub(super) bundle: Bundle,
    /// Largest relative difference between a score of the shipped model and the trainer's.
    pub(super) export_difference: f64,
}

impl Shipment<'_> {
    /// Writes the bundle.
    pub(super) fn ship(
        &self,
        runtime: &Runtime,
        options: &SessionOptions,
        observe: &mut Observer,
    ) -> Result<Shipped, TrainingError> {
        let mut draft = Draft::begin(&self.plan.out)?;
        let model = draft.write_model(&self.export()?)?;
        let names: Vec<_> = self
            .training
            .iter()
            .map(|image| image.path.to_string_lossy())
            .collect();
        let digests = self.training.iter().map(|image| image.digest);
        draft.write_training_files(digests.zip(names.iter().map(AsRef::as_ref)))?;

        let mut scorer = Scorer::load(&model, self.plan.features.geometry, runtime, options)?;
        let mut good: Vec<GoodImage> = Vec::with_capacity(self.held_out.len());
        for image in self.held_out {
            good.push(scorer.examine(&decode_file(&image.path)?)?.into());
        }
        let scores: Vec<f32> = good.iter().map(|image| image.score).collect();
        let difference = self.difference(&scores)?;
        tell(observe, Progress::Exported { difference })?;
        if difference.is_nan() || difference > EXPORT_TOLERANCE {
            return Err(TrainingError::ExportDiffers { difference });
        }

        let thresholds = Thresholds::from_good(&good, |scores| calibrate(self.plan, scores))?;
        tell(observe, Progress::Calibrated(&thresholds.calibration))?;
        let golden = self.golden(&scores, &thresholds.calibration)?;
        let bundle = draft.finish(&golden, |record| self.manifest(record, thresholds))?;
        Ok(Shipped {
            bundle,
            export_difference: difference,
        })
    }

    /// The bytes of `model.onnx`.
    fn export(&self) -> Result<Vec<u8>, TrainingError> {
        Ok(model_graph(
            &self.source.backbone,
            &self.source.spec,
            self.transform,
            self.flow.spec(),
            &self.flow.parameters,
            self.plan.map,
            &BTreeMap::from([("name".to_owned(), self.plan.name.clone())]),
        )?)
    }

    /// Largest relative difference between the exported model's scores of the first held-out
    /// images and the flow's own.
    fn difference(&self, exported: &[f32]) -> Result<f64, TrainingError> {
        let compared = &self.held_out[..self.held_out.len().min(COMPARED_IMAGES)];
        let features = self.source.set(compared)?;
        let samples: Vec<usize> = (0..features.len()).collect();
        let batch = transform::apply(self.transform, features.load(&samples)?);
        let own = self.flow.forward(batch).0.scores();
        let difference = |(own, &exported): (&f64, &f32)| (f64::from(exported) - own).abs() / own;
        Ok(own.iter().zip(exported).map(difference).fold(0.0, f64::max))
    }

    /// The pictures that every device has to score as this one did.
    fn golden(
        &self,
        scores: &[f32],
        calibration: &Calibration,
    ) -> Result<Vec<GoldenInput>, TrainingError> {
        let input = |place: usize| {
            let image = decode_file(&self.held_out[place].path)?;
            Ok(GoldenInput {
                image,
                score: scores[place],
            })
        };
        choose_golden(scores, calibration)
            .into_iter()
            .map(input)
            .collect()
    }

    fn manifest(&self, record: DraftRecord, thresholds: Thresholds) -> Manifest {
        let Self { plan, source, .. } = self;
        let file = source.backbone.path().file_name().unwrap_or_default();
        let settings = toml::Table::try_from(&plan.settings).expect("settings are plain numbers");
        Manifest {
            format: manifest::FORMAT,
            name: plan.name.clone(),
            version: BundleVersion::FIRST,
            created: Timestamp::now(),
            model: ModelRecord {
                digest: record.model,
                input: plan.features.size,
                geometry: plan.features.geometry,
                map: plan.map,
            },
            backbone: BackboneRecord {
                file: file.to_string_lossy().into_owned(),
                digest: source.backbone_digest,
                outputs: source.spec.outputs.clone(),
                normalisation: source.spec.normalisation,
            },
            flow: self.flow.spec().clone(),
            training: Some(TrainingRecord {
                images: self.training.len(),
                data: record.training_files.expect("the list was written"),
                transform: plan.transform.to_string(),
                seed: plan.settings.seed,
                epochs: self.epochs.len(),
                final_loss: self.epochs.last().map_or(f64::NAN, |epoch| epoch.loss),
                losses: self.epochs.iter().map(|epoch| epoch.loss).collect(),
                settings,
            }),
            import: None,
            calibration: thresholds.calibration,
            pixel: Some(thresholds.pixel),
            quality: Some(thresholds.quality),
            metrics: None,
            golden: record.golden,
        }
    }
}
