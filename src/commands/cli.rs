//! The command line as types. Nothing here reads files or prints.

use std::fmt::Write;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::args::runtime::ConfigArgs;
use crate::commands::{
    ablate, backbone, bench, cache, calibrate, demo, doctor, evaluate, generate, model, predict,
    runtime, train,
};
use crate::pictures::decode::DEFAULT_MEGAPIXELS;

/// Visual inspection: learns good parts, calibrates, and publishes verdicts over MQTT.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Maximum size of an image file in millions of pixels; larger images are refused before they
    /// are decoded
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

/// The commands in the order of the help, grouped by purpose.
const HEADINGS: [(&str, &[&str]); 3] = [
    (
        "Make a model",
        &[
            "train",
            "calibrate",
            "evaluate",
            "ablate",
            "predict",
            "model",
            "backbone",
            "cache",
        ],
    ),
    (
        "Run the line",
        &["run", "check", "doctor", "bench", "runtime"],
    ),
    ("More", &["demo", "help"]),
];

impl Cli {
    /// Returns the definition of the command line, from which help, completions and manual pages
    /// are generated.
    pub fn definition() -> clap::Command {
        let command = Self::command();
        let width = command
            .get_subcommands()
            .map(|verb| verb.get_name().len())
            .max()
            .unwrap_or(0);
        let mut verbs = String::new();
        for (heading, names) in HEADINGS {
            writeln!(verbs, "{heading}:").expect("a string takes it");
            for name in names {
                let verb = command.find_subcommand(name);
                let about = match verb.and_then(clap::Command::get_about) {
                    Some(about) => about.to_string(),
                    None => "Print this message or the help of a command".to_owned(),
                };
                writeln!(verbs, "  {name:width$}  {about}").expect("a string takes it");
            }
            verbs.push('\n');
        }
        command.help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}"
        ))
    }

    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// Clap's answer: what is wrong, or the help that was requested.
    pub fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::definition().try_get_matches()?)
    }
}

/// One variant per command; the arguments of each are in the command's own file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn good parts and write a calibrated bundle
    Train(train::TrainArgs),
    /// Set a new threshold from held-out good images
    Calibrate(calibrate::CalibrateArgs),
    /// Measure a bundle on labelled images in the MVTec AD folder layout
    Evaluate(evaluate::EvaluateArgs),
    /// Train variants of the flow and measure what each part contributes
    Ablate(ablate::AblateArgs),
    /// Score image files
    Predict(predict::PredictArgs),
    /// Run the inspection daemon
    Run(ConfigArgs),
    /// Validate a configuration and its bundle without touching any hardware
    Check(ConfigArgs),
    /// Print what a bug report needs: machine, software, configuration, environment
    Doctor(doctor::DoctorArgs),
    /// Measure throughput and per-stage latency on this machine
    Bench(bench::BenchArgs),
    /// Install ONNX Runtime's library, or list the installed ones
    Runtime(runtime::RuntimeCommandArgs),
    /// Show the whole workflow on a synthetic line, without any hardware
    Demo(demo::DemoArgs),
    /// Inspect, verify, convert and import bundles, and build their engines
    Model(model::ModelArgs),
    /// Write the network that computes the features
    Backbone(backbone::BackboneArgs),
    /// Show what the cache holds, or clear it
    Cache(cache::CacheArgs),
    /// Write manual pages or shell completions
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_verb_once_with_what_it_does() {
        let command = Cli::definition();
        let help = command.clone().render_help().to_string();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let about = verb
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let line = |line: &&str| {
                line.trim_start()
                    .starts_with(&format!("{} ", verb.get_name()))
            };
            let lines: Vec<_> = help.lines().filter(line).collect();
            assert_eq!(lines.len(), 1, "{help}");
            assert!(lines[0].ends_with(&about), "{help}");
        }
        command.debug_assert();
    }
}
