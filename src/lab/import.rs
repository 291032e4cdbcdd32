//! Turns a published checkpoint into a flawd model.
//!
//! ```text
//! checkpoint ─┬─ flow ───────────────────────────┐
//!             └─ extractor, or --backbone FILE ──┴─► model.onnx ─ held-out good images ─► bundle
//! ```
//! A checkpoint has no threshold that promises anything, so a bundle requires held-out good images;
//! without them only a model file is written. How the flow was trained is unknown, and the bundle
//! says so.
//!
//! The module prints nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use flawd_core::anomaly::{MapKind, Readout, ScoreKind};
use flawd_core::depth::Depth;
use flawd_core::digest::Digest;
use flawd_core::flow::{FlowSpec, SCALES};
use flawd_core::image::Size;
use flawd_core::manifest::{
    self, BackboneRecord, BundleVersion, Implementation, ImportRecord, Manifest, ModelRecord,
};
use flawd_core::normalisation::Normalisation;
use flawd_core::preprocess::Geometry;
use flawd_core::transform::{ChannelTransform, FeatureTransform};
use flawd_import::{Checkpoint, CheckpointError};
use flawd_onnx::efficientnet::{EfficientNet, EfficientNetError, GraphOptions, Padding, StateDict};
use flawd_onnx::{
    Backbone, BackboneError, Execution, ExportError, FeatureChoice, FeatureError, FeatureSpec,
    model_graph,
};
use jiff::Timestamp;

use super::calibration::{
    self, HeldOut, NotThere, PromiseTarget, ScoringError, Selection, ThresholdError,
};
use crate::bundle::scorer::{Scorer, ScorerError};
use crate::bundle::stress::{self, StressError};
use crate::bundle::{Bundle, BundleError, Draft};
use crate::files::digest::{sha256, sha256_file};
use crate::files::path_text;
use crate::pictures::decode::DecodeError;

/// What an import depends on, apart from the images that calibrate.
#[derive(Clone, Debug)]
pub struct ImportPlan {
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
    /// Limit of the flow's log-scales, if the checkpoint does not state it and the published 3 is
    /// wrong.
    pub clamp: Option<f32>,
    /// The network whose features the flow was trained on, if the checkpoint lacks it.
    pub backbone: Option<PathBuf>,
    /// Which of its features to use.
    pub features: FeatureChoice,
    /// Size of the network's input; defaults to the checkpoint's, else to the published one.
    pub size: Option<Size>,
    /// How the anomaly map is computed; defaults to the implementation's way.
    pub map: Option<MapKind>,
    /// Name of the model.
    pub name: String,
}

/// Why a checkpoint yields no model or bundle.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's digest cannot be computed.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The checkpoint contains the flow, but not the network that it needs.
    #[error(
        "{} holds the flow alone: give the network whose features it was trained on, with \
         --backbone FILE.onnx", path.display()
    )]
    NoBackbone {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A backbone was given, but the flow was trained on another one.
    #[error(
        "{} holds the feature extractor that its flow was trained on, and the flow means nothing \
         behind another one: leave --backbone and --feature out", path.display()
    )]
    SecondBackbone {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The extractor in the checkpoint is not anomalib's.
    #[error("the feature extractor in {} cannot be used", path.display())]
    Extractor {
        /// The checkpoint.
        path: PathBuf,
        /// The reason.
        source: Box<EfficientNetError>,
    },
    /// The backbone cannot be read.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The backbone does not provide the requested features.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The flow was trained on other features.
    #[error(
        "the flow takes {flow} channels, and {} of {} gives {features}: give the network whose \
         features the flow was trained on", outputs.join(" + "), path.display()
    )]
    OtherFeatures {
        /// The backbone.
        path: PathBuf,
        /// The chosen outputs.
        outputs: Vec<String>,
        /// Channels of the flow.
        flow: usize,
        /// Channels that the backbone provides.
        features: usize,
    },
    /// The model cannot be built.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The model does not run, or cannot score.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// The images have no scores.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// The scores yield no threshold.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// An image that should be left out does not exist.
    #[error(transparent)]
    NotThere(#[from] NotThere),
    /// The model can only score what it knows.
    #[error(transparent)]
    Stress(#[from] StressError),
    /// An image can no longer be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// A model made from a checkpoint.
pub struct ImportedModel {
    /// Its name.
    name: String,
    /// What the checkpoint was, in the terms of a bundle.
    pub import: ImportRecord,
    /// The shape of the flow.
    pub flow: FlowSpec,
    /// The extractor and its features.
    pub backbone: BackboneRecord,
    /// Size of the network's input.
    pub size: Size,
    /// How the anomaly map is computed.
    pub map: MapKind,
    /// A tensor of the extractor that occurs in the checkpoint a second time with other numbers,
    /// which were not used.
    pub differs: Option<String>,
    /// The bytes of `model.onnx`.
    model: Vec<u8>,
}

impl ImportedModel {
    /// Reads the checkpoint and builds the model.
    ///
    /// # Errors
    /// An [`ImportError`], which names the file and the key.
    pub fn build(plan: &ImportPlan) -> Result<Self, ImportError> {
        let mut checkpoint = Checkpoint::read(&plan.checkpoint, plan.clamp)?;
        let digest = sha256_file(&plan.checkpoint).map_err(|source| ImportError::Unreadable {
            path: plan.checkpoint.clone(),
            source,
        })?;
        let differs = checkpoint.extractor.as_mut();
        let differs = differs.and_then(|extractor| extractor.differs.take());
        let Extractor {
            backbone,
            digest: backbone_digest,
        } = Extractor::of(plan, checkpoint.extractor, digest)?;
        let size = plan.size.or(checkpoint.input_size);
        let size = size.unwrap_or(published_size(checkpoint.implementation));
        let features = plan.features.complete(&backbone, size)?;
        check_channels(&backbone, &features, &checkpoint.flow)?;
        let map = plan.map.unwrap_or(published_map(checkpoint.implementation));
        let model = model_graph(
            &backbone,
            &features,
            &FeatureTransform {
                scales: vec![ChannelTransform::Identity; SCALES],
            },
            &checkpoint.flow,
            &checkpoint.parameters,
            Readout {
                score: ScoreKind::Mean,
                map,
            },
            &BTreeMap::from([("name".to_owned(), plan.name.clone())]),
        )?;
        let FeatureSpec {
            outputs,
            normalisation,
            ..
        } = features;
        Ok(Self {
            name: plan.name.clone(),
            import: ImportRecord {
                file: file_name(&plan.checkpoint),
                digest,
                implementation: checkpoint.implementation,
                post_processor: checkpoint.post_processor,
            },
            flow: checkpoint.flow,
            backbone: BackboneRecord {
                file: file_name(backbone.path()),
                digest: backbone_digest,
                outputs,
                normalisation,
            },
            size,
            map,
            differs,
            model,
        })
    }

    /// Returns the bytes of the model file.
    pub fn bytes(&self) -> &[u8] {
        &self.model
    }

    /// Calibrates the model with held-out good images, whose depth is `depth` if they do not state
    /// it, and makes it the bundle of `draft`. Also returns which images set the threshold,
    /// human-readable.
    ///
    /// # Errors
    /// If too few images can be used for the promise, some stand apart from the others, or the bundle
    /// cannot be written.
    pub fn calibrate(
        self,
        mut draft: Draft,
        (images, depth): (Vec<PathBuf>, Option<Depth>),
        (promise, selection): (&PromiseTarget, &Selection),
        execution: Execution,
        observe: &mut calibration::CalibrationObserver,
    ) -> Result<(Bundle, String), ImportError> {
        let geometry = Geometry::default();
        let model = draft.write_model(&self.model)?;
        let (images, excluded) = selection.apply(images)?;
        let scorer = Scorer::load(&model, geometry, execution)?;
        let mut scorer = scorer.reading(depth);
        stress::check(&mut scorer)?;
        let held_out = HeldOut::score(&mut scorer, images, |_| false, None, observe)?;
        let calibrate = |scores| promise.calibrate(scores);
        let thresholds = held_out.thresholds(calibrate, selection, excluded, None)?;
        let highest = held_out.highest(&thresholds.calibration);
        let golden = held_out.golden(&mut scorer, &thresholds.calibration, depth)?;
        let bundle = draft.finish(&golden, |record| Manifest {
            format: manifest::FORMAT,
            name: self.name,
            version: BundleVersion::FIRST,
            created: Timestamp::now(),
            model: ModelRecord {
                digest: record.model,
                input: self.size,
                geometry,
                depth,
                light: None,
                score: ScoreKind::Mean,
                map: self.map,
            },
            backbone: self.backbone,
            flow: self.flow,
            training: None,
            import: Some(self.import),
            conversion: None,
            calibration: thresholds.calibration,
            pixel: Some(thresholds.pixel),
            selection: thresholds.selection,
            quality: Some(thresholds.quality),
            metrics: None,
            golden: record.golden,
        });
        Ok((bundle?, highest))
    }
}

/// Checks that the flow was trained on as many channels as these features have.
fn check_channels(
    backbone: &Backbone,
    features: &FeatureSpec,
    flow: &FlowSpec,
) -> Result<(), ImportError> {
    let channels = features.shape(backbone)?.channels;
    if channels != flow.channels {
        return Err(ImportError::OtherFeatures {
            path: backbone.path().to_owned(),
            outputs: features.outputs.clone(),
            flow: flow.channels,
            features: channels,
        });
    }
    Ok(())
}

/// The network that provides the flow's input.
struct Extractor {
    backbone: Backbone,
    /// Digest of the file that it comes from.
    digest: Digest,
}

impl Extractor {
    /// Returns the one in the checkpoint, whose digest is `digest`, or the one that the plan names.
    fn of(
        plan: &ImportPlan,
        extractor: Option<flawd_import::Extractor>,
        digest: Digest,
    ) -> Result<Self, ImportError> {
        let path = || plan.checkpoint.clone();
        match (extractor, &plan.backbone) {
            (None, None) => Err(ImportError::NoBackbone { path: path() }),
            (Some(_), Some(_)) => Err(ImportError::SecondBackbone { path: path() }),
            (Some(extractor), None) => {
                let graph =
                    of_anomalib(extractor.tensors).map_err(|source| ImportError::Extractor {
                        path: path(),
                        source: Box::new(source),
                    })?;
                Ok(Self {
                    backbone: Backbone::from_bytes(&plan.checkpoint, &graph)?,
                    digest,
                })
            }
            (None, Some(path)) => {
                let bytes = fs::read(path).map_err(|source| BackboneError::Unreadable {
                    path: path.clone(),
                    source,
                })?;
                Ok(Self {
                    backbone: Backbone::from_bytes(path, &bytes)?,
                    digest: sha256(&bytes),
                })
            }
        }
    }
}

/// The stage after which anomalib takes its features: `features.6.8` of efficientnet_b5.
const ANOMALIB_STAGE: usize = 6;

/// Returns the graph of anomalib's extractor, which is torchvision's EfficientNet-B5 on images
/// normalised as those of ImageNet.
fn of_anomalib(tensors: StateDict) -> Result<Vec<u8>, EfficientNetError> {
    let network = EfficientNet::new(tensors, None)?;
    let padding = Padding::Symmetric;
    network.graph(&GraphOptions {
        padding,
        epsilon: network.epsilon(padding),
        stages: vec![ANOMALIB_STAGE],
        normalisation: Normalisation::IMAGENET,
        filters: false,
    })
}

/// Returns an implementation's default size.
fn published_size(implementation: Implementation) -> Size {
    match implementation {
        Implementation::CsFlow => Size::new(768, 768),
        Implementation::Anomalib => Size::new(256, 256),
    }
}

/// Returns an implementation's map.
fn published_map(implementation: Implementation) -> MapKind {
    match implementation {
        Implementation::CsFlow => MapKind::Finest,
        Implementation::Anomalib => MapKind::Product,
    }
}

fn file_name(path: &Path) -> String {
    path_text::text(Path::new(path.file_name().unwrap_or_default())).into_owned()
}
