//! What the daemon is built from: the configuration after [`validate`](super::validate), where
//! nothing that is needed is optional and every default has been resolved.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use flawd_core::{image::Size, preprocess::Geometry};
use flawd_onnx::SessionOptions;

use super::{Log, Monitor, Overflow, Secret, V4l2};

/// A configuration that the daemon can be built from.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// Name of the place on the line.
    pub station: String,
    /// How long a shutdown may take.
    pub grace_period: Duration,
    /// Which model, and what runs it.
    pub inference: InferenceSettings,
    /// At least one.
    pub cameras: Vec<CameraSettings>,
    /// The broker.
    pub mqtt: MqttSettings,
    /// What is logged.
    pub log: Log,
    /// Metrics and health over HTTP.
    pub monitor: Monitor,
}

/// Which model, and what runs it.
#[derive(Clone, Debug)]
pub struct InferenceSettings {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The bundle that scores the parts of `bundle` as well, and decides nothing.
    pub shadow: Option<PathBuf>,
    /// ONNX Runtime's shared library, where the operator named one.
    pub onnxruntime: Option<PathBuf>,
    /// Providers and threads.
    pub session: SessionOptions,
    /// The folder of all TensorRT engines; given wherever `session` lists TensorRT.
    pub engines: Option<PathBuf>,
}

/// One camera.
#[derive(Clone, Debug)]
pub struct CameraSettings {
    /// Its name, a level of the topics.
    pub name: String,
    /// Where its frames come from.
    pub source: SourceSettings,
    /// What happens to a frame that arrives while the one before it still waits.
    pub overflow: Overflow,
    /// How old a frame may be when its verdict is reached.
    pub deadline: Option<Duration>,
    /// Which part of the picture is inspected; none: as the bundle was made for.
    pub geometry: Option<Geometry>,
    /// Which bundles judge its parts.
    pub models: ModelSettings,
}

/// The folders of the bundles that judge one camera's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSettings {
    /// For parts that ask for no recipe.
    pub bundle: PathBuf,
    /// For parts that ask for one, by its name.
    pub recipes: BTreeMap<String, PathBuf>,
    /// Scores the parts that `bundle` judges, and decides nothing.
    pub shadow: Option<PathBuf>,
}

/// Where frames come from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// Image files.
    Folder {
        /// Walked with its sub-folders.
        path: PathBuf,
        /// Time from one image to the next; none: as fast as they are consumed.
        interval: Option<Duration>,
        /// Starts again after the last image.
        repeat: bool,
    },
    /// A made-up line.
    Synthetic {
        /// The same seed gives the same parts.
        seed: u64,
        /// Time from one part to the next; none: as fast as they are consumed.
        interval: Option<Duration>,
        /// How many parts; none: endless.
        parts: Option<u64>,
        /// Share of the parts that has a defect.
        defect_rate: f64,
        /// Size of the images.
        size: Size,
    },
    /// A camera of the machine.
    V4l2 {
        /// Its device node, or a link to one.
        device: PathBuf,
        /// What is asked of it.
        options: V4l2,
    },
}

/// The broker.
#[derive(Clone, Debug)]
pub struct MqttSettings {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol version.
    pub version: MqttVersion,
    /// First levels of every topic.
    pub root: String,
    /// Differs for each client of the broker.
    pub client_id: String,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// Whether a start without the broker is an error.
    pub required_at_start: bool,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Longest pause between two attempts.
    pub reconnect_max: Duration,
    /// Silence after which the connection is probed.
    pub keep_alive: Duration,
    /// Age at which a verdict is worthless.
    pub expiry: Duration,
    /// Shortest pause between two heartbeats.
    pub heartbeat: Duration,
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1: no properties, so events are structured CloudEvents and never expire.
    V3,
    /// 5.
    V5,
}
