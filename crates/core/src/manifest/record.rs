//! The sections of `bundle.toml`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::anomaly::{MapKind, ScoreKind};
use crate::condition::UsualPictures;
use crate::depth::Depth;
use crate::digest::Digest;
use crate::image::Size;
use crate::light::LightNormalisation;
use crate::normalisation::Normalisation;
use crate::preprocess::Geometry;
use crate::quality::QualityLimits;

/// `model.onnx` and the input it expects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// Digest of `model.onnx`.
    pub digest: Digest,
    /// Size that images are resized to.
    pub input: Size,
    /// The part that is cut out of the camera's picture first, and how it is turned.
    #[serde(default)]
    pub geometry: Geometry,
    /// The depth of pictures of more than 8 bits that do not state theirs. Absent if the training
    /// pictures had 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<Depth>,
    /// The light that the model brings every picture to. Absent if it takes them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<LightNormalisation>,
    /// How it makes its score.
    #[serde(default)]
    pub score: ScoreKind,
    /// How it makes its anomaly map.
    #[serde(default)]
    pub map: MapKind,
}

/// The feature extractor that the model was built with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneRecord {
    /// Name of its file, without the folder.
    pub file: String,
    /// Digest of that file.
    pub digest: Digest,
    /// Its outputs that make the features.
    pub outputs: Vec<String>,
    /// The normalisation it expects of its pixels.
    pub normalisation: Normalisation,
}

/// How the flow's parameters were trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// Number of training images.
    pub images: usize,
    /// Digest of `training-files.txt`, the list of their digests.
    pub data: Digest,
    /// Kind of the map between features and flow.
    pub transform: String,
    /// Seed of all randomness.
    pub seed: u64,
    /// Passes over the images.
    pub epochs: usize,
    /// Mean loss of the last epoch.
    pub final_loss: f64,
    /// Mean loss of each, in order. Empty in a bundle that was trained before these were kept, or
    /// that does not state them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<f64>,
    /// Mean loss of images that do not train, after each epoch, in order. Empty if none were
    /// watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out_losses: Vec<f64>,
    /// The trainer's other settings, as it writes them.
    #[serde(default)]
    pub settings: toml::Table,
}

/// Where an imported flow's parameters come from. How they were trained, on what and for how long
/// is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRecord {
    /// Name of the checkpoint's file, without the folder.
    pub file: String,
    /// Digest of that file.
    pub digest: Digest,
    /// Whose code trained it.
    pub implementation: Implementation,
    /// What the checkpoint says about scores and thresholds, by its own names. They are on another
    /// scale than those of this bundle, and decide nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub post_processor: BTreeMap<String, f64>,
}

/// How a model was converted from the exported one, whose threshold and golden scores it keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionRecord {
    /// What it computes in.
    pub precision: ModelPrecision,
    /// Digest of the model that it was made of.
    pub of: Digest,
    /// Number of pictures that both have scored, golden inputs included; no verdict differed.
    pub pictures: usize,
    /// The largest difference of their scores of parts, relative to the exported model's.
    pub largest_difference: f32,
}

/// The precision that a converted model computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelPrecision {
    /// 16 bits in the convolutions and between them, 32 elsewhere.
    Half,
}

impl fmt::Display for ModelPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Half => "half",
        })
    }
}

/// A published implementation of CS-Flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Implementation {
    /// The authors' own code.
    CsFlow,
    /// anomalib's.
    Anomalib,
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CsFlow => "cs-flow",
            Self::Anomalib => "anomalib",
        })
    }
}

/// The limits for pictures that can be judged, from the calibration pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityRecord {
    /// Number of good pictures that were measured.
    pub n: usize,
    /// Their range, widened.
    pub limits: QualityLimits,
    /// What they were like, for the drift alarm. Absent in a bundle that was calibrated before
    /// this was measured, or with pictures that are too small: it raises the alarm by scores only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<UsualPictures>,
}

/// What was decided by hand about the pictures of the calibration. The promise then holds for parts
/// like those that were left in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionRecord {
    /// Names of the pictures that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// The pictures that stand apart from the others and were accepted: each one's name, and how it
    /// stands apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
}

impl SelectionRecord {
    /// Returns `true` if nothing was decided by hand.
    pub fn is_empty(&self) -> bool {
        self.excluded.is_empty() && self.accepted.is_empty()
    }
}

/// What an evaluation measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsRecord {
    /// Good images that were scored.
    pub good: usize,
    /// Images with a defect that were scored.
    pub defect: usize,
    /// Area under the ROC curve of the image scores.
    pub image_auroc: f64,
    /// Average precision of the image scores.
    pub image_ap: f64,
    /// Best F1 score of the image scores over all thresholds.
    pub f1_max: f64,
    /// Share of the good images that the bundle's threshold rejects.
    pub false_reject_rate: f64,
    /// Share of the images with a defect that the bundle's threshold lets through.
    pub escape_rate: f64,
}

/// An input with a known score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRecord {
    /// Name of the image file in the bundle's folder `golden`.
    pub file: String,
    /// Digest of that file.
    pub digest: Digest,
    /// The score that calibration saw.
    pub score: f32,
    /// Largest difference from `score` that still counts as reproduced; [`Self::ANY_SCORE`] if it
    /// is not a part.
    pub tolerance: f32,
}

impl GoldenRecord {
    /// Relative tolerance of the scores of a bundle: wide enough for another processor or
    /// half precision, far narrower than what a wrong colour order or a wrong resize does.
    pub const RELATIVE_TOLERANCE: f32 = 0.01;

    /// The tolerance of an input that is not a part, of which only the verdict has to be reproduced:
    /// no number of half precision is larger.
    pub const ANY_SCORE: f32 = 65_504.0;

    /// Returns `true` if it shows a part, whose score has to be reproduced. Of others, only the
    /// verdict has to be.
    pub fn is_part(&self) -> bool {
        self.tolerance < Self::ANY_SCORE
    }

    /// Returns `true` if `score` is the golden score within tolerance.
    pub fn is_reproduced_by(&self, score: f32) -> bool {
        (score - self.score).abs() <= self.tolerance
    }
}
