//! Where a camera's frames come from: exactly one source, with all that it needs.

use flawd_core::image::Size;

use crate::line::config::{Camera, ConfigError, Document, Folder, SourceSettings, Synthetic, V4l2};
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
    ) -> Result<SourceSettings, ConfigError> {
        match (&self.folder, &self.synthetic, &self.v4l2) {
            (Some(folder), None, None) => folder.validate(&format!("{key}.folder"), document),
            (None, Some(line), None) => line.validate(&format!("{key}.synthetic"), document),
            (None, None, Some(device)) => device.validate(&format!("{key}.v4l2"), document),
            _ => Err(document.value_error(
                key,
                "needs exactly one of the sections folder, synthetic and v4l2",
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
