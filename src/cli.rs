//! The command line as types. Nothing here touches the world.

use clap::{Parser, Subcommand};

use crate::commands::args::runtime::ConfigArgs;
use crate::commands::{
    ablate, backbone, bench, cache, calibrate, demo, doctor, evaluate, model, predict, train,
};
use crate::pictures::decode::DEFAULT_MEGAPIXELS;

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
