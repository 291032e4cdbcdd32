//! Execution providers: the hardware that runs a model.
//!
//! Registration is strict. An unavailable provider is an error that names it, and the CPU runs no
//! part of a model unless it is listed: an inspection line must not silently become slow or change
//! its numbers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use crate::plugin::PluginOptions;

/// A provider and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The processor. Always available.
    Cpu,
    /// An NVIDIA GPU through CUDA.
    Cuda(CudaOptions),
    /// An NVIDIA GPU through engines that TensorRT builds for it.
    TensorRt(TensorRtOptions),
    /// An Intel processor or GPU through OpenVINO.
    OpenVino(OpenVinoOptions),
    /// What a library of its own has.
    Plugin(PluginOptions),
}

/// Settings of the CUDA provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// Which GPU, counted from 0.
    pub device: u32,
    /// Limit of the memory arena in bytes; `None`: all of the GPU's.
    pub memory_limit: Option<usize>,
}

/// Settings of the TensorRT provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRtOptions {
    /// Which GPU, counted from 0.
    pub device: u32,
    /// Lets TensorRT compute in half precision if that is faster.
    pub fp16: bool,
    /// Folder that keeps built engines; `None`: built again at every start, which takes minutes.
    pub engine_cache: Option<PathBuf>,
    /// Folder that keeps measured kernel timings, which make the next build faster.
    pub timing_cache: Option<PathBuf>,
    /// Limit of scratch memory during build and run, in bytes; `None`: TensorRT's default.
    pub workspace_limit: Option<usize>,
}

impl Default for TensorRtOptions {
    fn default() -> Self {
        Self {
            device: 0,
            fp16: true,
            engine_cache: None,
            timing_cache: None,
            workspace_limit: None,
        }
    }
}

/// Settings of the OpenVINO provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenVinoOptions {
    /// What computes.
    pub device: OpenVinoDevice,
    /// The numbers that it computes with.
    pub precision: Precision,
    /// Folder that keeps compiled models; `None`: compiled again at every start.
    pub model_cache: Option<PathBuf>,
}

/// A device of OpenVINO's.
///
/// Its combinations such as `AUTO` and `HETERO:NPU,CPU` are left out: they choose a device, or
/// divide the model among several, without a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OpenVinoDevice {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU, counted from 0.
    Gpu(u32),
    /// The neural processor.
    Npu,
}

impl fmt::Display for OpenVinoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
            Self::Gpu(number) => write!(f, "GPU.{number}"),
            Self::Npu => f.write_str("NPU"),
        }
    }
}

/// A text that does not name a device of OpenVINO's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a device of OpenVINO's: choose CPU, GPU, GPU.1 and so on, or NPU")]
pub struct UnknownDevice(String);

impl FromStr for OpenVinoDevice {
    type Err = UnknownDevice;

    /// Reads OpenVINO's own name.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let number = || name.strip_prefix("GPU.")?.parse().ok();
        match name {
            "CPU" => Ok(Self::Cpu),
            "GPU" => Ok(Self::Gpu(0)),
            "NPU" => Ok(Self::Npu),
            _ => number()
                .map(Self::Gpu)
                .ok_or_else(|| UnknownDevice(name.to_owned())),
        }
    }
}

/// The numbers that a provider computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: the scores of the processor's provider, apart from rounding.
    #[default]
    F32,
    /// 16 bits with the range of 32, where the device has them.
    Bf16,
    /// 16 bits, where the device has them.
    F16,
}

impl Precision {
    /// Every precision, the default first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Returns the name in configuration, which is OpenVINO's.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// A text that does not name a precision.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a precision: choose f32, bf16 or f16")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|precision| precision.name() == name)
            .ok_or_else(|| UnknownPrecision(name.to_owned()))
    }
}

impl OpenVinoOptions {
    fn registration(&self, threads: usize) -> ExecutionProviderDispatch {
        let device = self.device.to_string();
        // The plugin's name: a GPU's number is not a part of it.
        let plugin = device.split('.').next().unwrap_or_default();
        // Said always: on a processor that has bf16, OpenVINO may take it by default.
        let precision = self.precision.name();
        let config = format!(r#"{{"{plugin}":{{"INFERENCE_PRECISION_HINT":"{precision}"}}}}"#);
        let mut openvino = ep::OpenVINO::default()
            .with_device_type(&device)
            .with_num_threads(threads)
            .with_arbitrary_config("load_config", config);
        if let Some(folder) = &self.model_cache {
            openvino = openvino.with_cache_dir(folder.display());
        }
        openvino.build()
    }
}

impl Provider {
    /// Returns the name in configuration, logs and records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
            Self::TensorRt(_) => "tensorrt",
            Self::OpenVino(_) => "openvino",
            Self::Plugin(_) => "plugin",
        }
    }

    /// Returns whether it compiles a model for the machine and keeps the outcome in a folder.
    pub fn keeps_engines(&self) -> bool {
        matches!(self, Self::TensorRt(_) | Self::OpenVino(_))
    }

    /// Returns the same provider, with this folder for what it keeps.
    #[must_use]
    pub fn with_engine_folder(mut self, folder: &Path) -> Self {
        match &mut self {
            Self::TensorRt(options) => {
                options.engine_cache = Some(folder.to_owned());
                options.timing_cache = Some(folder.to_owned());
            }
            Self::OpenVino(options) => options.model_cache = Some(folder.to_owned()),
            Self::Cpu | Self::Cuda(_) | Self::Plugin(_) => {}
        }
        self
    }

    /// Returns the provider for ONNX Runtime, set to fail rather than to be skipped. `threads` share
    /// the work on a processor. `None` if it is in a library of its own.
    pub(crate) fn registration(&self, threads: usize) -> Option<ExecutionProviderDispatch> {
        let dispatch = match self {
            // Without the arena, which is off here by default, every run asks the system for its
            // intermediate tensors and gives them back: a third of the time of a small model
            // went into page faults on any thread but the first.
            Self::Cpu => ep::CPU::default().with_arena_allocator(true).build(),
            Self::Cuda(options) => {
                let mut cuda = ep::CUDA::default().with_device_id(device_id(options.device));
                if let Some(limit) = options.memory_limit {
                    cuda = cuda.with_memory_limit(limit);
                }
                cuda.build()
            }
            Self::TensorRt(options) => {
                let mut tensorrt = ep::TensorRT::default()
                    .with_device_id(device_id(options.device))
                    .with_fp16(options.fp16)
                    // Parts of a graph run one after the other, so they can share their scratch.
                    .with_context_memory_sharing(true)
                    // An engine for one GPU only is faster, and it is cached for that GPU only.
                    .with_engine_hw_compatible(false);
                if let Some(limit) = options.workspace_limit {
                    tensorrt = tensorrt.with_max_workspace_size(limit);
                }
                if let Some(folder) = &options.engine_cache {
                    tensorrt = tensorrt
                        .with_engine_cache(true)
                        .with_engine_cache_path(folder.display());
                }
                if let Some(folder) = &options.timing_cache {
                    tensorrt = tensorrt
                        .with_timing_cache(true)
                        .with_timing_cache_path(folder.display());
                }
                tensorrt.build()
            }
            Self::OpenVino(options) => options.registration(threads),
            Self::Plugin(_) => return None,
        };
        Some(dispatch.error_on_failure())
    }
}

fn device_id(device: u32) -> i32 {
    i32::try_from(device).unwrap_or(i32::MAX)
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not that of a provider.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not an execution provider: choose cpu, cuda, tensorrt or openvino; plugin takes \
     [inference.plugin] of a configuration"
)]
pub struct UnknownProvider(String);

impl FromStr for Provider {
    type Err = UnknownProvider;

    /// Reads a name, with default settings. A plugin has none.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(CudaOptions::default())),
            "tensorrt" => Ok(Self::TensorRt(TensorRtOptions::default())),
            "openvino" => Ok(Self::OpenVino(OpenVinoOptions::default())),
            other => Err(UnknownProvider(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_provider() {
        for name in ["cpu", "cuda", "tensorrt", "openvino"] {
            assert_eq!(name.parse::<Provider>().map(|p| p.name()), Ok(name));
        }
        assert!("gpu".parse::<Provider>().is_err());
    }

    #[test]
    fn every_precision_reads_back_from_its_name() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
        }
        assert!("int8".parse::<Precision>().is_err());
    }

    #[test]
    fn a_device_that_is_chosen_silently_is_no_device() {
        for name in ["CPU", "GPU.0", "GPU.3", "NPU"] {
            let device: OpenVinoDevice = name.parse().unwrap();
            assert_eq!(device.to_string(), name);
        }
        assert_eq!("GPU".parse(), Ok(OpenVinoDevice::Gpu(0)));
        for name in ["", "cpu", "AUTO", "AUTO:GPU,CPU", "HETERO:NPU,CPU", "GPU."] {
            assert!(name.parse::<OpenVinoDevice>().is_err(), "{name}");
        }
    }
}
