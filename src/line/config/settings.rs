//! What the daemon is built from: the configuration after [`validate`](super::validate), in which
//! everything required is present and every default is resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flawd_core::digest::Digest;
use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use flawd_onnx::SessionOptions;

use super::{
    Bias, Drive, Durability, EdgeKind, Login, Monitor, Overflow, PipelineText, TlsSettings,
    UndecidedRule, V4l2, files,
};
use crate::files::digest;
use crate::logging::Log;
use crate::synthetic::fault::Faults;

/// A configuration that the daemon can be built from.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// Name of the place on the line.
    pub station: String,
    /// The folder for what has to survive a restart. Need not exist yet.
    pub state: PathBuf,
    /// How long a shutdown may take.
    pub grace_period: Duration,
    /// The model, and what runs it.
    pub inference: InferenceSettings,
    /// At least one.
    pub cameras: Vec<CameraSettings>,
    /// The broker.
    pub mqtt: MqttSettings,
    /// Digests of the files that `[mqtt]` names, as last read, by path.
    pub mqtt_files: BTreeMap<PathBuf, Digest>,
    /// Records on disk until the broker has acknowledged them.
    pub journal: JournalSettings,
    /// Pictures of judged parts on disk; `None` if they are not kept.
    pub evidence: Option<EvidenceSettings>,
    /// What is logged.
    pub log: Log,
    /// Metrics and health over HTTP.
    pub monitor: Monitor,
    /// The output line that changes as long as parts are judged, if any.
    pub heartbeat: Option<HeartbeatSettings>,
}

/// The model, and what runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceSettings {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The bundle that scores the parts of `bundle` as well, and decides nothing.
    pub shadow: Option<PathBuf>,
    /// ONNX Runtime's shared library, if the operator named one.
    pub onnxruntime: Option<PathBuf>,
    /// Providers and threads.
    pub session: SessionOptions,
    /// The folder of all engines; set if `session` lists a provider that keeps some.
    pub engines: Option<PathBuf>,
}

/// One camera.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// Its name, a level of the topics.
    pub name: String,
    /// Where its frames come from.
    pub source: SourceSettings,
    /// What happens to a frame that arrives while the previous one is still waiting.
    pub overflow: Overflow,
    /// How long a verdict is useful.
    pub deadline: Option<Duration>,
    /// What requests verdicts.
    pub trigger: TriggerSettings,
    /// The output that removes parts, if any.
    pub reject: Option<RejectSettings>,
    /// Whether pictures that cannot be judged are refused.
    pub quality_gate: bool,
    /// A camera whose frame is overdue for this long counts as lost.
    pub frame_timeout: Duration,
    /// Region of interest, rotation and flip; `None` for those the bundle was trained with.
    pub geometry: Option<Geometry>,
    /// Which bundles judge its parts.
    pub models: ModelSettings,
}

/// The folders of the bundles that judge one camera's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSettings {
    /// For parts that request no recipe.
    pub bundle: PathBuf,
    /// For parts that request a recipe, by its name.
    pub recipes: BTreeMap<String, PathBuf>,
    /// Scores the parts that `bundle` judges, and decides nothing.
    pub shadow: Option<PathBuf>,
}

impl ModelSettings {
    /// Returns every folder that is named here.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let judges = std::iter::once(&self.bundle).chain(self.recipes.values());
        judges.chain(&self.shadow).map(PathBuf::as_path)
    }
}

impl ValidConfig {
    /// Applies what can be exchanged while parts are judged: the models, the log and the contents
    /// of files. Also returns the sections in which `new` differs otherwise, which stay unchanged
    /// until a restart.
    pub fn exchange(&self, new: &Self) -> (Self, Vec<String>) {
        let station = |config: &Self| {
            let station = config.station.clone();
            (station, config.state.clone(), config.grace_period)
        };
        let library = |config: &Self| config.inference.onnxruntime.clone();
        let evidence = |config: &Self| {
            let evidence = config.evidence.clone()?;
            // What is kept free for the journal belongs to its section.
            let reserve = evidence.reserve.saturating_sub(config.journal.capacity);
            Some(EvidenceSettings {
                reserve,
                ..evidence
            })
        };
        let sections = [
            ("[station]", station(self) != station(new)),
            ("inference.onnxruntime", library(self) != library(new)),
            ("[mqtt]", self.mqtt != new.mqtt),
            ("[journal]", self.journal != new.journal),
            ("[evidence]", evidence(self) != evidence(new)),
            ("[monitor]", self.monitor != new.monitor),
        ];
        let differing = sections.into_iter().filter(|(_, differs)| *differs);
        let mut kept: Vec<_> = differing.map(|(section, _)| section.to_owned()).collect();
        let section = |camera: &CameraSettings| format!("[camera.{}]", camera.name);
        let mut cameras = self.cameras.clone();
        for camera in &mut cameras {
            let new = new.camera(&camera.name);
            if let Some(new) = new {
                camera.models = new.models.clone();
            }
            if new != Some(&*camera) {
                kept.push(section(camera));
            }
        }
        let is_new = |camera: &&CameraSettings| self.camera(&camera.name).is_none();
        kept.extend(new.cameras.iter().filter(is_new).map(section));
        let exchanged = Self {
            cameras,
            inference: InferenceSettings {
                onnxruntime: library(self),
                ..new.inference.clone()
            },
            log: new.log.clone(),
            mqtt_files: new.mqtt_files.clone(),
            ..self.clone()
        };
        (exchanged, kept)
    }

    /// Returns every GPIO line, with what it is for.
    pub fn lines(&self) -> Vec<(String, &LineSettings)> {
        let mut lines = Vec::new();
        for camera in &self.cameras {
            let name = &camera.name;
            let input = camera.trigger.input.as_ref().map(|it| &it.line);
            lines.extend(input.map(|line| (format!("trigger of {name}"), line)));
            let reject = camera.reject.as_ref().map(|it| &it.output.line);
            lines.extend(reject.map(|line| (format!("reject of {name}"), line)));
        }
        let heartbeat = self.heartbeat.as_ref().map(|it| &it.output.line);
        lines.extend(heartbeat.map(|line| ("heartbeat".to_owned(), line)));
        lines
    }

    /// Returns the files that `[mqtt]` names in both and whose contents differ.
    pub fn changed_files<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = &'a Path> {
        let files = new.mqtt_files.iter();
        let changed = files.filter(|(path, digest)| {
            let last = self.mqtt_files.get(*path);
            last.is_some_and(|last| last != *digest)
        });
        changed.map(|(path, _)| path.as_path())
    }

    fn camera(&self, name: &str) -> Option<&CameraSettings> {
        self.cameras.iter().find(|camera| camera.name == name)
    }
}

impl MqttSettings {
    /// Returns the digests of the files that are named here.
    pub(crate) fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        let password = self.login.iter().filter_map(Login::file);
        let tls = self.tls.iter().flat_map(TlsSettings::files);
        // They have just been read; one that has disappeared since is reported at the next
        // connection.
        password
            .chain(tls)
            .filter_map(|path| Some((path.to_owned(), digest::sha256(&files::bytes(path).ok()?))))
            .collect()
    }
}

impl CameraSettings {
    /// Returns whether the source may deliver nothing for any length of time without a fault.
    pub fn may_be_idle(&self) -> bool {
        matches!(self.source, SourceSettings::Folder { watch: true, .. })
    }

    /// Returns whether frames are taken on request instead of as fast as they come.
    pub fn is_on_demand(&self) -> bool {
        self.overflow == Overflow::Block
    }
}

/// What requests verdicts, and which frame a trigger gets.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerSettings {
    /// The kind of trigger.
    pub mode: TriggerMode,
    /// From the trigger until the part is in front of the camera.
    pub delay: Duration,
    /// How far from the trigger's time a frame may be taken.
    pub match_within: Duration,
    /// Triggers that may wait, at least 1.
    pub queue: usize,
    /// Whether triggers over MQTT must state when they were sent.
    pub require_sent_at: bool,
    /// How far from now that time may be, in either direction.
    pub max_age: Duration,
    /// The line of the sensor; set with [`TriggerMode::Gpio`] and only then.
    pub input: Option<InputSettings>,
}

/// What requests verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerMode {
    /// Every frame is a part.
    FreeRun,
    /// One part per interval.
    Interval(Duration),
    /// One part per message.
    Mqtt,
    /// One part per edge of an input line.
    Gpio,
}

/// A line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineSettings {
    /// The chip: its device node, a link to one, or its label; set if the line is given by its
    /// offset.
    pub chip: Option<String>,
    /// Which line.
    pub id: LineId,
    /// Whether the line is active when its level is low.
    pub active_low: bool,
}

/// Which line of a chip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineId {
    /// Its name.
    Name(String),
    /// Its number on the chip, from 0.
    Offset(u32),
}

impl fmt::Display for LineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            LineId::Name(name) => write!(f, "line `{name}`")?,
            LineId::Offset(offset) => write!(f, "line {offset}")?,
        }
        match &self.chip {
            Some(chip) => write!(f, " of {chip}"),
            None => Ok(()),
        }
    }
}

/// An input line that requests verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSettings {
    /// Which line.
    pub line: LineSettings,
    /// Which change is a trigger.
    pub edge: EdgeKind,
    /// What pulls it while nothing drives it.
    pub bias: Bias,
    /// Changes that do not last this long are ignored; at most a minute.
    pub debounce: Duration,
}

/// An output line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    /// Which line.
    pub line: LineSettings,
    /// How it is driven.
    pub drive: Drive,
}

/// The output that removes parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectSettings {
    /// The line.
    pub output: OutputSettings,
    /// From the picture until the part is at the actuator.
    pub delay: Duration,
    /// How long the line is active for one part.
    pub length: Duration,
    /// What happens to a part without a decision.
    pub no_decision: UndecidedRule,
    /// How much later than its moment a pulse may begin.
    pub tolerance: Duration,
}

/// The output line that changes as long as parts are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// The line.
    pub output: OutputSettings,
    /// From one change to the next; at least 10 ms.
    pub interval: Duration,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSettings {
    /// Image files.
    Folder {
        /// The folder; its subfolders are included.
        path: PathBuf,
        /// Time from one image to the next; `None` for as fast as they are consumed.
        interval: Option<Duration>,
        /// Starts again after the last image.
        repeat: bool,
        /// Waits for more images after the last one.
        watch: bool,
    },
    /// A simulated line.
    Synthetic {
        /// The same seed produces the same parts.
        seed: u64,
        /// Time from one part to the next; `None` for as fast as they are consumed.
        interval: Option<Duration>,
        /// How many parts; `None` for endless.
        parts: Option<u64>,
        /// Fraction of parts that have a defect.
        defect_rate: f64,
        /// Size of the images.
        size: Size,
        /// Faults of its camera.
        faults: Faults,
    },
    /// A camera attached to the machine.
    V4l2 {
        /// Its device node, or a link to one.
        device: PathBuf,
        /// What is requested from it.
        options: V4l2,
    },
    /// A pipeline of GStreamer.
    Gstreamer {
        /// Its text.
        pipeline: PipelineText,
        /// How long it may deliver no frame before it is started again.
        reopen_after: Duration,
    },
}

/// The broker.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttSettings {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Protocol version.
    pub version: MqttVersion,
    /// First levels of every topic.
    pub root: String,
    /// Unique among the broker's clients.
    pub client_id: String,
    /// User name and password; `None` if neither is sent.
    pub login: Option<Login>,
    /// How the connection is encrypted; `None` if it is not.
    pub tls: Option<TlsSettings>,
    /// Whether a start without the broker is an error.
    pub required_at_start: bool,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Longest pause between two attempts.
    pub reconnect_max: Duration,
    /// Idle time after which the connection is probed.
    pub keep_alive: Duration,
    /// Age at which a verdict is worthless.
    pub expiry: Duration,
    /// How long the broker may take to acknowledge a verdict.
    pub stall_timeout: Duration,
    /// Shortest pause between two heartbeats.
    pub heartbeat: Duration,
}

/// Records on disk until the broker has acknowledged them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The folder; need not exist yet.
    pub folder: PathBuf,
    /// Maximum bytes on disk.
    pub capacity: u64,
    /// When a record counts as written.
    pub durability: Durability,
}

/// Pictures of judged parts on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceSettings {
    /// The folder; need not exist yet.
    pub folder: PathBuf,
    /// Maximum bytes of all files.
    pub max_size: u64,
    /// Older files are deleted.
    pub max_age: Duration,
    /// Fraction of parts with verdict `ok` whose pictures are kept, 0 to 1.
    pub ok_share: f64,
    /// Bytes of the file system that are never used: what the journal may still need, and a margin.
    pub reserve: u64,
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1: no properties, so events are structured CloudEvents and never expire.
    V3,
    /// 5.
    V5,
}
