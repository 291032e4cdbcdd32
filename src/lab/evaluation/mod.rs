//! Measures a bundle on labelled images: scores them, compares with the truth, and creates a
//! report.
//!
//! `flawd evaluate --json` writes the report, and the HTML page ([`report`](crate::lab::report)) is
//! made from it. A number that the images do not determine, such as an AUROC without a good image,
//! is null. `docs/evaluation.md` explains the origin of every number.

mod categories;
pub(crate) mod compared;
mod file_list;
mod mask;
pub(crate) mod metrics;
mod run;
mod tally;
mod truth;

pub use categories::{Category, CategoryError, EvaluationTarget, Mean, Overview};
pub use mask::MaskError;
pub use run::{EvaluationPlan, EvaluationStep, Splits, evaluate};
pub use truth::SampleError;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use flawd_core::calibration::CalibrationMethod;
use flawd_core::digest::Digest;
use flawd_core::evaluation::{KeptPromise, PixelTruth};
use flawd_core::manifest::MetricsRecord;
use serde::{Serialize, Serializer};

use super::dataset::LeftOut;
use super::variation::ChangeList;
use crate::files::path_text;
use compared::Comparison;

/// All results of an evaluation.
#[derive(Debug, Serialize)]
pub struct Evaluation {
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle.
    pub version: String,
    /// Digest of its model.
    pub model: Digest,
    /// Execution provider that ran the model.
    pub provider: String,
    /// Version of flawd.
    pub flawd: &'static str,
    /// The folder that was evaluated.
    #[serde(serialize_with = "path_text::serialize")]
    pub data: PathBuf,
    /// Digest of the list of the files that were used, as `sha256sum` prints it.
    pub files: Digest,
    /// How every picture was changed before it was scored, if at all; the files are the originals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under: Option<ChangeList>,
    /// Over all images.
    #[serde(flatten)]
    pub overall: Metrics,
    /// The bundle's threshold.
    pub threshold: f32,
    /// The false-reject rate that the bundle promises.
    pub promised_false_reject_rate: f64,
    /// The lower rate that was requested, if the images of the calibration were too few for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_false_reject_rate: Option<f64>,
    /// Interval that contains the number of false rejects in 95 of 100 cases, if the good images
    /// come from the same process as those of the calibration.
    pub expected_false_rejects: Option<[usize; 2]>,
    /// Promises of several rates, measured by calibrating again on random halves of the good
    /// scores: those of the calibration and of these images.
    pub kept_promise: Vec<PromiseRow>,
    /// The masks that show where the defects are.
    pub masks: MaskUse,
    /// Scored images that trained the model, for which the results are too optimistic.
    pub seen_in_training: usize,
    /// Good images whose score equals one that calibrated the bundle, to the last bit. One may be a
    /// coincidence; many are the very images of the calibration, whose false-reject rate the
    /// threshold was chosen for.
    pub scored_in_calibration: usize,
    /// The bundle's golden inputs, scored on this machine.
    pub golden: Vec<GoldenRow>,
    /// How the bundle was calibrated: `split`, whose promise is a bound, or `cross`, with its
    /// folds.
    #[serde(serialize_with = "as_text")]
    pub calibration_method: CalibrationMethod,
    /// One kind of defect against all good images, by kind.
    pub defect_types: BTreeMap<String, Metrics>,
    /// Every image that was scored, good ones first, then by kind; within a kind by file name.
    pub images: Vec<ImageRow>,
    /// Every image or mask that could not be used.
    pub skipped: Vec<SkippedRow>,
    /// Other contents of the folder that were not used.
    pub left_out: Vec<LeftOut>,
    /// Other methods on the same images, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

impl Evaluation {
    /// Returns whether the good images are presumably those that calibrated the bundle: more than a
    /// tenth of them have a score of its calibration.
    pub fn knows_the_good(&self) -> bool {
        10 * self.scored_in_calibration > self.overall.counts.good
    }
}

/// Metrics of the scores of good images and of images with a defect.
#[derive(Debug, Serialize)]
pub struct Metrics {
    /// Area under the ROC curve of the image scores.
    pub image_auroc: Option<f64>,
    /// Average precision of the image scores.
    pub image_ap: Option<f64>,
    /// Best F1 score of the image scores over all thresholds.
    pub f1_max: Option<f64>,
    /// The lowest score that counts as a defect at the best F1 score.
    pub f1_max_threshold: Option<f32>,
    /// Share of the good images that the bundle's threshold rejects.
    pub false_reject_rate: Option<f64>,
    /// Its 95 % Wilson interval.
    pub false_reject_rate_interval: Option<[f64; 2]>,
    /// Share of the images with a defect that the bundle's threshold lets through.
    pub escape_rate: Option<f64>,
    /// Its 95 % Wilson interval.
    pub escape_rate_interval: Option<[f64; 2]>,
    /// Area under the ROC curve of the pixels, if masks show the defects.
    pub pixel_auroc: Option<f64>,
    /// Area under the per-region overlap curve up to 30 % of the good pixels, divided by that
    /// share.
    pub aupro: Option<f64>,
    /// Maximum error of `aupro`, because nearly equal pixels count as equal.
    pub aupro_error: Option<f64>,
    /// The numbers behind the rates.
    pub counts: Counts,
}

/// Numbers of images that were scored.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Without a defect.
    pub good: usize,
    /// Of these, above the threshold.
    pub false_rejects: usize,
    /// With a defect.
    pub defect: usize,
    /// Of these, not above the threshold.
    pub escapes: usize,
}

/// How the masks of defects were used.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct MaskUse {
    /// Scored images with a defect whose mask was used.
    pub used: usize,
    /// Of these, the masks that mark more than half of the inspected part. Many such masks are
    /// presumably inverted: white where nothing is wrong.
    pub mostly_marked: usize,
}

impl MaskUse {
    fn add(&mut self, truth: &PixelTruth) {
        let marked = truth.is_defect().iter().filter(|is| **is).count();
        self.used += 1;
        self.mostly_marked += usize::from(2 * marked > truth.size().area());
    }

    /// Returns whether the masks are presumably inverted: most of them mark more than half.
    pub fn look_inverted(&self) -> bool {
        2 * self.mostly_marked > self.used
    }
}

/// An image that was scored.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    /// Its file, within the evaluated folder.
    #[serde(serialize_with = "path_text::serialize")]
    pub path: PathBuf,
    /// `good`, or the kind of defect.
    pub kind: String,
    /// Its anomaly score.
    pub score: f32,
    /// How unusual the score is among good parts.
    pub p_value: f64,
    /// `ok` or `ng`.
    pub verdict: &'static str,
}

/// A file that could not be used.
#[derive(Debug, Serialize)]
pub struct SkippedRow {
    /// The file, within the evaluated folder.
    #[serde(serialize_with = "path_text::serialize")]
    pub path: PathBuf,
    /// The reason.
    pub error: String,
}

/// A false-reject rate, and whether calibrations on random halves keep it.
#[derive(Debug, Serialize)]
pub struct PromiseRow {
    /// The rate.
    pub promised: f64,
    /// The result of the splits.
    pub measured: Option<KeptPromise>,
    /// Why nothing was measured: half of the good scores are too few for the rate.
    pub too_few: Option<String>,
}

/// A golden input and its score here.
#[derive(Debug, Serialize)]
pub struct GoldenRow {
    /// Its file in the bundle.
    pub file: String,
    /// The score at calibration.
    pub expected: f32,
    /// The score here; `None` if it could not be scored.
    pub score: Option<f32>,
    /// Whether the score is reproduced within its tolerance, with the same verdict.
    pub reproduced: bool,
}

/// Serialises a value by its display form.
fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Metrics {
    /// Returns the numbers for a bundle's manifest, if all of them are determined.
    pub fn to_record(&self) -> Option<MetricsRecord> {
        Some(MetricsRecord {
            good: self.counts.good,
            defect: self.counts.defect,
            image_auroc: self.image_auroc?,
            image_ap: self.image_ap?,
            f1_max: self.f1_max?,
            false_reject_rate: self.false_reject_rate?,
            escape_rate: self.escape_rate?,
        })
    }
}
