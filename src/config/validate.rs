//! From what was written to what will be done: presence, ranges, and keys that exclude each
//! other. The result holds no option that the daemon would have to resolve.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flawd_core::image::Size;

use super::{
    Camera, CameraSettings, Config, ConfigError, Document, InferenceSettings, MqttSettings,
    MqttVersion, Overflow, Secret, SourceSettings, ValidConfig,
};
use crate::telemetry;

/// The shortest keep-alive that the client library takes.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A part is drawn this large where nothing else is asked for.
const SYNTHETIC_SIZE: Size = Size::new(256, 256);

/// A tenth of the synthetic parts is defective where nothing else is asked for.
const SYNTHETIC_DEFECT_RATE: f64 = 0.1;

impl Config {
    /// Checks presence, ranges and combinations; `document` is where errors point to.
    ///
    /// # Errors
    /// [`ConfigError::Value`], and [`ConfigError::Read`] for a password file.
    pub fn validate(&self, document: &Document) -> Result<ValidConfig, ConfigError> {
        let station = document.require("station.name", self.station.name.clone())?;
        document.check_topic_level("station.name", &station)?;
        if self.camera.is_empty() {
            return Err(document.value_error("camera", "no camera; add a section [camera.<name>]"));
        }
        let inference = self.validate_inference(document)?;
        let cameras = self
            .camera
            .iter()
            .map(|(name, camera)| camera.validate(name, &inference, document))
            .collect::<Result<Vec<_>, _>>()?;
        for camera in &cameras {
            if let SourceSettings::V4l2 { options, .. } = &camera.source
                && options.frame_timeout >= self.station.grace_period
            {
                return Err(document.value_error(
                    &format!("camera.{}.v4l2.frame_timeout", camera.name),
                    "must be shorter than station.grace_period, or a stalled camera would hold \
                     up a shutdown",
                ));
            }
        }
        telemetry::check_level(&self.log.level)
            .map_err(|problem| document.value_error("log.level", problem))?;
        Ok(ValidConfig {
            grace_period: self.station.grace_period,
            inference,
            cameras,
            mqtt: self.validate_mqtt(&station, document)?,
            log: self.log.clone(),
            monitor: self.monitor.clone(),
            station,
        })
    }

    fn validate_mqtt(
        &self,
        station: &str,
        document: &Document,
    ) -> Result<MqttSettings, ConfigError> {
        let mqtt = &self.mqtt;
        let version = match mqtt.version.as_str() {
            "5" => MqttVersion::V5,
            "3.1.1" => MqttVersion::V3,
            other => {
                return Err(document.value_error(
                    "mqtt.version",
                    format!("`{other}` is neither \"5\" nor \"3.1.1\""),
                ));
            }
        };
        let root = mqtt.root.clone().unwrap_or(format!("flawd/{station}"));
        for level in root.split('/') {
            document.check_topic_level("mqtt.root", level)?;
        }
        if mqtt.keep_alive < SHORTEST_KEEP_ALIVE {
            return Err(document.value_error("mqtt.keep_alive", "must be at least 5s"));
        }
        for (key, value) in [
            ("mqtt.connect_timeout", mqtt.connect_timeout),
            ("mqtt.expiry", mqtt.expiry),
            ("mqtt.reconnect_max", mqtt.reconnect_max),
        ] {
            if value.as_secs() == 0 {
                return Err(document.value_error(key, "must be at least 1s"));
            }
        }
        Ok(MqttSettings {
            host: mqtt.host.clone(),
            port: mqtt.port,
            version,
            root,
            client_id: mqtt.client_id.clone().unwrap_or(format!("flawd-{station}")),
            login: self.validate_login(document)?,
            required_at_start: mqtt.required_at_start,
            connect_timeout: mqtt.connect_timeout,
            reconnect_max: mqtt.reconnect_max,
            keep_alive: mqtt.keep_alive,
            expiry: mqtt.expiry,
            heartbeat: mqtt.heartbeat,
        })
    }

    fn validate_login(&self, document: &Document) -> Result<Option<(String, Secret)>, ConfigError> {
        let mqtt = &self.mqtt;
        let credential = match &mqtt.password_credential {
            Some(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    document.value_error(
                        "mqtt.password_credential",
                        "there is no $CREDENTIALS_DIRECTORY: the unit lacks LoadCredential=, or \
                         flawd does not run under systemd",
                    )
                })?;
                Some(Path::new(&folder).join(name))
            }
            None => None,
        };
        let file = mqtt
            .password_file
            .as_deref()
            .map(|path| document.resolve(path));
        let password = match (&mqtt.password, file, credential) {
            (Some(password), None, None) => Some(password.clone()),
            (None, Some(path), None) | (None, None, Some(path)) => Some(first_line(&path)?),
            (None, None, None) => None,
            _ => {
                return Err(document.value_error(
                    "mqtt.password_file",
                    "the password is given twice; keep one of password_file, \
                     password_credential and FLAWD__MQTT__PASSWORD",
                ));
            }
        };
        match (&mqtt.username, password) {
            (Some(name), Some(password)) => Ok(Some((name.clone(), password))),
            (Some(name), None) => Ok(Some((name.clone(), Secret::new("")))),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(document
                    .value_error("mqtt.username", "is missing, although a password is given"))
            }
        }
    }
}

impl Camera {
    fn validate(
        &self,
        name: &str,
        inference: &InferenceSettings,
        document: &Document,
    ) -> Result<CameraSettings, ConfigError> {
        let key = format!("camera.{name}");
        document.check_topic_level(&key, name)?;
        if RESERVED_LEVELS.contains(&name) {
            return Err(document.value_error(
                &key,
                format!("`{name}` is a topic of its own; give the camera another name"),
            ));
        }
        let source = match (&self.folder, &self.synthetic, &self.v4l2) {
            (Some(folder), None, None) => {
                let path_key = format!("{key}.folder.path");
                SourceSettings::Folder {
                    path: document.resolve(&document.require(&path_key, folder.path.clone())?),
                    interval: document.interval(&format!("{key}.folder.rate"), folder.rate)?,
                    repeat: folder.repeat,
                }
            }
            (None, Some(line), None) => {
                let defect_rate = line.defect_rate.unwrap_or(SYNTHETIC_DEFECT_RATE);
                if !(0.0..=1.0).contains(&defect_rate) {
                    return Err(document.value_error(
                        &format!("{key}.synthetic.defect_rate"),
                        format!("{defect_rate} is no share; it lies between 0 and 1"),
                    ));
                }
                SourceSettings::Synthetic {
                    seed: line.seed,
                    interval: document.interval(&format!("{key}.synthetic.rate"), line.rate)?,
                    parts: line.parts,
                    defect_rate,
                    size: line.size.unwrap_or(SYNTHETIC_SIZE),
                }
            }
            (None, None, Some(options)) => {
                let device_key = format!("{key}.v4l2.device");
                SourceSettings::V4l2 {
                    device: document.require(&device_key, options.device.clone())?,
                    options: options.clone(),
                }
            }
            _ => {
                return Err(document.value_error(
                    &key,
                    "needs exactly one of the sections folder, synthetic and v4l2",
                ));
            }
        };
        let is_live = matches!(source, SourceSettings::V4l2 { .. });
        let overflow = match self.overflow {
            Some(Overflow::Block) if is_live => {
                return Err(document.value_error(
                    &format!("{key}.overflow"),
                    "a camera cannot be made to wait; only folder and synthetic can block",
                ));
            }
            Some(overflow) => overflow,
            None if is_live => Overflow::NewestWins,
            None => Overflow::Block,
        };
        Ok(CameraSettings {
            name: name.to_owned(),
            source,
            overflow,
            deadline: self.deadline,
            geometry: self.geometry,
            models: self.validate_models(&key, inference, document)?,
        })
    }
}

/// Levels under the root that mean something else than a camera.
const RESERVED_LEVELS: [&str; 4] = ["status", "state", "heartbeat", "cmd"];

impl Document {
    pub(super) fn require<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| self.value_error(key, "is missing"))
    }

    /// A relative path starts at the configuration file's folder.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.folder().join(path)
    }

    /// Names become levels of MQTT topics and parts of environment variables.
    pub(super) fn check_topic_level(&self, key: &str, name: &str) -> Result<(), ConfigError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(self.value_error(
                key,
                format!("`{name}` must consist of letters, digits, - and _"),
            ));
        }
        Ok(())
    }

    /// Seconds from one frame to the next, out of frames a second.
    fn interval(&self, key: &str, rate: Option<f64>) -> Result<Option<Duration>, ConfigError> {
        rate.map(|rate| {
            Duration::try_from_secs_f64(1.0 / rate)
                .ok()
                .filter(|interval| !interval.is_zero())
                .ok_or_else(|| self.value_error(key, format!("{rate} is no rate a second")))
        })
        .transpose()
    }
}

/// A file's first line, without its end.
fn first_line(path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}
