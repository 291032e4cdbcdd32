//! The broker: how it is reached, and who logs in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ANY_TIME, Range, SECONDS, friendly};
use crate::line::config::login::{self, Password};
use crate::line::config::{ConfigError, Document, Login, Mqtt, MqttSettings, MqttVersion, Secret};

/// From the shortest keep-alive that the client library accepts to the longest that MQTT can
/// encode.
const KEEP_ALIVE: Range = (Duration::from_secs(5), Duration::from_secs(u16::MAX as u64));

/// The registered ports of brokers.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

impl Mqtt {
    pub(super) fn validate(
        &self,
        station: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<MqttSettings, ConfigError> {
        let version = self.validate_version(document)?;
        let root = self.root.clone().unwrap_or(format!("flawd/{station}"));
        document.check_root("mqtt.root", &root)?;
        let client_id = self.client_id.clone().unwrap_or(format!("flawd-{station}"));
        document.check_text("mqtt.client_id", &client_id)?;
        document.check_host("mqtt.host", &self.host)?;
        if self.port == Some(0) {
            return Err(
                document.value_error("mqtt.port", "0 is not a port that a broker listens on")
            );
        }
        self.check_times(document)?;
        let tls = match &self.tls {
            Some(tls) => Some(tls.validate(&self.host, document, variables)?),
            None => None,
        };
        let usual_port = if tls.is_some() { TLS_PORT } else { PORT };
        Ok(MqttSettings {
            host: self.host.clone(),
            port: self.port.unwrap_or(usual_port),
            version,
            root,
            client_id,
            login: self.validate_login(document, variables)?,
            tls,
            required_at_start: self.required_at_start,
            connect_timeout: self.connect_timeout,
            reconnect_max: self.reconnect_max,
            keep_alive: self.keep_alive,
            expiry: self.expiry,
            stall_timeout: self.stall_timeout,
            heartbeat: self.heartbeat,
        })
    }

    fn validate_version(&self, document: &Document) -> Result<MqttVersion, ConfigError> {
        match self.version.as_str() {
            "5" => Ok(MqttVersion::V5),
            "3.1.1" => Ok(MqttVersion::V3),
            other => Err(document.value_error(
                "mqtt.version",
                format!("`{other}` is neither \"5\" nor \"3.1.1\""),
            )),
        }
    }

    fn check_times(&self, document: &Document) -> Result<(), ConfigError> {
        for (key, value, range) in [
            ("mqtt.keep_alive", self.keep_alive, KEEP_ALIVE),
            ("mqtt.connect_timeout", self.connect_timeout, SECONDS),
            ("mqtt.expiry", self.expiry, SECONDS),
            ("mqtt.reconnect_max", self.reconnect_max, SECONDS),
            ("mqtt.stall_timeout", self.stall_timeout, SECONDS),
            ("mqtt.heartbeat", self.heartbeat, ANY_TIME),
        ] {
            document.check_duration(key, value, range)?;
        }
        for (key, value) in [
            ("mqtt.keep_alive", self.keep_alive),
            ("mqtt.connect_timeout", self.connect_timeout),
        ] {
            if value.subsec_nanos() != 0 {
                let problem = format!("{} is not a whole number of seconds", friendly(value));
                return Err(document.value_error(key, problem));
            }
        }
        Ok(())
    }

    fn validate_login(
        &self,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<Login>, ConfigError> {
        const FILE: &str = "mqtt.password_file";
        const CREDENTIAL: &str = "mqtt.password_credential";
        let credential = match &self.password_credential {
            Some(name) => Some(document.credential(CREDENTIAL, name, variables)?),
            None => None,
        };
        let file = document.optional_path(FILE, self.password_file.as_deref())?;
        let password = match (&self.password, file, credential) {
            (Some(password), None, None) => {
                if let Some(problem) = login::problem(password.reveal()) {
                    return Err(document.value_error("mqtt.password", problem));
                }
                Some(Password::Given(password.clone()))
            }
            (None, Some(path), None) => Some(Password::File { key: FILE, path }),
            (None, None, Some(path)) => Some(Password::File {
                key: CREDENTIAL,
                path,
            }),
            (None, None, None) => None,
            _ => {
                return Err(document.value_error(
                    FILE,
                    "the password is given twice; keep one of password_file, \
                     password_credential and FLAWD__MQTT__PASSWORD",
                ));
            }
        };
        let Some(username) = self.username.clone() else {
            return match password {
                None => Ok(None),
                Some(_) => Err(document
                    .value_error("mqtt.username", "is missing, although a password is given")),
            };
        };
        document.check_text("mqtt.username", &username)?;
        let login = Login {
            username,
            password: password.unwrap_or_else(|| Password::Given(Secret::new(""))),
        };
        login.password().map_err(|error| document.refuse(error))?;
        Ok(Some(login))
    }
}
