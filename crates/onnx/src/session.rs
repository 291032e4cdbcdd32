//! What every session has in common: options, errors, and the way from a file to a session.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use flawd_core::anomaly::AnomalyMapError;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType};
use ort::{Error, ErrorCode};

use crate::plugin::PluginError;
use crate::provider::Provider;
use crate::runtime::Runtime;

/// How a model is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// The providers in order of preference, at least one. What none of them can run is an error.
    pub providers: Vec<Provider>,
    /// Threads that share the work of one operator on the CPU; 0 for one per core.
    ///
    /// Idle threads of the pool sleep instead of spinning. The daemon shares its cores with capture
    /// and decoding: on two cores that had other work too, spinning took 1.9 times as long per
    /// image (150 ms instead of 80) and twice the processor time.
    pub intra_threads: usize,
}

impl Default for SessionOptions {
    /// Returns the options for the CPU, all cores.
    fn default() -> Self {
        Self {
            providers: vec![Provider::Cpu],
            intra_threads: 0,
        }
    }
}

/// Why a model cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot read the model {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("{} is damaged or cut short: install or export it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's error.
        source: Error,
    },
    /// A whole ONNX file that ONNX Runtime rejects.
    #[error("ONNX Runtime cannot load {}", path.display())]
    NotLoaded {
        /// The file.
        path: PathBuf,
        /// ONNX Runtime's error.
        source: Error,
    },
    /// An ONNX model, but not of the kind asked for.
    #[error("{} is not a model of flawd's: {what}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The list of providers is empty.
    #[error(
        "no execution provider is listed: list at least one of tensorrt, cuda, openvino and cpu"
    )]
    NoProvider,
    /// A provider is unavailable.
    #[error(
        "the execution provider `{provider}` cannot be used; install what it needs, or list another \
         provider (`cpu` always works)"
    )]
    Provider {
        /// Its name.
        provider: &'static str,
        /// ONNX Runtime's error.
        source: Error,
    },
    /// A provider in a library of its own is unavailable.
    #[error("the execution provider `plugin` cannot be used")]
    Plugin {
        /// Why.
        source: PluginError,
    },
    /// ONNX Runtime rejects a setting.
    #[error("ONNX Runtime refuses the session's settings")]
    Options(#[source] Error),
    /// The image does not have the model's size.
    #[error("the model takes {expected} bytes (height x width x 3), and {found} were given")]
    WrongInput {
        /// Bytes of an image of the model's size.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A run failed.
    #[error("ONNX Runtime failed to run the model")]
    Run(#[source] Error),
    /// A score that is not a number.
    #[error("the model's score is {0}, not a finite number")]
    NotFinite(f32),
    /// An output that is not a map.
    #[error("the model's anomaly map cannot be used")]
    Map(#[from] AnomalyMapError),
}

/// What runs a model: the loaded library, and on which device with which settings.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    runtime: &'a Runtime,
    /// Providers and threads.
    pub options: &'a SessionOptions,
}

impl<'a> Execution<'a> {
    /// Returns the same library with other options.
    pub fn with(self, options: &'a SessionOptions) -> Self {
        Self { options, ..self }
    }
}

impl Runtime {
    /// Returns what runs models with these options.
    pub fn with<'a>(&'a self, options: &'a SessionOptions) -> Execution<'a> {
        Execution {
            runtime: self,
            options,
        }
    }
}

/// Where a model's bytes are.
pub(crate) enum Source<'a> {
    /// In a file, which ONNX Runtime reads.
    File(&'a Path),
    /// In memory, under a name for errors.
    Bytes(&'a Path, &'a [u8]),
}

impl Source<'_> {
    pub(crate) fn path(&self) -> PathBuf {
        let (Self::File(path) | Self::Bytes(path, _)) = self;
        path.to_path_buf()
    }
}

/// Opens a session.
pub(crate) fn open(
    Execution { runtime, options }: Execution,
    source: &Source<'_>,
) -> Result<Session, ModelError> {
    if let Source::File(path) = source {
        // ONNX Runtime's own message for a file that it cannot read does not say why.
        std::fs::File::open(path).map_err(|error| ModelError::Unreadable {
            path: path.to_path_buf(),
            source: error,
        })?;
    }
    let threads = match options.intra_threads {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let mut builder = configure(runtime, options, threads)?;
    for provider in &options.providers {
        builder = register(provider, builder, runtime, threads)?;
    }
    let session = match source {
        Source::File(path) => builder.commit_from_file(path),
        Source::Bytes(_, bytes) => builder.commit_from_memory(bytes),
    };
    let damaged = |error| ModelError::Damaged {
        path: source.path(),
        source: error,
    };
    session.map_err(|error| match error.code() {
        ErrorCode::InvalidProtobuf => damaged(error),
        // There is no error code for a file that ends before its graph.
        _ if error.message().contains("No graph was found") => damaged(error),
        _ => ModelError::NotLoaded {
            path: source.path(),
            source: error,
        },
    })
}

/// Adds a provider to a session that is being built.
fn register(
    provider: &Provider,
    builder: SessionBuilder,
    runtime: &Runtime,
    threads: usize,
) -> Result<SessionBuilder, ModelError> {
    if let Provider::Plugin(plugin) = provider {
        let registered = plugin.register(builder, runtime);
        return registered.map_err(|source| ModelError::Plugin { source });
    }
    let registration: Vec<_> = provider.registration(threads).into_iter().collect();
    let registered = builder.with_execution_providers(registration);
    registered.map_err(|error| ModelError::Provider {
        provider: provider.name(),
        source: error.into(),
    })
}

fn configure(
    runtime: &Runtime,
    options: &SessionOptions,
    threads: usize,
) -> Result<SessionBuilder, ModelError> {
    if options.providers.is_empty() {
        return Err(ModelError::NoProvider);
    }
    let build = || {
        let mut builder = Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_intra_op_spinning(false)?;
        if !options.providers.contains(&Provider::Cpu) {
            builder = builder.with_disable_cpu_fallback()?;
        }
        Ok(builder)
    };
    build().map_err(ModelError::Options)
}

/// Returns the fixed shape of a session's input or output of element type `element`.
pub(crate) fn fixed_shape(outlet: &Outlet, element: TensorElementType) -> Option<Vec<usize>> {
    if outlet.dtype().tensor_type() != Some(element) {
        return None;
    }
    let shape = outlet.dtype().tensor_shape()?;
    shape
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect()
}
