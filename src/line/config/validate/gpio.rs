//! Lines of GPIO chips: which line, and times that fit together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ANY_TIME, LONGEST, MILLISECONDS, Range, SOME_TIME, friendly};
use crate::line::config::gpio::{Heartbeat, Reject, TriggerInput};
use crate::line::config::{
    Camera, CameraSettings, ConfigError, Document, HeartbeatSettings, InputSettings, LineId,
    LineSettings, OutputSettings, RejectSettings, TriggerConfig, TriggerMode, TriggerSettings,
};

/// The kernel counts the period in microseconds, in 32 bits.
const DEBOUNCE: Range = (Duration::ZERO, Duration::from_secs(60));

impl TriggerInput {
    pub(super) fn validate(
        &self,
        key: &str,
        document: &Document,
    ) -> Result<InputSettings, ConfigError> {
        document.check_duration(&format!("{key}.debounce"), self.debounce, DEBOUNCE)?;
        Ok(InputSettings {
            line: document.check_line(key, &self.chip, &self.line, self.offset, self.active_low)?,
            edge: self.edge,
            bias: self.bias,
            debounce: self.debounce,
        })
    }
}

impl Reject {
    pub(super) fn validate(
        &self,
        key: &str,
        document: &Document,
        grace_period: Duration,
    ) -> Result<RejectSettings, ConfigError> {
        let of = |name: &str| format!("{key}.{name}");
        let delay = document.require(&of("delay"), self.delay)?;
        document.check_duration(&of("delay"), delay, SOME_TIME)?;
        document.check_duration(&of("length"), self.length, MILLISECONDS)?;
        document.check_duration(&of("tolerance"), self.tolerance, ANY_TIME)?;
        if delay + self.length >= grace_period {
            let problem = format!(
                "with `length` it is not shorter than station.grace_period, {}: the pulses of the \
                 last parts before a stop would be lost",
                friendly(grace_period)
            );
            return Err(document.value_error(&of("delay"), problem));
        }
        Ok(RejectSettings {
            output: OutputSettings {
                line: document.check_line(
                    key,
                    &self.chip,
                    &self.line,
                    self.offset,
                    self.active_low,
                )?,
                drive: self.drive,
            },
            delay,
            length: self.length,
            no_decision: self.no_decision,
            tolerance: self.tolerance,
        })
    }
}

impl Heartbeat {
    pub(super) fn validate(
        &self,
        key: &str,
        document: &Document,
    ) -> Result<HeartbeatSettings, ConfigError> {
        let interval = (Duration::from_millis(10), LONGEST);
        document.check_duration(&format!("{key}.interval"), self.interval, interval)?;
        Ok(HeartbeatSettings {
            output: OutputSettings {
                line: document.check_line(
                    key,
                    &self.chip,
                    &self.line,
                    self.offset,
                    self.active_low,
                )?,
                drive: self.drive,
            },
            interval: self.interval,
        })
    }
}

impl TriggerConfig {
    pub(super) fn validate_input(
        &self,
        key: &str,
        mode: TriggerMode,
        document: &Document,
    ) -> Result<Option<InputSettings>, ConfigError> {
        match (&self.input, mode) {
            (Some(input), TriggerMode::Gpio) => Ok(Some(input.validate(key, document)?)),
            (None, TriggerMode::Gpio) => {
                let problem = "is missing; mode = \"gpio\" needs the line of the sensor";
                Err(document.value_error(key, problem))
            }
            (Some(_), _) => {
                Err(document.value_error(key, "has a meaning only with mode = \"gpio\""))
            }
            (None, _) => Ok(None),
        }
    }
}

impl Camera {
    /// Returns the output that removes parts, if any, and the camera's deadline: unless set, the
    /// moment of the pulse, behind which a verdict is of no use to the actuator.
    pub(super) fn validate_reject(
        &self,
        camera: &str,
        trigger: &TriggerSettings,
        grace_period: Duration,
        document: &Document,
    ) -> Result<(Option<RejectSettings>, Option<Duration>), ConfigError> {
        let Some(reject) = &self.reject else {
            return Ok((None, self.deadline));
        };
        let reject = reject.validate(&format!("{camera}.reject"), document, grace_period)?;
        // Both count from the trigger or, in free run, from the picture.
        let until_pulse = trigger.delay + reject.delay;
        let deadline = self.deadline.unwrap_or(until_pulse);
        if deadline > until_pulse {
            let problem = format!(
                "{} lies behind the pulse of the section reject, which begins after {}: a verdict \
                 in between would remove nothing",
                friendly(deadline),
                friendly(until_pulse)
            );
            return Err(document.value_error(&format!("{camera}.deadline"), problem));
        }
        Ok((Some(reject), Some(deadline)))
    }
}

impl Document {
    fn check_line(
        &self,
        key: &str,
        chip: &Option<String>,
        line: &Option<String>,
        offset: Option<u32>,
        active_low: bool,
    ) -> Result<LineSettings, ConfigError> {
        if chip.as_ref().is_some_and(String::is_empty) {
            return Err(self.value_error(&format!("{key}.chip"), "is empty"));
        }
        let id = match (line, offset) {
            (Some(name), None) if !name.is_empty() => LineId::Name(name.clone()),
            (None, Some(offset)) if chip.is_some() => LineId::Offset(offset),
            (None, Some(_)) => {
                let problem = "needs `chip`: every chip has a line of this number";
                return Err(self.value_error(&format!("{key}.offset"), problem));
            }
            _ => {
                let problem = "needs exactly one of `line`, the name of a line, and `offset`, its \
                               number on its chip; gpioinfo lists both";
                return Err(self.value_error(key, problem));
            }
        };
        Ok(LineSettings {
            chip: chip.clone(),
            id,
            active_low,
        })
    }

    /// Checks that every line has one use: the kernel gives it away once.
    pub(super) fn check_uses_of_lines(
        &self,
        cameras: &[CameraSettings],
        heartbeat: Option<&HeartbeatSettings>,
    ) -> Result<(), ConfigError> {
        let mut uses: BTreeMap<(Option<&String>, &LineId), String> = BTreeMap::new();
        let mut lines = Vec::new();
        for camera in cameras {
            let section = format!("camera.{}", camera.name);
            let input = camera.trigger.input.as_ref().map(|it| &it.line);
            lines.extend(input.map(|line| (format!("{section}.trigger.input"), line)));
            let reject = camera.reject.as_ref().map(|it| &it.output.line);
            lines.extend(reject.map(|line| (format!("{section}.reject"), line)));
        }
        lines.extend(heartbeat.map(|it| ("monitor.heartbeat".to_owned(), &it.output.line)));
        for (key, line) in lines {
            if let Some(other) = uses.insert((line.chip.as_ref(), &line.id), key.clone()) {
                let problem =
                    format!("{line} is the line of [{other}] already; a line has one use");
                return Err(self.value_error(&key, problem));
            }
        }
        Ok(())
    }
}
