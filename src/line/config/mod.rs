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
use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use crate::logging::Log;

mod age;
mod document;
mod files;
mod list;
mod load;
mod login;
mod models;
mod secret;
mod settings;
mod state;
mod text;
mod tls;
mod validate;
mod variables;

pub use document::{ConfigError, Document};
pub use files::FileError;
pub use login::Login;
pub use secret::Secret;
pub use settings::{
    CameraSettings, EvidenceSettings, InferenceSettings, JournalSettings, ModelSettings,
    MqttSettings, MqttVersion, SourceSettings, TriggerMode, TriggerSettings, ValidConfig,
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

/// `[camera.<name>]`: one camera. Exactly one of `folder`, `synthetic` and `v4l2` sets where its
/// frames come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// Image files.
    pub folder: Option<Folder>,
    /// A simulated line of parts.
    pub synthetic: Option<Synthetic>,
    /// A camera attached to the machine.
    pub v4l2: Option<V4l2>,
    /// What happens to a frame when the previous one is still waiting. Default: `block` for
    /// `folder` and `synthetic`, which can wait; `newest-wins` for `v4l2`, which cannot.
    pub overflow: Option<Overflow>,
    /// How long a verdict is useful, counted from the trigger or, in free run, from the picture;
    /// later ones are `no_decision: late`. A trigger may set another value.
    #[serde(with = "compact::optional")]
    pub deadline: Option<Duration>,
    /// What requests verdicts.
    pub trigger: TriggerConfig,
    /// Whether pictures that are darker, brighter or less sharp than any good one, and pictures of
    /// a camera that has frozen, are `no_decision: image_quality`. Default: true.
    pub quality_gate: Option<bool>,
    /// A camera whose frame is overdue for this long counts as lost.
    #[serde(with = "compact::optional")]
    pub frame_timeout: Option<Duration>,
    /// Region of interest, rotation and flip. Defaults to those the bundle was trained with; if
    /// set, replaces them as a whole.
    pub geometry: Option<Geometry>,
    /// The bundle's folder; defaults to that of `[inference]`.
    pub bundle: Option<PathBuf>,
    /// A second bundle that scores this camera's parts as well and decides nothing. If unset, and
    /// the camera has no bundle of its own, defaults to that of `[inference]`.
    pub shadow: Option<PathBuf>,
    /// The recipes that a trigger may request, by name.
    pub recipe: BTreeMap<String, Recipe>,
}

/// `[camera.<name>.recipe.<recipe>]`: what judges the parts whose trigger requests this recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The bundle's folder. Required.
    pub bundle: Option<PathBuf>,
}

/// `[camera.<name>.trigger]`: what requests verdicts, and which frame a trigger gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerConfig {
    /// Every frame, a timer, or messages on the topic `<camera>/trigger`.
    pub mode: TriggerKind,
    /// Time from one trigger to the next, with `mode = "interval"`.
    #[serde(with = "compact::optional")]
    pub interval: Option<Duration>,
    /// From the trigger until the part is in front of the camera.
    #[serde(with = "compact::required")]
    pub delay: Duration,
    /// A frame taken further away in time shows another part: `no_decision: trigger_unmatched`.
    #[serde(with = "compact::required")]
    pub match_within: Duration,
    /// How many triggers may wait for the camera, and how many for the model. Beyond that, the
    /// oldest is dropped: `no_decision: overrun`.
    pub queue: usize,
    /// Whether triggers without `sent_at` are refused, with `mode = "mqtt"`.
    pub require_sent_at: bool,
    /// A trigger whose `sent_at` is further than this in the past or in the future is refused.
    #[serde(with = "compact::required")]
    pub max_age: Duration,
}

/// What requests verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerKind {
    /// Every frame is a part.
    #[default]
    FreeRun,
    /// One part per interval.
    Interval,
    /// One part per message.
    Mqtt,
}

/// What a link does with a frame that arrives while it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The source waits. Nothing is lost, and the line runs at the model's speed.
    Block,
    /// The waiting frame is dropped and counted; the new one takes its place.
    NewestWins,
}

/// `[camera.<name>.folder]`: image files in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// The folder; its subfolders are included. Required.
    pub path: Option<PathBuf>,
    /// Images per second; if unset, as fast as they are consumed.
    pub rate: Option<f64>,
    /// Starts again after the last image. Otherwise the daemon then exits, with code 0.
    pub repeat: bool,
    /// Continues with images that arrive later, once they are complete. Not with `repeat`.
    pub watch: bool,
}

/// `[camera.<name>.synthetic]`: a seeded line of drawn parts, some with defects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// The same seed produces the same parts.
    pub seed: u64,
    /// Parts per second; if unset, as fast as they are consumed.
    pub rate: Option<f64>,
    /// How many parts; endless if unset.
    pub parts: Option<u64>,
    /// Fraction of parts that have a defect, 0 to 1.
    pub defect_rate: Option<f64>,
    /// Size of the images, `HxW`.
    pub size: Option<Size>,
    /// Faults of its camera.
    pub fault: Fault,
}

/// `[camera.<name>.synthetic.fault]`: an outage to rehearse. Each fault occurs once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The camera hangs.
    pub stall: Option<Outage>,
    /// The camera disappears.
    pub loss: Option<Outage>,
    /// Pictures are nearly black.
    pub dark: Option<Spell>,
    /// The same picture is repeated.
    pub frozen: Option<Spell>,
}

/// A period without pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outage {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How long it lasts. Required.
    #[serde(with = "compact::optional")]
    pub lasts: Option<Duration>,
}

/// A series of bad pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spell {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How many parts it affects. Required.
    pub parts: Option<u64>,
}

/// `[camera.<name>.v4l2]`: a camera attached to the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V4l2 {
    /// The device node, for example `/dev/video0`, or a link to one. Required.
    pub device: Option<PathBuf>,
    /// Pixel format requested from the camera.
    pub format: PixelFormat,
    /// Width requested from the camera, in pixels.
    pub width: u32,
    /// Height requested from the camera, in pixels.
    pub height: u32,
    /// Frames per second requested from the camera.
    pub rate: u32,
}

/// Pixel formats that can be requested from a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// JPEG pictures.
    Mjpeg,
    /// 4:2:2, packed.
    Yuyv,
    /// 4:2:0, two planes.
    Nv12,
    /// Grey, 8 bits.
    Grey,
    /// Grey, 10 bits in two bytes, of which the 8 high ones are used.
    Y10,
    /// Grey, 12 bits in two bytes, of which the 8 high ones are used.
    Y12,
    /// Grey, 16 bits, of which the 8 high ones are used.
    Y16,
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
            cuda: Cuda::default(),
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

impl Default for TriggerConfig {
    fn default() -> Self {
        Self {
            mode: TriggerKind::FreeRun,
            interval: None,
            delay: Duration::ZERO,
            match_within: Duration::from_millis(100),
            queue: 4,
            // Off, because controllers without a clock also send triggers.
            require_sent_at: false,
            // More than two clocks without a time server differ soon after they were set, and far
            // too long for a fast line.
            max_age: Duration::from_secs(2),
        }
    }
}

impl Default for V4l2 {
    fn default() -> Self {
        Self {
            device: None,
            format: PixelFormat::Mjpeg,
            width: 1280,
            height: 720,
            rate: 30,
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
