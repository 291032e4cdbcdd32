//! From what was written to what takes effect: presence, ranges, and keys that exclude each other.
//! The result holds no option that the daemon would have to resolve.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;

use super::{
    Camera, CameraSettings, Config, ConfigError, Document, InferenceSettings, Overflow,
    SourceSettings, TriggerConfig, TriggerKind, TriggerMode, TriggerSettings, ValidConfig,
};
use crate::logging;

mod fault;
mod gpio;
mod mqtt;
mod source;
mod stores;

/// The longest duration: nothing is waited for longer, and clocks can add it to any moment.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// A duration that must not be zero.
const SOME_TIME: Range = (Duration::from_micros(1), LONGEST);
const MILLISECONDS: Range = (Duration::from_millis(1), LONGEST);
const SECONDS: Range = (Duration::from_secs(1), LONGEST);

/// A duration that may be zero.
const ANY_TIME: Range = (Duration::ZERO, LONGEST);

/// A camera at the slowest common rate delivers five frames in this time.
const FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// The shortest and the longest duration that a key may have.
type Range = (Duration, Duration);

impl Config {
    /// Checks presence, ranges and combinations; `document` is where errors point to, and
    /// `variables` is the environment, which gives the places of state and credentials.
    ///
    /// # Errors
    /// [`ConfigError::Value`], and [`ConfigError::File`] for a file that it names.
    pub fn validate(
        &self,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<ValidConfig, ConfigError> {
        let station = document.require("station.name", self.station.name.clone())?;
        document.check_topic_level("station.name", &station)?;
        document.check_duration("station.grace_period", self.station.grace_period, SECONDS)?;
        if self.camera.is_empty() {
            return Err(document.value_error("camera", "no camera; add a section [camera.<name>]"));
        }
        let inference = self.validate_inference(document)?;
        let cameras = self
            .camera
            .iter()
            .map(|(name, camera)| {
                camera.validate(
                    name,
                    &inference,
                    self.station.grace_period,
                    document,
                    variables,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let heartbeat = self.monitor.heartbeat.as_ref();
        let heartbeat = heartbeat
            .map(|it| it.validate("monitor.heartbeat", document))
            .transpose()?;
        document.check_uses_of_lines(&cameras, heartbeat.as_ref())?;
        logging::check_level(&self.log.level)
            .map_err(|problem| document.value_error("log.level", problem))?;
        let state = self.validate_state(&station, document, variables)?;
        let journal = self.validate_journal(&state, document)?;
        let mqtt = self.mqtt.validate(&station, document, variables)?;
        Ok(ValidConfig {
            grace_period: self.station.grace_period,
            inference,
            cameras,
            mqtt_files: mqtt.digests(),
            mqtt,
            evidence: self.validate_evidence(&state, &journal, document)?,
            journal,
            state,
            log: self.log.clone(),
            monitor: self.monitor.clone(),
            heartbeat,
            station,
        })
    }
}

impl Camera {
    fn validate(
        &self,
        name: &str,
        inference: &InferenceSettings,
        grace_period: Duration,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<CameraSettings, ConfigError> {
        let key = format!("camera.{name}");
        document.check_topic_level(&key, name)?;
        if RESERVED_LEVELS.contains(&name) {
            return Err(document.value_error(
                &key,
                format!("`{name}` is a topic already; give the camera another name"),
            ));
        }
        let source = self.validate_source(&key, document, variables)?;
        let is_live = matches!(
            source,
            SourceSettings::V4l2 { .. } | SourceSettings::Gstreamer { .. }
        );
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
        for (name, value, range) in [
            ("frame_timeout", self.frame_timeout, MILLISECONDS),
            ("deadline", self.deadline, SOME_TIME),
        ] {
            if let Some(value) = value {
                document.check_duration(&format!("{key}.{name}"), value, range)?;
            }
        }
        let trigger = self.trigger.validate(&key, document)?;
        let (reject, deadline) = self.validate_reject(&key, &trigger, grace_period, document)?;
        Ok(CameraSettings {
            name: name.to_owned(),
            quality_gate: self.quality_gate.unwrap_or(true),
            frame_timeout: self.frame_timeout.unwrap_or(FRAME_TIMEOUT),
            source,
            overflow,
            deadline,
            trigger,
            reject,
            geometry: self.geometry,
            models: self.validate_models(&key, inference, document)?,
        })
    }
}

/// Maximum triggers of one camera that may wait for the model, and that its inbox accepts.
pub(crate) const LONGEST_QUEUE: usize = 1024;

impl TriggerConfig {
    fn validate(&self, camera: &str, document: &Document) -> Result<TriggerSettings, ConfigError> {
        let key = |name: &str| format!("{camera}.trigger.{name}");
        let mode = match (self.mode, self.interval) {
            (TriggerKind::FreeRun, None) => TriggerMode::FreeRun,
            (TriggerKind::Mqtt, None) => TriggerMode::Mqtt,
            (TriggerKind::Gpio, None) => TriggerMode::Gpio,
            (TriggerKind::Interval, Some(interval)) if !interval.is_zero() => {
                TriggerMode::Interval(interval)
            }
            (TriggerKind::Interval, _) => {
                return Err(document.value_error(
                    &key("interval"),
                    "mode = \"interval\" needs a time from one trigger to the next, such as \
                     \"500ms\"",
                ));
            }
            (_, Some(_)) => {
                return Err(document.value_error(
                    &key("interval"),
                    "has a meaning only with mode = \"interval\"",
                ));
            }
        };
        if let TriggerMode::Interval(interval) = mode {
            document.check_duration(&key("interval"), interval, MILLISECONDS)?;
        }
        document.check_duration(&key("delay"), self.delay, ANY_TIME)?;
        document.check_duration(&key("match_within"), self.match_within, ANY_TIME)?;
        document.check_duration(&key("max_age"), self.max_age, MILLISECONDS)?;
        if self.require_sent_at && mode != TriggerMode::Mqtt {
            return Err(document.value_error(
                &key("require_sent_at"),
                "has a meaning only with mode = \"mqtt\"",
            ));
        }
        if !(1..=LONGEST_QUEUE).contains(&self.queue) {
            let problem = format!(
                "{} is out of range; it lies between 1 and {LONGEST_QUEUE}: each part that waits \
                 for the model holds its picture",
                self.queue
            );
            return Err(document.value_error(&key("queue"), problem));
        }
        Ok(TriggerSettings {
            mode,
            input: self.validate_input(&key("input"), mode, document)?,
            delay: self.delay,
            match_within: self.match_within,
            queue: self.queue,
            require_sent_at: self.require_sent_at,
            max_age: self.max_age,
        })
    }
}

/// Levels under the root that do not name a camera.
const RESERVED_LEVELS: [&str; 5] = ["status", "state", "heartbeat", "selftest", "cmd"];

impl Document {
    pub(crate) fn require<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| self.value_error(key, "is missing"))
    }

    /// Returns where systemd has put the credential that `key` names.
    pub(crate) fn credential(
        &self,
        key: &str,
        name: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<PathBuf, ConfigError> {
        if name.is_empty() || name.contains(['/', '\0']) || [".", ".."].contains(&name) {
            let problem = "is not a credential's name, which LoadCredential= has before its colon";
            return Err(self.value_error(key, problem));
        }
        let folder = variables.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            self.value_error(
                key,
                "there is no $CREDENTIALS_DIRECTORY: the unit lacks LoadCredential=, or flawd \
                 does not run under systemd",
            )
        })?;
        Ok(Path::new(folder).join(name))
    }

    /// Checks that a duration is in the range, both ends included.
    fn check_duration(
        &self,
        key: &str,
        value: Duration,
        (least, most): Range,
    ) -> Result<(), ConfigError> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        let [value, least, most] = [value, least, most].map(friendly);
        let problem = format!("{value} is out of range; it lies between {least} and {most}");
        Err(self.value_error(key, problem))
    }

    fn check_share(&self, key: &str, share: f64) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&share) {
            let problem = format!("{share} is not a share between 0 and 1");
            return Err(self.value_error(key, problem));
        }
        Ok(())
    }

    /// Converts frames per second into the time from one frame to the next.
    fn interval(&self, key: &str, rate: Option<f64>) -> Result<Option<Duration>, ConfigError> {
        rate.map(|rate| {
            Duration::try_from_secs_f64(1.0 / rate)
                .ok()
                .filter(|interval| !interval.is_zero() && *interval <= LONGEST)
                .ok_or_else(|| self.value_error(key, format!("{rate} is not a rate per second")))
        })
        .transpose()
    }
}

/// Formats a duration as it is written in the file.
fn friendly(duration: Duration) -> String {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{duration:#}")
}
