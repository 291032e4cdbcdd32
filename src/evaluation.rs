//! Measures a bundle on labelled images: scores them, compares with the truth, makes a report.
//!
//! The report is what `flawd evaluate --json` writes. A number that the images do not determine,
//! such as an AUROC without a good image, is null there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flawd_core::calibration::Calibration;
use flawd_core::digest::Digest;
use flawd_core::evaluation::{PixelCounts, Ranking, Rate};
use flawd_core::image::{CHANNELS, RgbImage, Size};
use flawd_core::manifest::MetricsRecord;
use flawd_core::preprocess::PreprocessError;
use flawd_core::verdict::Verdict;
use flawd_onnx::Prediction;
use serde::Serialize;

use crate::bundle::Bundle;
use crate::comparison::Comparison;
use crate::dataset::{Sample, TestSet};
use crate::decode::{DecodeError, decode_file};
use crate::failure::with_causes;
use crate::scorer::{Scorer, ScorerError};

/// Everything that an evaluation found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the bundle.
    pub bundle: String,
    /// Version of the bundle.
    pub version: String,
    /// Digest of its model.
    pub model: Digest,
    /// The folder that was evaluated.
    pub data: PathBuf,
    /// Over all images.
    #[serde(flatten)]
    pub overall: Metrics,
    /// The bundle's threshold.
    pub threshold: f32,
    /// The false-reject rate that the bundle promises.
    pub promised_false_reject_rate: f64,
    /// One kind of defect against all good images, by kind.
    pub defect_types: BTreeMap<String, Metrics>,
    /// Every image that was scored.
    pub images: Vec<ImageRow>,
    /// Every image or mask that could not be used.
    pub skipped: Vec<SkippedRow>,
    /// Other methods on the same images, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What the scores of good images and of images with a defect say together.
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
    /// Wilson's 95 % interval of it.
    pub false_reject_rate_interval: Option<[f64; 2]>,
    /// Share of the images with a defect that the bundle's threshold lets through.
    pub escape_rate: Option<f64>,
    /// Wilson's 95 % interval of it.
    pub escape_rate_interval: Option<[f64; 2]>,
    /// Area under the ROC curve of the pixels, where masks say what a defect is.
    pub pixel_auroc: Option<f64>,
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

/// An image that was scored.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    /// Its file, within the evaluated folder.
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
    pub path: PathBuf,
    /// Why.
    pub error: String,
}

/// What an evaluation reports as it goes.
pub enum Step<'a> {
    /// An image was scored.
    Scored {
        /// Which one.
        sample: &'a Sample,
        /// Its picture as it was decoded.
        image: &'a RgbImage,
        /// What the model says.
        prediction: &'a Prediction,
    },
    /// An image or a mask cannot be used.
    Skipped {
        /// The file.
        path: &'a Path,
        /// Why.
        error: &'a SampleError,
    },
}

/// Why a sample, or its mask, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The image cannot be scored.
    #[error(transparent)]
    Score(#[from] ScorerError),
    /// The mask cannot be decoded.
    #[error(transparent)]
    Mask(#[from] DecodeError),
    /// The mask is not one of this image.
    #[error(
        "the mask is {mask} and its image {image}, height x width: the image has no pixel truth"
    )]
    MaskSize {
        /// Size of the mask.
        mask: Size,
        /// Size of the image.
        image: Size,
    },
    /// The mask has no region of interest.
    #[error(transparent)]
    Geometry(#[from] PreprocessError),
}

/// Scores the images of `test`, which lies in `folder`, and sums up. What cannot be used is
/// reported and left out. An error of `observe` ends the evaluation.
///
/// # Errors
/// Those of `observe`.
pub fn evaluate<E>(
    bundle: &Bundle,
    scorer: &mut Scorer,
    folder: &Path,
    test: &TestSet,
    mut observe: impl FnMut(Step<'_>) -> Result<(), E>,
) -> Result<Report, E> {
    let calibration = bundle.calibration();
    let relative = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_owned();
    let has_masks = test.samples.iter().any(|sample| sample.mask.is_some());
    let mut tally = Tally::default();
    let mut images = Vec::new();
    let mut skipped = Vec::new();
    for sample in &test.samples {
        let mut skip = |path: &Path, error: SampleError| {
            skipped.push(SkippedRow {
                path: relative(path),
                error: with_causes(&error),
            });
            observe(Step::Skipped {
                path,
                error: &error,
            })
        };
        let (image, prediction) = match scorer.score_file(&sample.path) {
            Ok(scored) => scored,
            Err(error) => {
                skip(&sample.path, error.into())?;
                continue;
            }
        };
        let truth = match truth(scorer, sample, &image) {
            _ if !has_masks => None,
            Ok(truth) => truth,
            Err(error) => {
                skip(sample.mask.as_deref().unwrap_or(&sample.path), error)?;
                None
            }
        };
        tally.add(sample, &prediction, truth);
        images.push(ImageRow {
            path: relative(&sample.path),
            kind: sample.kind.clone(),
            score: prediction.score,
            p_value: calibration.p_value(prediction.score),
            verdict: Verdict::from_score(prediction.score, calibration).as_str(),
        });
        observe(Step::Scored {
            sample,
            image: &image,
            prediction: &prediction,
        })?;
    }
    let manifest = bundle.manifest();
    let (overall, defect_types) = tally.metrics(calibration);
    Ok(Report {
        bundle: manifest.name.clone(),
        version: manifest.version.to_string(),
        model: manifest.model.digest,
        data: folder.to_owned(),
        overall,
        threshold: calibration.threshold(),
        promised_false_reject_rate: calibration.alpha(),
        defect_types,
        images,
        skipped,
        comparison: None,
    })
}

/// Which pixels of the inspected part of a picture belong to a defect.
struct PixelTruth {
    size: Size,
    is_defect: Vec<bool>,
}

/// The truth about the pixels of a sample; none for a defect without a mask.
fn truth(
    scorer: &Scorer,
    sample: &Sample,
    image: &RgbImage,
) -> Result<Option<PixelTruth>, SampleError> {
    let mask = match (&sample.mask, sample.is_defect()) {
        (None, true) => return Ok(None),
        (Some(mask), true) => decode_file(mask)?,
        (_, false) => {
            let size = scorer.geometry().apply(image)?.size();
            let is_defect = vec![false; size.area()];
            return Ok(Some(PixelTruth { size, is_defect }));
        }
    };
    if mask.size() != image.size() {
        return Err(SampleError::MaskSize {
            mask: mask.size(),
            image: image.size(),
        });
    }
    let mask = scorer.geometry().apply(&mask)?;
    let pixels = mask.pixels().chunks_exact(CHANNELS);
    Ok(Some(PixelTruth {
        size: mask.size(),
        is_defect: pixels.map(|pixel| pixel[0] > 127).collect(),
    }))
}

/// Scores and pixels, by kind.
#[derive(Default)]
struct Tally {
    good: Group,
    defects: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    scores: Vec<f32>,
    pixels: PixelCounts,
}

impl Tally {
    fn add(&mut self, sample: &Sample, prediction: &Prediction, truth: Option<PixelTruth>) {
        let group = if sample.is_defect() {
            self.defects.entry(sample.kind.clone()).or_default()
        } else {
            &mut self.good
        };
        group.scores.push(prediction.score);
        if let Some(truth) = truth {
            let map = prediction.anomaly_map.upsample(truth.size);
            group.pixels.add(map.values(), &truth.is_defect);
        }
    }

    /// Over all defects, and for each kind alone.
    fn metrics(self, calibration: &Calibration) -> (Metrics, BTreeMap<String, Metrics>) {
        let Self { good, defects } = self;
        let mut all = Group::default();
        for group in defects.values() {
            all.scores.extend(&group.scores);
            all.pixels.merge(&group.pixels);
        }
        let against_good = |defect: Group| Metrics::new(&good, defect, calibration);
        let overall = against_good(all);
        let by_kind = defects
            .into_iter()
            .map(|(kind, group)| (kind, against_good(group)));
        (overall, by_kind.collect())
    }
}

impl Metrics {
    fn new(good: &Group, mut defect: Group, calibration: &Calibration) -> Self {
        let threshold = calibration.threshold();
        let ranking = Ranking::new(&good.scores, &defect.scores);
        let false_rejects = Rate::false_rejects(&good.scores, threshold);
        let escapes = Rate::escapes(&defect.scores, threshold);
        let f1_max = ranking.as_ref().map(Ranking::f1_max);
        defect.pixels.merge(&good.pixels);
        Self {
            image_auroc: ranking.as_ref().map(Ranking::auroc),
            image_ap: ranking.as_ref().map(Ranking::average_precision),
            f1_max: f1_max.map(|best| best.f1),
            f1_max_threshold: f1_max.map(|best| best.threshold),
            false_reject_rate: false_rejects.map(Rate::value),
            false_reject_rate_interval: false_rejects.map(Rate::interval),
            escape_rate: escapes.map(Rate::value),
            escape_rate_interval: escapes.map(Rate::interval),
            pixel_auroc: defect.pixels.ranking().as_ref().map(Ranking::auroc),
            counts: Counts {
                good: good.scores.len(),
                false_rejects: false_rejects.map_or(0, Rate::count),
                defect: defect.scores.len(),
                escapes: escapes.map_or(0, Rate::count),
            },
        }
    }

    /// The numbers for a bundle's manifest, where all of them are determined.
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
