//! From a trained flow to a bundle: export, compare, calibrate, write.
//!
//! Everything here is computed with the exported file, in the same way as in the daemon.

use std::path::Path;

use flawd_core::digest::Digest;
use flawd_core::manifest::{
    self, BackboneRecord, BundleVersion, Manifest, ModelRecord, TrainingRecord,
};
use jiff::Timestamp;

use super::cross::OutOfFold;
use super::escapes::{self, Escapes};
use super::session::{Session, calibrate};
use super::trained::Trained;
use super::{TrainingError, TrainingObserver, TrainingProgress};
use crate::bundle::{Bundle, Draft, DraftRecord, Thresholds};
use crate::files::path_text;
use crate::lab::calibration::HeldOut;
use crate::lab::features::FeatureImage;

/// A trained flow with everything that goes into its bundle.
pub(crate) struct Shipment<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) trained: &'a Trained,
    pub(crate) training: &'a [FeatureImage],
    /// Empty if the calibration is a cross-calibration.
    pub(crate) held_out: &'a [FeatureImage],
    /// Names of the images that were left out by hand.
    pub(crate) excluded: &'a [String],
    /// What calibrates, if no image was held out of the training.
    pub(crate) out_of_fold: Option<&'a OutOfFold>,
}

/// A bundle in its place.
pub(crate) struct Shipped {
    pub(crate) bundle: Bundle,
    /// Largest relative difference between a score of an exported model and the trainer's.
    pub(crate) export_difference: f64,
    /// Which images set the threshold, human-readable.
    pub(crate) highest: String,
    /// The made-up defects that it would let through.
    pub(crate) escapes: Vec<Escapes>,
}

impl Shipment<'_> {
    /// Writes the bundle.
    pub(crate) fn ship(&self, observe: &mut TrainingObserver) -> Result<Shipped, TrainingError> {
        let mut draft = Draft::begin(&self.session.plan.out)?;
        let model = draft.write_model(&self.trained.export(self.session)?)?;
        let lines = self.training.iter().flat_map(|image| {
            let name = path_text::text(&image.path);
            let pixels = format!("pixels of {name}");
            [(image.digest, name.into_owned()), (image.pixels, pixels)]
        });
        let lines: Vec<(Digest, String)> = lines.collect();
        draft.write_training_files(lines.iter().map(|(digest, name)| (*digest, name.as_str())))?;

        // Golden inputs verify what a device computes, so images that trained serve as well.
        let scored = match self.out_of_fold {
            None => self.held_out,
            Some(_) => self.training,
        };
        let mut examined = (self.trained).examine(self.session, &model, scored, observe)?;
        let good = examined.good.into_iter();
        let own = HeldOut::examined(good.map(|(image, good)| (image.path, good)));
        let (held_out, difference) = match self.out_of_fold {
            None => (&own, examined.difference),
            Some(other) => (&other.scored, examined.difference.max(other.difference)),
        };
        let plan = self.session.plan;
        let thresholds = held_out.thresholds(
            |scores| calibrate(plan, scores),
            &plan.selection,
            self.excluded.to_vec(),
            plan.vary.as_ref(),
        )?;
        let highest = held_out.highest(&thresholds.calibration);
        observe(TrainingProgress::Calibrated(&thresholds.calibration))?;
        let escapes = escapes::estimate(
            self.session,
            &mut examined.scorer,
            &thresholds.calibration,
            scored,
            observe,
        )?;
        let depth = self.session.source.depth();
        let golden = own.golden(&mut examined.scorer, &thresholds.calibration, depth)?;
        let bundle = draft.finish(&golden, |record| self.manifest(record, thresholds))?;
        Ok(Shipped {
            bundle,
            export_difference: difference,
            highest,
            escapes,
        })
    }

    fn manifest(&self, record: DraftRecord, thresholds: Thresholds) -> Manifest {
        let Self {
            session, trained, ..
        } = self;
        let (plan, source) = (session.plan, session.source);
        let file = source.backbone.path().file_name().unwrap_or_default();
        let settings =
            toml::Table::try_from(&plan.flow.training).expect("settings are plain numbers");
        Manifest {
            format: manifest::FORMAT,
            name: plan.name.clone(),
            version: BundleVersion::FIRST,
            created: Timestamp::now(),
            model: ModelRecord {
                digest: record.model,
                input: plan.features.size,
                geometry: plan.features.geometry,
                depth: source.depth(),
                light: source.spec.light,
                score: plan.flow.score,
                map: plan.map,
            },
            backbone: BackboneRecord {
                file: path_text::text(Path::new(file)).into_owned(),
                digest: source.backbone_digest,
                outputs: source.spec.outputs.clone(),
                normalisation: source.spec.normalisation,
            },
            flow: trained.flow.spec().clone(),
            training: Some(TrainingRecord {
                images: self.training.len(),
                data: record.training_files.expect("the list was written"),
                transform: plan.flow.transform.to_string(),
                seed: plan.flow.training.seed,
                epochs: trained.epochs.len(),
                final_loss: trained.epochs.last().map_or(f64::NAN, |epoch| epoch.loss),
                losses: trained.epochs.iter().map(|epoch| epoch.loss).collect(),
                held_out_losses: (trained.epochs.iter())
                    .filter_map(|epoch| epoch.held_out_loss)
                    .collect(),
                settings,
            }),
            import: None,
            conversion: None,
            calibration: thresholds.calibration,
            pixel: Some(thresholds.pixel),
            selection: thresholds.selection,
            quality: Some(thresholds.quality),
            metrics: None,
            golden: record.golden,
        }
    }
}
