//! The sections and keys of `flawd.toml` with their defaults, and nothing about how they are used.
//!
//! Three steps, each a type, so that none can be skipped: text → [`Config`] (every key optional, as
//! written) → [`ValidConfig`] (everything required is present, as it takes effect). [`load`] takes
//! the first, [`validate`] the second. Neither opens a bundle, a device or a socket: that is the
//! daemon's build step.
//!
//! Every key has a default or is checked for presence in [`validate`], never by serde: so the file
//! alone can be parsed strictly (which gives errors their line) although a required key may still
//! come from the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use crate::logging::Log;

mod age;
mod camera;
mod document;
mod files;
mod gpio;
mod list;
mod load;
mod login;
mod models;
mod pipeline;
mod secret;
mod settings;
mod state;
mod text;
mod tls;
mod validate;
mod variables;

pub use camera::{
    Camera, Fault, Folder, Gstreamer, Outage, Overflow, PixelFormat, Recipe, Spell, Synthetic,
    TriggerConfig, TriggerKind, V4l2,
};
pub use document::{ConfigError, Document};
pub use files::FileError;
pub use gpio::{Bias, Drive, EdgeKind, Heartbeat, Reject, TriggerInput, UndecidedRule};
pub use login::Login;
pub use pipeline::PipelineText;
pub use secret::Secret;
pub use settings::{
    CameraSettings, EvidenceSettings, HeartbeatSettings, InferenceSettings, InputSettings,
    JournalSettings, LineId, LineSettings, ModelSettings, MqttSettings, MqttVersion,
    OutputSettings, RejectSettings, SourceSettings, TriggerMode, TriggerSettings, ValidConfig,
};
pub use tls::TlsSettings;
pub(crate) use tls::{date, server_name};
pub(crate) use validate::LONGEST_QUEUE;
pub use variables::ENVIRONMENT_PREFIX;

/// The whole file, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This daemon's identity.
    pub station: Station,
    /// The model, and what runs it.
    pub inference: Inference,
    /// The cameras by name; the name is a level of the MQTT topics.
    pub camera: BTreeMap<String, Camera>,
    /// The broker.
    pub mqtt: Mqtt,
    /// Records on disk until the broker has acknowledged them.
    pub journal: Journal,
    /// Pictures of judged parts on disk.
    pub evidence: Evidence,
    /// What is logged.
    pub log: Log,
    /// Metrics and health over HTTP.
    pub monitor: Monitor,
}

/// `[station]`: this daemon's identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Station {
    /// Name of the place on the line, for example `press-3`. Required.
    pub name: Option<String>,
    /// The folder for what has to survive a restart. Default: see [`state`].
    pub state: Option<PathBuf>,
    /// How long a shutdown may take before the rest is abandoned.
    #[serde(with = "compact::required")]
    pub grace_period: Duration,
}

/// `[inference]`: the model, and what runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// The bundle's folder. Required.
    pub bundle: Option<PathBuf>,
    /// A second bundle that scores every part as well and decides nothing.
    pub shadow: Option<PathBuf>,
    /// ONNX Runtime's shared library; searched for if unset.
    pub onnxruntime: Option<PathBuf>,
    /// Execution providers in order of preference. An unavailable one is an error: there is no
    /// silent fallback to the processor.
    #[serde(deserialize_with = "list::strings")]
    pub providers: Vec<String>,
    /// Threads of the CPU provider; 0 uses every core.
    pub threads: usize,
    /// Settings of the provider `tensorrt`.
    pub tensorrt: TensorRt,
    /// Settings of the provider `cuda`.
    pub cuda: Cuda,
    /// Settings of the provider `openvino`.
    pub openvino: OpenVino,
    /// The provider `plugin`.
    pub plugin: Plugin,
}

/// `[inference.tensorrt]`: the provider `tensorrt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TensorRt {
    /// Lets TensorRT compute in half precision if that is faster.
    pub fp16: bool,
    /// Folder that keeps built engines; default: `engines` in flawd's cache folder.
    pub cache: Option<PathBuf>,
    /// Limit of the scratch memory for build and run, in MiB; defaults to TensorRT's own limit.
    pub memory_limit_mib: Option<u64>,
    /// Which GPU, counted from 0.
    pub device: u32,
}

/// `[inference.cuda]`: the provider `cuda`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cuda {
    /// Limit of the memory arena, in MiB; defaults to all of the GPU's memory.
    pub memory_limit_mib: Option<u64>,
    /// Which GPU, counted from 0.
    pub device: u32,
}

/// `[inference.openvino]`: the provider `openvino`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenVino {
    /// What computes: `CPU`, `GPU`, `GPU.1` and so on, or `NPU`. Default: `CPU`.
    pub device: Option<String>,
    /// The numbers that it computes with: `f32`, `bf16` or `f16`. Default: `f32`.
    pub precision: Option<String>,
    /// Folder that keeps compiled models; default: `engines` in flawd's cache folder.
    pub cache: Option<PathBuf>,
}

/// `[inference.plugin]`: the provider `plugin`, which is in a library of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    /// The library. Required if the provider is listed.
    pub library: Option<PathBuf>,
    /// The provider's name as the library states it. Required if the provider is listed.
    pub provider: Option<String>,
    /// What computes: `CPU`, `GPU`, `GPU.1` and so on, or `NPU`. Default: `CPU`.
    pub device: Option<String>,
    /// The provider's own settings, by the names in its documentation.
    pub options: BTreeMap<String, String>,
}

/// `[mqtt]`: the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// The broker's name or address.
    pub host: String,
    /// The broker's port; default 1883, or 8883 with `tls`.
    pub port: Option<u16>,
    /// Protocol version, `5` or `3.1.1`.
    pub version: String,
    /// First levels of every topic; default `flawd/<station>`.
    pub root: Option<String>,
    /// Must be unique among the broker's clients; default `flawd-<station>`.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Only from the environment: in the file it is an error.
    pub password: Option<Secret>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Name of the systemd credential that holds the password.
    pub password_credential: Option<String>,
    /// Encryption, and authentication of both ends. Without this section the connection is not
    /// encrypted.
    pub tls: Option<Tls>,
    /// Whether a broker that cannot be reached at start ends the daemon with exit code 69. If not,
    /// it inspects, keeps trying, and counts what it could not deliver.
    pub required_at_start: bool,
    /// How long one attempt to connect may take.
    #[serde(with = "compact::required")]
    pub connect_timeout: Duration,
    /// Longest pause between two attempts; pauses start at a quarter of a second and double.
    #[serde(with = "compact::required")]
    pub reconnect_max: Duration,
    /// Idle time after which the connection is probed; at least 5 s.
    #[serde(with = "compact::required")]
    pub keep_alive: Duration,
    /// A verdict is worthless after this long: the broker drops it, and it is not sent late. With a
    /// deadline, the rest of the deadline takes its place.
    #[serde(with = "compact::required")]
    pub expiry: Duration,
    /// How long the broker may take to acknowledge a verdict. After that the connection is cut, so
    /// that nothing queued on it arrives late. At least 1 s.
    #[serde(with = "compact::required")]
    pub stall_timeout: Duration,
    /// Shortest pause between two heartbeats.
    #[serde(with = "compact::required")]
    pub heartbeat: Duration,
}

/// `[mqtt.tls]`: encryption, and authentication of both ends. Files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Trusted authorities; the broker's certificate must be issued by one of them. Required.
    pub ca: Option<PathBuf>,
    /// This client's certificate, followed by its intermediate certificates.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, not encrypted.
    pub key: Option<PathBuf>,
    /// Name of the systemd credential that holds the key.
    pub key_credential: Option<String>,
}

/// `[journal]`: records on disk until the broker has acknowledged them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Maximum bytes on disk; when they are used up, the oldest records are deleted.
    pub capacity: ByteSize,
    /// When a record counts as written.
    pub sync: Durability,
}

/// When something counts as written to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When the disk confirms it: it survives a power cut.
    #[default]
    Always,
    /// When the operating system has it: it survives the daemon's end, but not a power cut.
    System,
}

impl From<Durability> for flawd_journal::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Always => Self::Always,
            Durability::System => Self::System,
        }
    }
}

/// `[evidence]`: pictures of judged parts on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Whether pictures are kept at all.
    pub enabled: bool,
    /// The folder; default `evidence` in the station's state folder.
    pub folder: Option<PathBuf>,
    /// Maximum bytes of all files; when they are used up, the oldest files are deleted.
    pub max_size: ByteSize,
    /// Older files are deleted.
    #[serde(with = "age")]
    pub max_age: Duration,
    /// Bytes of the file system that stay free, in addition to those that the journal may need.
    pub keep_free: ByteSize,
    /// Fraction of parts with verdict `ok` whose pictures are kept, 0 to 1. Those of `ng` and
    /// `no_decision` are always kept.
    pub ok_share: f64,
}

/// `[monitor]`: metrics and health over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Monitor {
    /// Address and port to listen on, for example `127.0.0.1:9464`; if unset, nothing is served.
    pub listen: Option<SocketAddr>,
    /// An output line that changes as long as parts are judged.
    pub heartbeat: Option<Heartbeat>,
}

impl Default for Station {
    fn default() -> Self {
        Self {
            name: None,
            state: None,
            grace_period: Duration::from_secs(10),
        }
    }
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            bundle: None,
            shadow: None,
            onnxruntime: None,
            providers: vec!["cpu".to_owned()],
            threads: 0,
            tensorrt: TensorRt::default(),
            openvino: OpenVino::default(),
            cuda: Cuda::default(),
            plugin: Plugin::default(),
        }
    }
}

impl Default for TensorRt {
    fn default() -> Self {
        Self {
            fp16: true,
            cache: None,
            memory_limit_mib: None,
            device: 0,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: None,
            version: "5".to_owned(),
            root: None,
            client_id: None,
            username: None,
            password: None,
            password_file: None,
            password_credential: None,
            tls: None,
            required_at_start: false,
            connect_timeout: Duration::from_secs(5),
            reconnect_max: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            expiry: Duration::from_secs(10),
            // Long enough for a packet that is lost three times in a row: TCP repeats it after 0.2,
            // 0.4, 0.8 and 1.6 s.
            stall_timeout: Duration::from_secs(3),
            heartbeat: Duration::from_secs(1),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            // Some 60,000 records of one kilobyte: ten parts per second for more than an hour and a
            // half without the broker.
            capacity: ByteSize::mib(64),
            sync: Durability::Always,
        }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
            max_size: ByteSize::gib(2),
            max_age: Duration::from_hours(30 * 24),
            keep_free: ByteSize::mib(16),
            ok_share: 0.01,
        }
    }
}

#[cfg(test)]
mod tests;
