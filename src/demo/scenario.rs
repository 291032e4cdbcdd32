//! What a demo makes, trains and runs: a synthetic line, a small flow for it, and the daemon's
//! configuration. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use flawd_core::anomaly::MapKind;
use flawd_core::image::Size;
use flawd_core::light::LightNormalisation;
use flawd_core::preprocess::Geometry;
use flawd_onnx::FeatureChoice;
use flawd_train::settings::FlowSettings;

use crate::lab::calibration::{PromiseTarget, Selection};
use crate::lab::features::{FeaturePlan, LightPlan};
use crate::lab::training::{HoldOut, TrainingPlan};
use crate::line::config::{Camera, Config, Inference, Mqtt, Station, Synthetic};
use crate::synthetic::SyntheticOptions;
use crate::synthetic::dataset::DatasetOptions;

/// Good parts for training, some of them for calibration.
pub const GOOD_PARTS: u64 = 400;

/// The station's name.
pub const STATION: &str = "demo";

const CAMERA: &str = "line";

/// Size of the pictures.
pub const SIZE: Size = Size::new(256, 256);

/// Share of the good parts used for calibration: enough for [`FALSE_REJECT_RATE`].
const HOLD_OUT: f64 = 0.25;

const FALSE_REJECT_RATE: f64 = 0.02;

const DEFECT_RATE: f64 = 0.3;

/// Everything that distinguishes one demo from another.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Folder for everything that the demo creates.
    pub out: PathBuf,
    /// Seed for the parts and the training.
    pub seed: u64,
    /// Parts on the line.
    pub parts: u64,
    /// Parts per second.
    pub rate: f64,
    /// Training passes over the good parts.
    pub epochs: usize,
}

impl Scenario {
    /// Returns where the good parts are written.
    pub fn images(&self) -> PathBuf {
        self.out.join("parts")
    }

    /// Returns where the bundle is written.
    pub fn bundle(&self) -> PathBuf {
        self.out.join("bundle")
    }

    /// Returns the good parts to train on.
    pub fn good_parts(&self) -> DatasetOptions {
        DatasetOptions {
            size: SIZE,
            seed: self.seed,
            train_good: GOOD_PARTS,
            test_good: 0,
            test_each_defect: 0,
        }
    }

    /// Returns the line that the daemon watches, none of whose parts was trained on.
    pub fn line(&self) -> SyntheticOptions {
        SyntheticOptions {
            size: SIZE,
            seed: self.seed.wrapping_add(1),
            defect_rate: DEFECT_RATE,
        }
    }

    /// Returns how the flow is trained and calibrated.
    pub fn training(&self) -> TrainingPlan {
        let edge = FlowSettings::edge(self.seed);
        TrainingPlan {
            images: self.images(),
            features: FeaturePlan {
                backbone: None,
                choice: FeatureChoice::default(),
                size: SIZE,
                geometry: Geometry::default(),
                depth: None,
                light: LightPlan::OfTraining {
                    limit: LightNormalisation::LIMIT,
                },
                cache: self.out.join("cache"),
            },
            vary: None,
            map: MapKind::default(),
            flow: FlowSettings {
                hidden: 48,
                kernels: vec![3; 3],
                training: edge.training.with_epochs(self.epochs),
                ..edge
            },
            hold_out: HoldOut::Share(HOLD_OUT),
            promise: PromiseTarget {
                false_reject_rate: FALSE_REJECT_RATE,
                accept_achievable: false,
            },
            // The training pictures of a synthetic line are all of good parts.
            selection: Selection {
                accept_outliers: true,
                ..Selection::default()
            },
            fresh: false,
            out: self.bundle(),
            name: "demo".to_owned(),
        }
    }

    /// Returns the daemon's configuration, for a file in the output folder: the line, the bundle
    /// and the broker.
    pub fn config(&self, inference: Inference, broker: SocketAddr) -> Config {
        let SyntheticOptions {
            size,
            seed,
            defect_rate,
        } = self.line();
        let source = Synthetic {
            seed,
            rate: Some(self.rate),
            parts: Some(self.parts),
            defect_rate: Some(defect_rate),
            size: Some(size),
            ..Synthetic::default()
        };
        let camera = Camera {
            synthetic: Some(source),
            ..Camera::default()
        };
        Config {
            station: Station {
                name: Some(STATION.to_owned()),
                // Relative paths are relative to the configuration's folder.
                state: Some("state".into()),
                ..Station::default()
            },
            inference: Inference {
                bundle: Some("bundle".into()),
                ..inference
            },
            camera: [(CAMERA.to_owned(), camera)].into(),
            mqtt: Mqtt {
                host: broker.ip().to_string(),
                port: Some(broker.port()),
                required_at_start: true,
                ..Mqtt::default()
            },
            ..Config::default()
        }
    }
}
