//! Where the configuration is, and how models are run.

use std::path::PathBuf;

use clap::Args;
use flawd_onnx::{Provider, SessionOptions};

/// Where the daemon's configuration is; shared by the commands that start like the daemon.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/flawd/flawd.toml"
    )]
    pub config: PathBuf,
}

/// How models are run; shared by every command that scores images.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Inference")]
pub struct RuntimeArgs {
    /// ONNX Runtime's shared library; found automatically if unset
    #[arg(long, value_name = "FILE", env = "FLAWD_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// Threads for inference; 0 uses every core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Execution providers in order of preference: cpu, cuda, tensorrt, openvino
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "cpu"
    )]
    pub provider: Vec<Provider>,
}

impl RuntimeArgs {
    /// Returns the options for a session.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            providers: self.provider.clone(),
            intra_threads: self.threads,
        }
    }
}
