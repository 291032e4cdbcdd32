//! What the operator may set: the sections and keys of `flawd.toml`, and nothing about how
//! they are used.
//!
//! Three steps, each a type, so that none can be skipped: text → [`Config`] (every key optional,
//! what was written) → [`ValidConfig`] (nothing optional that is needed, what will be done).
//! [`load`] takes the first, [`validate`] the second. Neither opens a bundle, a device or a
//! socket: that is the daemon's build step.
//!
//! Every key has a default or is checked for presence in [`validate`], never by serde: so the
//! file alone can be parsed strictly (which gives errors their line) although a required key may
//! still come from the environment.

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
pub(crate) use tls::date;
pub(crate) use validate::LONGEST_QUEUE;
pub use variables::ENVIRONMENT_PREFIX;

/// The whole file, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this daemon is.
    pub station: Station,
    /// Which model, and what runs it.
    pub inference: Inference,
    /// The cameras by name; the name is a level of the MQTT topics.
    pub camera: BTreeMap<String, Camera>,
    /// The broker.
    pub mqtt: Mqtt,
    /// Records on disk until the broker has taken them.
    pub journal: Journal,
    /// Pictures of judged parts on disk.
    pub evidence: Evidence,
    /// What is logged.
    pub log: Log,
    /// Metrics and health over HTTP.
    pub monitor: Monitor,
}

/// `[station]`: who this daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Station {
    /// Name of the place on the line, for example `press-3`. Required.
    pub name: Option<String>,
    /// The folder for what has to survive a restart. Default: see [`state`].
    pub state: Option<PathBuf>,
    /// How long a shutdown may take before what is left is given up.
    #[serde(with = "compact::required")]
    pub grace_period: Duration,
}

/// `[inference]`: which model, and what runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inference {
    /// The bundle's folder. Required.
    pub bundle: Option<PathBuf>,
    /// A second bundle that scores every part as well and decides nothing.
    pub shadow: Option<PathBuf>,
    /// ONNX Runtime's shared library; searched for where it is not given.
    pub onnxruntime: Option<PathBuf>,
    /// Execution providers in order of preference. One that cannot be had is an error: there is
    /// no silent fallback to the processor.
    #[serde(deserialize_with = "list::strings")]
    pub providers: Vec<String>,
    /// Threads of the CPU provider; 0 takes every core.
    pub threads: usize,
    /// The provider `tensorrt`.
    pub tensorrt: TensorRt,
    /// The provider `cuda`.
    pub cuda: Cuda,
}

/// `[inference.tensorrt]`: the provider `tensorrt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TensorRt {
    /// Lets TensorRT compute in half precision where that is faster.
    pub fp16: bool,
    /// Folder that keeps built engines; default: `engines` in flawd's cache folder.
    pub cache: Option<PathBuf>,
    /// Limit of the scratch memory of build and run, in MiB; TensorRT's own where not given.
    pub memory_limit_mib: Option<u64>,
    /// Which GPU, counted from 0.
    pub device: u32,
}

/// `[inference.cuda]`: the provider `cuda`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cuda {
    /// Limit of the memory arena, in MiB; all of the GPU's where not given.
    pub memory_limit_mib: Option<u64>,
    /// Which GPU, counted from 0.
    pub device: u32,
}

/// `[camera.<name>]`: one camera. Exactly one of `folder`, `synthetic` and `v4l2` says where its
/// frames come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Camera {
    /// Image files.
    pub folder: Option<Folder>,
    /// A made-up line of parts.
    pub synthetic: Option<Synthetic>,
    /// A camera of the machine.
    pub v4l2: Option<V4l2>,
    /// What happens to a frame when the one before it still waits. Default: `block` for `folder`
    /// and `synthetic`, which can wait; `newest-wins` for `v4l2`, which cannot.
    pub overflow: Option<Overflow>,
    /// How long a verdict is worth something, from the trigger on or, in free run, from the
    /// picture on; later ones are `no_decision: late`. A trigger may say something else.
    #[serde(with = "compact::optional")]
    pub deadline: Option<Duration>,
    /// What asks for verdicts.
    pub trigger: TriggerConfig,
    /// Pictures that are darker, brighter or less sharp than any good one, and pictures of a
    /// camera that has frozen, are `no_decision: image_quality`. Default: true.
    pub quality_gate: Option<bool>,
    /// A camera that owes a frame for this long counts as lost.
    #[serde(with = "compact::optional")]
    pub frame_timeout: Option<Duration>,
    /// Which part of the picture is inspected, and how it is turned. Where it is not given, what
    /// the bundle was trained with; where it is, that is ignored.
    pub geometry: Option<Geometry>,
    /// The bundle's folder; where it is not given, that of `[inference]`.
    pub bundle: Option<PathBuf>,
    /// A second bundle that scores this camera's parts as well and decides nothing. Where it is
    /// not given and the camera has no bundle of its own, that of `[inference]`.
    pub shadow: Option<PathBuf>,
    /// What a trigger may ask for, by the name that it says.
    pub recipe: BTreeMap<String, Recipe>,
}

/// `[camera.<name>.recipe.<recipe>]`: what judges the parts whose trigger asks for this recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The bundle's folder. Required.
    pub bundle: Option<PathBuf>,
}

/// `[camera.<name>.trigger]`: what asks for verdicts, and which frame a trigger gets.
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
    /// A frame that was taken further off shows another part: `no_decision: trigger_unmatched`.
    #[serde(with = "compact::required")]
    pub match_within: Duration,
    /// Triggers that may wait for the camera, and as many for the model; then the oldest gives
    /// way: `no_decision: overrun`.
    pub queue: usize,
    /// Triggers without `sent_at` are refused, with `mode = "mqtt"`.
    pub require_sent_at: bool,
    /// A trigger that was sent longer ago by its `sent_at`, or will be sent in this time, is
    /// refused.
    #[serde(with = "compact::required")]
    pub max_age: Duration,
}

/// What asks for verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerKind {
    /// Every frame is a part.
    #[default]
    FreeRun,
    /// A part every so often.
    Interval,
    /// A part a message.
    Mqtt,
}

/// What a link does with a frame that arrives while it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The source waits. Nothing is lost, and the line's speed is the model's.
    Block,
    /// The frame that waits is dropped and counted; the new one takes its place.
    NewestWins,
}

/// `[camera.<name>.folder]`: image files in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// The folder; its sub-folders are walked as well. Required.
    pub path: Option<PathBuf>,
    /// Images a second; as fast as they are consumed where it is not given.
    pub rate: Option<f64>,
    /// Starts again after the last image. Otherwise the daemon ends there, with exit code 0.
    pub repeat: bool,
    /// Goes on with the images that come later, when they are whole. Not with `repeat`.
    pub watch: bool,
}

/// `[camera.<name>.synthetic]`: a seeded line of drawn parts, some with defects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// The same seed gives the same parts.
    pub seed: u64,
    /// Parts a second; as fast as they are consumed where it is not given.
    pub rate: Option<f64>,
    /// How many parts; endless where it is not given.
    pub parts: Option<u64>,
    /// Share of the parts that has a defect, 0 to 1.
    pub defect_rate: Option<f64>,
    /// Size of the images, `HxW`.
    pub size: Option<Size>,
    /// What goes wrong with its camera.
    pub fault: Fault,
}

/// `[camera.<name>.synthetic.fault]`: an outage to rehearse. Each fault comes once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The camera hangs.
    pub stall: Option<Outage>,
    /// The camera is gone.
    pub loss: Option<Outage>,
    /// Pictures are nearly black.
    pub dark: Option<Spell>,
    /// The same picture again and again.
    pub frozen: Option<Spell>,
}

/// A time without pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outage {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How long it lasts. Required.
    #[serde(with = "compact::optional")]
    pub lasts: Option<Duration>,
}

/// A row of bad pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spell {
    /// Parts before it begins. Required.
    pub after: Option<u64>,
    /// How many parts it has. Required.
    pub parts: Option<u64>,
}

/// `[camera.<name>.v4l2]`: a camera of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V4l2 {
    /// The device node, for example `/dev/video0`, or a link to one. Required.
    pub device: Option<PathBuf>,
    /// Pixel format asked of the camera.
    pub format: PixelFormat,
    /// Width asked of the camera, in pixels.
    pub width: u32,
    /// Height asked of the camera, in pixels.
    pub height: u32,
    /// Frames a second asked of the camera.
    pub rate: u32,
}

/// Pixel formats that can be asked of a camera.
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
    /// Grey, 10 bits in two bytes, of which the 8 high ones count.
    Y10,
    /// Grey, 12 bits in two bytes, of which the 8 high ones count.
    Y12,
    /// Grey, 16 bits, of which the 8 high ones count.
    Y16,
}

/// `[mqtt]`: the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// The broker's name or address.
    pub host: String,
    /// The broker's port; default 1883, with `tls` 8883.
    pub port: Option<u16>,
    /// Protocol version, `5` or `3.1.1`.
    pub version: String,
    /// First levels of every topic; default `flawd/<station>`.
    pub root: Option<String>,
    /// Must differ for each client of a broker; default `flawd-<station>`.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// Only from the environment: in the file it is an error.
    pub password: Option<Secret>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Name of the systemd credential that holds the password.
    pub password_credential: Option<String>,
    /// Encryption, and who the two ends are. Without this section everything travels in the clear.
    pub tls: Option<Tls>,
    /// A broker that cannot be reached at start ends the daemon with exit code 69. Otherwise it
    /// inspects, goes on trying, and counts what it could not deliver.
    pub required_at_start: bool,
    /// How long one attempt to connect may take.
    #[serde(with = "compact::required")]
    pub connect_timeout: Duration,
    /// Longest pause between two attempts; they start at a quarter second and double.
    #[serde(with = "compact::required")]
    pub reconnect_max: Duration,
    /// Silence after which the connection is probed; at least 5 s.
    #[serde(with = "compact::required")]
    pub keep_alive: Duration,
    /// A verdict is worthless after this long: the broker drops it, and it is not sent late.
    /// With a deadline, what is left of the deadline takes its place.
    #[serde(with = "compact::required")]
    pub expiry: Duration,
    /// How long the broker may take to acknowledge a verdict; then the connection is cut, so that
    /// nothing of what is queued on it arrives late. At least 1 s.
    #[serde(with = "compact::required")]
    pub stall_timeout: Duration,
    /// Shortest pause between two heartbeats.
    #[serde(with = "compact::required")]
    pub heartbeat: Duration,
}

/// `[mqtt.tls]`: encryption, and who the two ends are. Files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates one of which has to stand behind the broker's. Required.
    pub ca: Option<PathBuf>,
    /// This client's certificate, with the ones between it and its authority behind it.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, not encrypted.
    pub key: Option<PathBuf>,
    /// Name of the systemd credential that holds the key.
    pub key_credential: Option<String>,
}

/// `[journal]`: records on disk until the broker has taken them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Bytes on disk at most; when they are used, the oldest records go.
    pub capacity: ByteSize,
    /// When a record counts as written.
    pub sync: Durability,
}

/// When something counts as written to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When the disk says so: it survives a power cut.
    #[default]
    Always,
    /// When the operating system has it: it survives the daemon's end, but no power cut.
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
    /// Where; default `evidence` in the station's state folder.
    pub folder: Option<PathBuf>,
    /// Bytes of all files at most; when they are used, the oldest files go.
    pub max_size: ByteSize,
    /// Older files go.
    #[serde(with = "age")]
    pub max_age: Duration,
    /// Bytes of the file system that stay free, besides those that the journal may need.
    pub keep_free: ByteSize,
    /// Share of the parts with verdict `ok` whose pictures are kept, 0 to 1. Those of `ng` and
    /// `no_decision` are always kept.
    pub ok_share: f64,
}

/// `[monitor]`: metrics and health over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Monitor {
    /// Address and port to listen on, for example `127.0.0.1:9464`; nothing is served where it is
    /// not given.
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
            // Off, because controllers without a clock send triggers as well.
            require_sent_at: false,
            // Above what two clocks without a time server differ by soon after they were set, and
            // far too long for a fast line.
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
            // A packet that is lost three times in a row is still waited for: TCP repeats it after
            // 0.2, 0.4, 0.8 and 1.6 s.
            stall_timeout: Duration::from_secs(3),
            heartbeat: Duration::from_secs(1),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            // Some 60,000 records of a kilobyte: ten parts a second for more than an hour and
            // a half without the broker.
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
