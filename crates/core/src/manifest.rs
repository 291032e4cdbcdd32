//! `bundle.toml`: what a bundle is, where it comes from, and what it promises.
//!
//! The manifest is read before anything else of a bundle is trusted, so it is strict: a key that
//! it does not know is an error, and so is a format from a newer flawd. Numbers that decide about
//! parts read back bit for bit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::anomaly::{MapKind, ScoreKind};
use crate::calibration::Calibration;
use crate::condition::UsualPictures;
use crate::depth::Depth;
use crate::digest::Digest;
use crate::flow::{FlowSpec, FlowSpecError};
use crate::image::Size;
use crate::light::LightNormalisation;
use crate::normalisation::Normalisation;
use crate::preprocess::Geometry;
use crate::quality::QualityLimits;
use crate::regions::PixelCalibration;

/// The format of `bundle.toml` that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Everything that `bundle.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the bundle, for operators and messages.
    pub name: String,
    /// Counts the bundle's changes.
    pub version: BundleVersion,
    /// When this version was made.
    pub created: Timestamp,
    /// The model file and its input.
    pub model: ModelRecord,
    /// The feature extractor inside the model.
    pub backbone: BackboneRecord,
    /// The shape of the flow inside the model.
    pub flow: FlowSpec,
    /// How the flow was trained; absent if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// What the flow was imported from; absent if it was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportRecord>,
    /// The threshold and what it promises.
    pub calibration: Calibration,
    /// The threshold for regions of the anomaly map, and what it promises. Absent in a bundle that
    /// was calibrated before there was one: it has no regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel: Option<PixelCalibration>,
    /// What was decided by hand about the pictures of the calibration; absent if nothing was.
    #[serde(default, skip_serializing_if = "SelectionRecord::is_empty")]
    pub selection: SelectionRecord,
    /// How bright and how sharp pictures have to be. Absent in a bundle that was calibrated before
    /// this was measured: it judges every picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityRecord>,
    /// Measured with `flawd evaluate --record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsRecord>,
    /// Inputs with known scores; at least one.
    pub golden: Vec<GoldenRecord>,
}

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
    /// Largest difference from `score` that still counts as reproduced.
    pub tolerance: f32,
}

impl GoldenRecord {
    /// Relative tolerance of the scores of a bundle: wide enough for another processor or
    /// half precision, far narrower than what a wrong colour order or a wrong resize does.
    pub const RELATIVE_TOLERANCE: f32 = 0.01;

    /// Returns `true` if `score` is the golden score within tolerance.
    pub fn is_reproduced_by(&self, score: f32) -> bool {
        (score - self.score).abs() <= self.tolerance
    }
}

/// Version of a bundle: `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleVersion {
    /// Another model.
    pub major: u32,
    /// Another threshold.
    pub minor: u32,
    /// Another description.
    pub patch: u32,
}

impl BundleVersion {
    /// The first version of a bundle.
    pub const FIRST: Self = Self {
        major: 1,
        minor: 0,
        patch: 0,
    };

    /// Returns the version after a new calibration.
    pub fn recalibrated(self) -> Self {
        Self {
            minor: self.minor.saturating_add(1),
            patch: 0,
            ..self
        }
    }

    /// Returns the version after a change that no verdict depends on.
    pub fn redescribed(self) -> Self {
        Self {
            patch: self.patch.saturating_add(1),
            ..self
        }
    }
}

impl fmt::Display for BundleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A string that is not a [`BundleVersion`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a version: three numbers such as 1.0.0 are expected")]
pub struct BundleVersionError(String);

impl FromStr for BundleVersion {
    type Err = BundleVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(BundleVersionError(text.to_owned())),
        }
    }
}

impl Serialize for BundleVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BundleVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not TOML, lacks something, or has something unknown; line and key are named.
    #[error("{0}install the bundle again, as a whole, or correct what was changed in it")]
    Syntax(#[from] toml::de::Error),
    /// Written by a newer flawd.
    #[error(
        "the bundle has format {found}, and this version of flawd reads up to {FORMAT}: update \
         flawd, or make the bundle again with this version"
    )]
    Newer {
        /// The format that was read.
        found: u32,
    },
    /// A format that never was.
    #[error("bundle format {0} does not exist")]
    NoSuchFormat(u32),
    /// The flow's numbers do not make a flow.
    #[error("[flow]: {0}")]
    Flow(#[from] FlowSpecError),
    /// Something that a bundle needs is missing or makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// A golden file outside its folder.
    #[error("golden input `{0}` is not a plain file name")]
    BadGoldenFile(String),
}

impl FromStr for Manifest {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A newer format may have keys that are unknown here, so the format is looked at first.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        match toml::from_str(text)? {
            Format { format: FORMAT } => {}
            Format { format } if format > FORMAT => {
                return Err(ManifestError::Newer { found: format });
            }
            Format { format } => return Err(ManifestError::NoSuchFormat(format)),
        }
        let manifest: Self = toml::from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }
}

impl Manifest {
    /// Checks what the types alone do not guarantee.
    fn validate(&self) -> Result<(), ManifestError> {
        self.flow.validate()?;
        if self.name.is_empty() || self.name.chars().any(char::is_control) {
            return Err(ManifestError::Invalid("the bundle has no printable name"));
        }
        if self.training.is_some() == self.import.is_some() {
            return Err(ManifestError::Invalid(
                "the bundle has to have one of [training] and [import]",
            ));
        }
        if self.model.light.is_some_and(|light| !light.is_possible()) {
            return Err(ManifestError::Invalid(
                "[model.light]: the reference has to lie between 0 and 255, and the limit has to be \
                 at least 1",
            ));
        }
        if self.golden.is_empty() {
            return Err(ManifestError::Invalid(
                "the bundle has no golden input, so no device could prove that it scores as it \
                 should",
            ));
        }
        let mut losses = (self.training.iter())
            .flat_map(|training| training.losses.iter().chain(&training.held_out_losses));
        if !losses.all(|loss| loss.is_finite()) {
            return Err(ManifestError::Invalid("[training]: a loss is not finite"));
        }
        if self
            .quality
            .as_ref()
            .is_some_and(|quality| !quality.limits.is_possible())
        {
            return Err(ManifestError::Invalid(
                "no picture can lie within the limits of [quality.limits]",
            ));
        }
        let pictures = self.quality.as_ref().and_then(|it| it.pictures.as_ref());
        if pictures.is_some_and(|pictures| !pictures.is_possible()) {
            return Err(ManifestError::Invalid(
                "the values of [quality.pictures] have to be numbers in ascending order",
            ));
        }
        for golden in &self.golden {
            let name = &golden.file;
            let plain = !name.starts_with('.') && !name.contains(['/', '\\']) && !name.is_empty();
            if !plain {
                return Err(ManifestError::BadGoldenFile(name.clone()));
            }
            if !(golden.score.is_finite() && golden.tolerance >= 0.0) {
                return Err(ManifestError::Invalid(
                    "a golden score has to be finite and its tolerance at least 0",
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Manifest {
    /// Writes the text of `bundle.toml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = toml::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str("# Written by flawd. Every number here belongs to model.onnx beside it.\n\n")?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalisation::ChannelOrder;
    use crate::permutation::PermutationKind;
    use crate::preprocess::{Flip, RegionOfInterest, Rotation};

    fn manifest() -> Manifest {
        let digest = Digest::new([7; 32]);
        Manifest {
            format: FORMAT,
            name: "flange".to_owned(),
            version: BundleVersion::FIRST,
            created: Timestamp::UNIX_EPOCH,
            model: ModelRecord {
                digest,
                input: Size::new(256, 384),
                geometry: Geometry {
                    region: Some(RegionOfInterest {
                        left: 1,
                        top: 2,
                        width: 300,
                        height: 200,
                    }),
                    rotate: Rotation::Quarter,
                    flip: Flip::Horizontal,
                },
                depth: None,
                light: Some(LightNormalisation {
                    reference: 131.5,
                    limit: 1.25,
                }),
                score: ScoreKind::PowerMean,
                map: MapKind::Product,
            },
            backbone: BackboneRecord {
                file: "backbone.onnx".to_owned(),
                digest,
                outputs: vec!["features".to_owned()],
                normalisation: Normalisation {
                    channel_order: ChannelOrder::Bgr,
                    ..Normalisation::IMAGENET
                },
            },
            flow: FlowSpec {
                channels: 64,
                hidden: 32,
                kernels: vec![3, 5],
                clamp: 3.0,
                permutation: PermutationKind::NumpyLegacy,
                scales: 3,
                cross_scale: true,
            },
            training: Some(TrainingRecord {
                images: 700,
                data: digest,
                transform: "whiten".to_owned(),
                seed: 42,
                epochs: 10,
                final_loss: -0.25,
                losses: Vec::new(),
                held_out_losses: Vec::new(),
                settings: toml::toml! { batch = 16 },
            }),
            import: None,
            calibration: Calibration::from_scores(vec![0.1, 0.7, 0.3], 0.25).expect("three"),
            pixel: None,
            selection: SelectionRecord::default(),
            quality: None,
            metrics: None,
            golden: vec![GoldenRecord {
                file: "lowest.png".to_owned(),
                digest,
                score: 0.1,
                tolerance: 0.001,
            }],
        }
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let mut manifest = manifest();
        assert_eq!(
            manifest
                .to_string()
                .parse::<Manifest>()
                .expect("it reads back"),
            manifest
        );
        manifest.model.geometry = Geometry::default();
        let training = manifest.training.as_mut().expect("it is trained");
        training.losses = vec![1.5, 0.1 + 0.2, -0.25];
        training.held_out_losses = vec![0.5, 0.25];
        manifest.pixel = PixelCalibration::from_maxima(vec![2.0, 8.1, 3.0], 0.25).ok();
        manifest.quality = Some(QualityRecord {
            n: 3,
            limits: QualityLimits {
                brightness_min: 40.0,
                brightness_max: 230.5,
                sharpness_min: 12.25,
                noise_max: Some(9.5),
            },
            pictures: None,
        });
        manifest.selection = SelectionRecord {
            excluded: vec!["black.png".to_owned()],
            accepted: vec!["a.png: score 1.5, 2.0 times the next".to_owned()],
        };
        manifest.metrics = Some(MetricsRecord {
            good: 96,
            defect: 198,
            image_auroc: 0.98,
            image_ap: 0.99,
            f1_max: 0.95,
            false_reject_rate: 0.01,
            escape_rate: 0.1,
        });
        assert_eq!(
            manifest
                .to_string()
                .parse::<Manifest>()
                .expect("it reads back"),
            manifest
        );
    }

    #[test]
    fn a_bundle_says_where_its_model_comes_from_in_one_way() {
        let mut imported = manifest();
        imported.training = None;
        imported.import = Some(ImportRecord {
            file: "model.ckpt".to_owned(),
            digest: Digest::new([9; 32]),
            implementation: Implementation::Anomalib,
            post_processor: BTreeMap::from([("post_processor.image_min".to_owned(), 0.25)]),
        });
        let read = |manifest: &Manifest| manifest.to_string().parse::<Manifest>();
        assert_eq!(read(&imported).expect("it reads back"), imported);
        let mut both = imported.clone();
        both.training = manifest().training;
        let mut neither = imported;
        neither.import = None;
        for wrong in [both, neither] {
            let error = read(&wrong).expect_err("must be refused").to_string();
            assert!(error.contains("one of [training] and [import]"), "{error}");
        }
    }

    #[test]
    fn a_bundle_from_before_there_were_kinds_of_maps_has_that_of_the_finest_scale() {
        let mut manifest = manifest();
        let text = manifest.to_string();
        let old = text.replace("map = \"product\"\n", "");
        assert_ne!(old, text);
        manifest.model.map = MapKind::Finest;
        assert_eq!(old.parse::<Manifest>().expect("it reads"), manifest);
        let unknown = text.replace("\"product\"", "\"sum\"");
        let error = unknown.parse::<Manifest>().expect_err("no such map");
        let said = error.to_string();
        assert!(said.contains("sum") && said.contains("product"), "{said}");
    }

    #[test]
    fn the_depth_is_there_where_pictures_had_more_than_8_bits_and_is_one() {
        let mut manifest = manifest();
        assert!(!manifest.to_string().contains("depth"));
        manifest.model.depth = Some(Depth::holding(4095));
        let text = manifest.to_string();
        assert!(text.contains("depth = 12\n"), "{text}");
        assert_eq!(text.parse::<Manifest>().expect("it reads back"), manifest);
        let read = text.replace("depth = 12", "depth = 24").parse::<Manifest>();
        let error = read.expect_err("no such depth").to_string();
        assert!(error.contains("24") && error.contains("8 to 16"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_line() {
        let text = manifest().to_string().replace("seed = 42", "sede = 42");
        let error = text
            .parse::<Manifest>()
            .expect_err("sede is unknown")
            .to_string();
        assert!(error.contains("sede") && error.contains("line"), "{error}");
    }

    /// The keys that format 1 got later are optional, and are checked if present.
    #[test]
    fn limits_that_no_picture_can_keep_are_refused() {
        let mut manifest = manifest();
        let text = manifest.to_string();
        assert!(!text.contains("[pixel]") && !text.contains("[quality"));
        assert!(!text.contains("losses") && !text.contains("[selection]"));
        manifest.quality = Some(QualityRecord {
            n: 3,
            limits: QualityLimits {
                brightness_min: 200.0,
                brightness_max: 100.0,
                sharpness_min: 1.0,
                noise_max: None,
            },
            pictures: None,
        });
        let read = manifest.to_string().parse::<Manifest>();
        let error = read.expect_err("darker and brighter at once").to_string();
        assert!(error.contains("[quality.limits]"), "{error}");
    }

    #[test]
    fn losses_that_are_no_numbers_are_refused() {
        let mut manifest = manifest();
        manifest.training.as_mut().expect("it is trained").losses = vec![0.5, f64::NAN];
        let error = manifest.to_string().parse::<Manifest>();
        assert!(
            error
                .expect_err("not a number")
                .to_string()
                .contains("[training]")
        );
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_it_holds() {
        let error = "format = 2\nflux = 1"
            .parse::<Manifest>()
            .expect_err("too new");
        assert!(matches!(error, ManifestError::Newer { found: 2 }));
        assert!(error.to_string().contains("update flawd"), "{error}");
    }

    #[test]
    fn a_bundle_needs_golden_inputs_in_its_own_folder() {
        let mut none = manifest();
        none.golden.clear();
        assert!(none.to_string().parse::<Manifest>().is_err());
        for file in ["../x.png", "/x.png", "", "..", "a\\b.png"] {
            let mut outside = manifest();
            outside.golden[0].file = file.to_owned();
            let read = outside.to_string().parse::<Manifest>();
            assert!(
                matches!(read, Err(ManifestError::BadGoldenFile(_))),
                "{file}"
            );
        }
    }

    #[test]
    fn impossible_flows_are_refused() {
        let mut even = manifest();
        even.flow.kernels = vec![4];
        assert!(matches!(
            even.to_string().parse::<Manifest>(),
            Err(ManifestError::Flow(FlowSpecError::EvenKernel(4)))
        ));
    }

    #[test]
    fn versions_count_up_by_what_changed() {
        let version: BundleVersion = "2.3.4".parse().expect("a version");
        assert_eq!(version.recalibrated().to_string(), "2.4.0");
        assert_eq!(version.redescribed().to_string(), "2.3.5");
        for wrong in ["", "1.2", "1.2.3.4", "1.2.x", "v1.2.3"] {
            assert!(wrong.parse::<BundleVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_golden_score_is_reproduced_within_its_tolerance() {
        let golden = &manifest().golden[0];
        assert!(golden.is_reproduced_by(0.1005));
        assert!(!golden.is_reproduced_by(0.102));
        assert!(!golden.is_reproduced_by(f32::NAN));
    }
}
