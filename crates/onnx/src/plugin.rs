//! Execution providers in libraries of their own, which are loaded while the program runs
//! (`RegisterExecutionProviderLibrary` of ONNX Runtime 1.22 and later), such as that of TensorRT's RTX
//! branch or of WebGPU.
//!
//! Strict, as every provider: the library, the provider and the device are those that are named, or
//! an error says what is there instead.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ort::device::Device;
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;
use parking_lot::Mutex;

use crate::names::list;
use crate::runtime::Runtime;

/// A provider in a library, a device, and settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginOptions {
    /// The library.
    pub library: PathBuf,
    /// The provider's name as the library states it, such as `OpenVINOExecutionProvider`.
    pub provider: String,
    /// What computes.
    pub device: PluginDevice,
    /// The provider's own settings.
    pub options: BTreeMap<String, String>,
}

/// The longest name of a provider, in bytes.
pub const LONGEST_PLUGIN_NAME: usize = 100;

/// A device that a provider's library has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginDevice {
    kind: DeviceKind,
    /// Which of those of its kind, counted from 0.
    number: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DeviceKind {
    #[default]
    Cpu,
    Gpu,
    Npu,
}

impl DeviceKind {
    const ALL: [Self; 3] = [Self::Cpu, Self::Gpu, Self::Npu];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Npu => "NPU",
        }
    }

    fn of(device: &Device<'_>) -> Option<Self> {
        match device.hardware_device().ty() {
            DeviceType::CPU => Some(Self::Cpu),
            DeviceType::GPU => Some(Self::Gpu),
            DeviceType::NPU => Some(Self::Npu),
            _ => None,
        }
    }
}

impl fmt::Display for PluginDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.name(), self.number)
    }
}

/// A text that does not name a device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a device: choose CPU, GPU or NPU, or GPU.1 and so on")]
pub struct UnknownPluginDevice(String);

impl FromStr for PluginDevice {
    type Err = UnknownPluginDevice;

    /// Reads a kind, and a number behind a full stop; without it, the first.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownPluginDevice(text.to_owned());
        let (kind, number) = match text.split_once('.') {
            Some((kind, number)) => (kind, number.parse().map_err(|_| unknown())?),
            None => (text, 0),
        };
        let mut kinds = DeviceKind::ALL.into_iter();
        let kind = kinds.find(|known| known.name() == kind);
        Ok(Self {
            kind: kind.ok_or_else(unknown)?,
            number,
        })
    }
}

/// Why a provider of a library cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// ONNX Runtime does not take the library.
    #[error(
        "{} cannot be loaded as a library of execution providers; it has to be one for this version \
         of ONNX Runtime", path.display()
    )]
    Library {
        /// The library.
        path: PathBuf,
        /// ONNX Runtime's error.
        source: ort::Error,
    },
    /// The library has no such provider on such a device.
    #[error(
        "{} has no provider {wanted}; with it, there are {found}", path.display()
    )]
    Device {
        /// The library.
        path: PathBuf,
        /// The provider and its device.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The provider rejects a setting, or the device.
    #[error("{} cannot be set up", wanted)]
    SetUp {
        /// The provider and its device.
        wanted: String,
        /// ONNX Runtime's error.
        source: ort::Error,
    },
}

/// The libraries that were loaded: ONNX Runtime takes each once per process.
static LOADED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl PluginOptions {
    /// Adds the provider to a session that is being built.
    pub(crate) fn register(
        &self,
        builder: SessionBuilder,
        runtime: &Runtime,
    ) -> Result<SessionBuilder, PluginError> {
        load(&self.library, runtime)?;
        let device = self.device(runtime)?;
        // As ONNX Runtime's binding tells the settings of several providers apart.
        let settings: Vec<(String, String)> = (self.options.iter())
            .map(|(key, value)| (format!("{}.{key}", self.provider), value.clone()))
            .collect();
        let registered = builder.with_devices([device], Some(&settings));
        registered.map_err(|error| PluginError::SetUp {
            wanted: self.wanted(),
            source: error.into(),
        })
    }

    fn device<'a>(&self, runtime: &'a Runtime) -> Result<Device<'a>, PluginError> {
        let is_wanted = |device: &Device<'_>| {
            device.ep().is_ok_and(|name| name == self.provider)
                && DeviceKind::of(device) == Some(self.device.kind)
        };
        let mut devices = runtime.environment().devices().filter(is_wanted);
        devices.nth(self.device.number).ok_or_else(|| {
            let described = |device: Device<'_>| {
                let kind = DeviceKind::of(&device).map_or("another device", DeviceKind::name);
                format!("{} on {kind}", device.ep().unwrap_or("one without a name"))
            };
            let found: Vec<String> = runtime.environment().devices().map(described).collect();
            PluginError::Device {
                path: self.library.clone(),
                wanted: self.wanted(),
                found: list(&found),
            }
        })
    }

    fn wanted(&self) -> String {
        format!("{} on {}", self.provider, self.device)
    }
}

fn load(library: &Path, runtime: &Runtime) -> Result<(), PluginError> {
    let mut loaded = LOADED.lock();
    if loaded.iter().any(|path| path == library) {
        return Ok(());
    }
    // Any name that no other library has.
    let name = library.to_string_lossy();
    let registered = runtime.environment().register_ep_library(name, library);
    registered.map_err(|source| PluginError::Library {
        path: library.to_owned(),
        source,
    })?;
    loaded.push(library.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_kind_and_a_number_and_nothing_that_chooses() {
        let read = |text: &str| text.parse::<PluginDevice>();
        for (text, shown) in [("CPU", "CPU.0"), ("GPU.2", "GPU.2"), ("NPU", "NPU.0")] {
            assert_eq!(read(text).map(|it| it.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "cpu", "GPU.", "GPU.-1", "AUTO", "CPU.0.1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
