//! Where a camera's frames come from: exactly one source, with all that it needs.

use std::collections::BTreeMap;
use std::path::Path;

use flawd_core::image::Size;

use super::SECONDS;
use crate::line::config::{
    Camera, ConfigError, Document, Folder, Gstreamer, PipelineText, SourceSettings, Synthetic,
    V4l2, files,
};
use crate::synthetic::{SyntheticLine, SyntheticOptions};

/// Default size of a synthetic part.
const SYNTHETIC_SIZE: Size = Size::new(256, 256);

/// Default fraction of synthetic parts that are defective.
const SYNTHETIC_DEFECT_RATE: f64 = 0.1;

impl Camera {
    pub(super) fn validate_source(
        &self,
        key: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<SourceSettings, ConfigError> {
        let below = |section: &str| format!("{key}.{section}");
        match (&self.folder, &self.synthetic, &self.v4l2, &self.gstreamer) {
            (Some(folder), None, None, None) => folder.validate(&below("folder"), document),
            (None, Some(line), None, None) => line.validate(&below("synthetic"), document),
            (None, None, Some(device), None) => device.validate(&below("v4l2"), document),
            (None, None, None, Some(pipeline)) => {
                pipeline.validate(&below("gstreamer"), document, variables)
            }
            _ => Err(document.value_error(
                key,
                "needs exactly one of the sections folder, synthetic, v4l2 and gstreamer",
            )),
        }
    }
}

impl Folder {
    fn validate(&self, key: &str, document: &Document) -> Result<SourceSettings, ConfigError> {
        if self.watch && self.repeat {
            return Err(document.value_error(
                &format!("{key}.watch"),
                "excludes `repeat`: keep one of the two",
            ));
        }
        let path_key = format!("{key}.path");
        let path = document.require(&path_key, self.path.clone())?;
        Ok(SourceSettings::Folder {
            path: document.path(&path_key, &path)?,
            interval: document.interval(&format!("{key}.rate"), self.rate)?,
            repeat: self.repeat,
            watch: self.watch,
        })
    }
}

impl Synthetic {
    fn validate(&self, key: &str, document: &Document) -> Result<SourceSettings, ConfigError> {
        let defect_rate = self.defect_rate.unwrap_or(SYNTHETIC_DEFECT_RATE);
        document.check_share(&format!("{key}.defect_rate"), defect_rate)?;
        let size = self.size.unwrap_or(SYNTHETIC_SIZE);
        SyntheticLine::new(SyntheticOptions {
            size,
            seed: self.seed,
            defect_rate,
        })
        .map_err(|error| document.value_error(&format!("{key}.size"), error.to_string()))?;
        Ok(SourceSettings::Synthetic {
            seed: self.seed,
            interval: document.interval(&format!("{key}.rate"), self.rate)?,
            parts: self.parts,
            defect_rate,
            size,
            faults: self.fault.validate(&format!("{key}.fault"), document)?,
        })
    }
}

impl V4l2 {
    fn validate(&self, key: &str, document: &Document) -> Result<SourceSettings, ConfigError> {
        let device_key = format!("{key}.device");
        let device = document.require(&device_key, self.device.clone())?;
        Ok(SourceSettings::V4l2 {
            device: document.path(&device_key, &device)?,
            options: self.clone(),
        })
    }
}

impl Gstreamer {
    fn validate(
        &self,
        key: &str,
        document: &Document,
        variables: &BTreeMap<String, String>,
    ) -> Result<SourceSettings, ConfigError> {
        let below = |name: &str| format!("{key}.{name}");
        let (text_key, file_key) = (below("pipeline"), below("pipeline_file"));
        let credential_key = below("pipeline_credential");
        let file = document.optional_path(&file_key, self.pipeline_file.as_deref())?;
        let credential = self.pipeline_credential.as_deref();
        let (key, text) = match (self.pipeline.clone(), file, credential) {
            (Some(text), None, None) => (text_key, text),
            (None, Some(path), None) => {
                let text = document.pipeline(&file_key, &path)?;
                (file_key, text)
            }
            (None, None, Some(name)) => {
                let path = document.credential(&credential_key, name, variables)?;
                let text = document.pipeline(&credential_key, &path)?;
                (credential_key, text)
            }
            (None, None, None) => return Err(document.value_error(&text_key, "is missing")),
            _ => {
                return Err(document.value_error(
                    key,
                    "has the pipeline twice; keep one of pipeline, pipeline_file and \
                     pipeline_credential",
                ));
            }
        };
        let text = text.reveal().trim();
        let problem = if text.is_empty() {
            "is empty; it is a pipeline as gst-launch-1.0 takes it"
        } else if text.contains('\0') {
            "holds a NUL, which no pipeline can"
        } else {
            document.check_duration(&below("reopen_after"), self.reopen_after, SECONDS)?;
            return Ok(SourceSettings::Gstreamer {
                pipeline: PipelineText::new(text),
                reopen_after: self.reopen_after,
            });
        };
        Err(document.value_error(&key, problem))
    }
}

impl Document {
    /// Reads a pipeline from the file that `key` names.
    fn pipeline(&self, key: &str, path: &Path) -> Result<PipelineText, ConfigError> {
        let text = files::text(path).map_err(|error| {
            self.value_error(key, format!("cannot read {}: {error}", path.display()))
        })?;
        Ok(PipelineText::new(text))
    }
}
