//! Execution providers: the hardware that runs a model.
//!
//! Registration is strict. An unavailable provider is an error that names it, and the CPU runs no
//! part of a model unless it is listed: an inspection line must not silently become slow or change
//! its numbers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ort::ep::{self, ExecutionProviderDispatch};

/// A provider and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The processor. Always available.
    Cpu,
    /// An NVIDIA GPU through CUDA.
    Cuda(CudaOptions),
    /// An NVIDIA GPU through engines that TensorRT builds for it.
    TensorRt(TensorRtOptions),
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

impl Provider {
    /// Returns the name in configuration, logs and records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
            Self::TensorRt(_) => "tensorrt",
        }
    }

    /// Returns the provider for ONNX Runtime, set to fail rather than to be skipped.
    pub(crate) fn registration(&self) -> ExecutionProviderDispatch {
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
        };
        dispatch.error_on_failure()
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
#[error("`{0}` is not an execution provider: choose cpu, cuda or tensorrt")]
pub struct UnknownProvider(String);

impl FromStr for Provider {
    type Err = UnknownProvider;

    /// Reads a name, with default settings.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(CudaOptions::default())),
            "tensorrt" => Ok(Self::TensorRt(TensorRtOptions::default())),
            other => Err(UnknownProvider(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_provider() {
        for name in ["cpu", "cuda", "tensorrt"] {
            assert_eq!(name.parse::<Provider>().map(|p| p.name()), Ok(name));
        }
        assert!("gpu".parse::<Provider>().is_err());
    }
}
