//! From a file and the environment to a [`Config`], with errors that state the place.
//!
//! The file is parsed twice on purpose. First strictly and alone, because only then does the parser
//! know the line of a mistake; then together with the environment by the `config` crate, which can
//! merge the two but does not know where a key was written. A mistake that only the second pass
//! finds must come from a variable, and trying the variables one by one names it.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Environment, File, FileFormat, Map};

use super::document::{ConfigError, Document, explain};
use super::variables::{self, ENVIRONMENT_PREFIX, SEPARATOR};
use super::{Config, PipelineText, ValidConfig};

impl ValidConfig {
    /// Reads, parses and validates a configuration file; environment variables take precedence over
    /// it.
    ///
    /// # Errors
    /// [`ConfigError`], with file and line if known.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&Document::read(path)?, &variables::of_the_process()?)
    }

    /// Parses and validates a document; these variables take precedence over it.
    ///
    /// # Errors
    /// [`ConfigError`], with file and line if known.
    pub fn parse(
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let config = Config::parse(document, variables)?;
        config.validate(&document.under(variables::by_key(variables)), variables)
    }
}

impl Config {
    /// Parses a document; these variables take precedence over it.
    ///
    /// # Errors
    /// [`ConfigError`], with file and line if known.
    pub fn parse(
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let from_file: Self =
            toml::from_str(&document.text).map_err(|error| document.text_error(&error))?;
        if from_file.mqtt.password.is_some() {
            return Err(document.value_error(
                "mqtt.password",
                "a password does not belong in this file; name a file with `password_file`, a \
                 systemd credential with `password_credential`, or set the variable \
                 FLAWD__MQTT__PASSWORD",
            ));
        }
        from_file.check_pipelines(document)?;
        variables::check(&from_file, variables)?;
        let prefix = format!("{ENVIRONMENT_PREFIX}{SEPARATOR}");
        let variables: Vec<_> = variables
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for variable in &variables {
            let (name, value) = variable;
            let config = layer(document, std::slice::from_ref(variable)).map_err(|error| {
                ConfigError::Environment {
                    variable: name.clone(),
                    problem: explain(&masked(&error.to_string(), value)),
                }
            })?;
            variables::check_number(&config, name, value)?;
        }
        layer(document, &variables).map_err(|error| {
            let values = variables.iter().map(|(_, value)| value);
            let problem = values.fold(error.to_string(), |text, value| masked(&text, value));
            ConfigError::Environment {
                variable: format!("{prefix}*"),
                problem: explain(&problem),
            }
        })
    }
}

impl Config {
    /// Refuses passwords in pipelines; `self` is the file alone.
    fn check_pipelines(&self, document: &Document) -> Result<(), ConfigError> {
        for (name, camera) in &self.camera {
            let pipeline = camera
                .gstreamer
                .as_ref()
                .and_then(|it| it.pipeline.as_ref());
            if pipeline.is_some_and(PipelineText::has_password) {
                let problem = "a password does not belong in this file; put the pipeline in a \
                               file that `pipeline_file` names, in a systemd credential that \
                               `pipeline_credential` names, or set it by its variable";
                let key = format!("camera.{name}.gstreamer.pipeline");
                return Err(document.value_error(&key, problem));
            }
        }
        Ok(())
    }
}

/// Hides a value in a parser's message: the value of the wrong variable may be a password. A parser
/// of switches quotes it in lower case.
fn masked(message: &str, value: &str) -> String {
    message
        .replace(&format!("{value:?}"), "***")
        .replace(&format!("{:?}", value.to_lowercase()), "***")
}

/// Merges the variables into the document.
fn layer(
    document: &Document,
    variables: &[(String, String)],
) -> Result<Config, config::ConfigError> {
    let variables: Map<String, String> = variables.iter().cloned().collect();
    config::Config::builder()
        .add_source(File::from_str(&document.text, FileFormat::Toml))
        .add_source(
            Environment::with_prefix(ENVIRONMENT_PREFIX)
                .prefix_separator(SEPARATOR)
                .separator(SEPARATOR)
                .source(Some(variables)),
        )
        .build()?
        .try_deserialize()
}
