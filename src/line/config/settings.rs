//! What the daemon is built from: the configuration after [`validate`](super::validate), where
//! nothing that is needed is optional and every default has been resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flawd_core::digest::Digest;
use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use flawd_onnx::SessionOptions;

use super::{Durability, Login, Monitor, Overflow, TlsSettings, V4l2, files};
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
    /// Which model, and what runs it.
    pub inference: InferenceSettings,
    /// At least one.
    pub cameras: Vec<CameraSettings>,
    /// The broker.
    pub mqtt: MqttSettings,
    /// What was in the files that `[mqtt]` names when they were last read, by their paths.
    pub mqtt_files: BTreeMap<PathBuf, Digest>,
    /// Records on disk until the broker has taken them.
    pub journal: JournalSettings,
    /// Pictures of judged parts on disk; none: they are not kept.
    pub evidence: Option<EvidenceSettings>,
    /// What is logged.
    pub log: Log,
    /// Metrics and health over HTTP.
    pub monitor: Monitor,
}

/// Which model, and what runs it.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSettings {
    /// Its name, a level of the topics.
    pub name: String,
    /// Where its frames come from.
    pub source: SourceSettings,
    /// What happens to a frame that arrives while the one before it still waits.
    pub overflow: Overflow,
    /// How long a verdict is worth something.
    pub deadline: Option<Duration>,
    /// What asks for verdicts.
    pub trigger: TriggerSettings,
    /// Whether pictures are refused that cannot be judged.
    pub quality_gate: bool,
    /// A camera that owes a frame for this long counts as lost.
    pub frame_timeout: Duration,
    /// Which part of the picture is inspected; none: as the bundle was made for.
    pub geometry: Option<Geometry>,
    /// Which bundles judge its parts.
    pub models: ModelSettings,
}

/// The folders of the bundles that judge one camera's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSettings {
    /// For parts that ask for no recipe.
    pub bundle: PathBuf,
    /// For parts that ask for one, by its name.
    pub recipes: BTreeMap<String, PathBuf>,
    /// Scores the parts that `bundle` judges, and decides nothing.
    pub shadow: Option<PathBuf>,
}

impl ModelSettings {
    /// Every folder that is named here.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let judges = std::iter::once(&self.bundle).chain(self.recipes.values());
        judges.chain(&self.shadow).map(PathBuf::as_path)
    }
}

impl ValidConfig {
    /// As much of `new` as can be exchanged while parts are judged, which is the models, the log
    /// and what is in files; and the sections in which `new` differs in something else, which
    /// stays as it is until a restart.
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

    /// The files that `[mqtt]` names in both and whose contents differ.
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
    /// What is in the files that are named here.
    pub(crate) fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        let password = self.login.iter().filter_map(Login::file);
        let tls = self.tls.iter().flat_map(TlsSettings::files);
        // They have just been read; one that is gone meanwhile is missed at the next connection.
        password
            .chain(tls)
            .filter_map(|path| Some((path.to_owned(), digest::sha256(&files::bytes(path).ok()?))))
            .collect()
    }
}

impl CameraSettings {
    /// Whether the source may give nothing for any time although nothing is wrong.
    pub fn may_be_idle(&self) -> bool {
        matches!(self.source, SourceSettings::Folder { watch: true, .. })
    }

    /// Whether frames are taken when they are asked for, instead of as fast as they come.
    pub fn is_on_demand(&self) -> bool {
        self.overflow == Overflow::Block
    }
}

/// What asks for verdicts, and which frame a trigger gets.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerSettings {
    /// What asks.
    pub mode: TriggerMode,
    /// From the trigger until the part is in front of the camera.
    pub delay: Duration,
    /// How far off a frame may be taken.
    pub match_within: Duration,
    /// Triggers that may wait, at least 1.
    pub queue: usize,
    /// Triggers over MQTT have to say when they were sent.
    pub require_sent_at: bool,
    /// How far from now that may be, either way.
    pub max_age: Duration,
}

/// What asks for verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerMode {
    /// Every frame is a part.
    FreeRun,
    /// A part every so often.
    Interval(Duration),
    /// A part a message.
    Mqtt,
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSettings {
    /// Image files.
    Folder {
        /// Walked with its sub-folders.
        path: PathBuf,
        /// Time from one image to the next; none: as fast as they are consumed.
        interval: Option<Duration>,
        /// Starts again after the last image.
        repeat: bool,
        /// Waits for other images after the last one.
        watch: bool,
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
        /// What goes wrong with its camera.
        faults: Faults,
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
    /// Differs for each client of the broker.
    pub client_id: String,
    /// User name and password; `None`: neither is sent.
    pub login: Option<Login>,
    /// How the connection is encrypted; none: it is not.
    pub tls: Option<TlsSettings>,
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
    /// How long the broker may take to acknowledge a verdict.
    pub stall_timeout: Duration,
    /// Shortest pause between two heartbeats.
    pub heartbeat: Duration,
}

/// Records on disk until the broker has taken them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Where; need not exist yet.
    pub folder: PathBuf,
    /// Bytes on disk at most.
    pub capacity: u64,
    /// When a record counts as written.
    pub durability: Durability,
}

/// Pictures of judged parts on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceSettings {
    /// Where; need not exist yet.
    pub folder: PathBuf,
    /// Bytes of all files at most.
    pub max_size: u64,
    /// Older files go.
    pub max_age: Duration,
    /// Share of the parts with verdict `ok` whose pictures are kept, 0 to 1.
    pub ok_share: f64,
    /// Bytes of the file system that are never taken: what the journal may still need, and a
    /// margin.
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
