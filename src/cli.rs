//! The command line as types. Nothing here touches the world.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use flawd_onnx::{Provider, SessionOptions};

use crate::{
    commands::{
        ablate, backbone, bench, cache, calibrate, demo, doctor, evaluate, model, predict, train,
    },
    decode::DEFAULT_MEGAPIXELS,
};

/// Visual inspection: learns good parts, calibrates, and publishes verdicts over MQTT.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Pixels that an image file may have, in millions; a larger one is refused before it is
    /// decoded
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = DEFAULT_MEGAPIXELS,
        value_parser = clap::value_parser!(u32).range(1..=4000),
        env = "FLAWD_MAX_MEGAPIXELS",
        help_heading = "Image files"
    )]
    pub max_megapixels: u32,
}

/// One variant a verb; each has its arguments in the file of that verb.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn good parts and write a calibrated bundle
    Train(train::TrainArgs),
    /// Set a new threshold from held-out good images
    Calibrate(calibrate::CalibrateArgs),
    /// Measure a bundle on labelled images in the MVTec AD folder layout
    Evaluate(evaluate::EvaluateArgs),
    /// Train variants of the flow and measure what each part of it is worth
    Ablate(ablate::AblateArgs),
    /// Score image files
    Predict(predict::PredictArgs),
    /// Run the inspection daemon
    Run(ConfigArgs),
    /// Validate a configuration and its bundle, without touching any hardware
    Check(ConfigArgs),
    /// Print what a bug report needs: machine, software, configuration, surroundings
    Doctor(doctor::DoctorArgs),
    /// Measure latency a stage and throughput on this machine
    Bench(bench::BenchArgs),
    /// Show the whole story on a synthetic line, with nothing attached
    Demo(demo::DemoArgs),
    /// Look into bundles, verify them, build their engines
    Model(model::ModelArgs),
    /// Write the network that features come from
    Backbone(backbone::BackboneArgs),
    /// Show what is kept so that work goes on faster, and clear it
    Cache(cache::CacheArgs),
}

/// Where the daemon's configuration is; shared by the commands that begin as the daemon does.
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
    /// ONNX Runtime's shared library; found by itself where this is not given
    #[arg(long, value_name = "FILE", env = "FLAWD_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// Threads for inference; 0 takes every core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Execution providers in order of preference: cpu, cuda, tensorrt
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "cpu"
    )]
    pub provider: Vec<Provider>,
}

impl RuntimeArgs {
    /// The options for a session.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            providers: self.provider.clone(),
            intra_threads: self.threads,
        }
    }
}
