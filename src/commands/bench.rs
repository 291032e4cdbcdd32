//! `flawd bench`: measures throughput and per-stage latency.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flawd_core::image::Size;
use flawd_core::percentiles::Percentiles;
use flawd_onnx::Provider;

use super::failure::{Failure, Outcome};
use super::output::{Content, OutputFile};
use crate::line::benchmark::{self, BenchmarkError, Measurement, Options};
use crate::line::config::{Camera, Config, Document, Inference, Station, Synthetic};
use crate::line::daemon::{Daemon, DaemonError};

/// Arguments of `flawd bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Bundle to measure, on synthetic pictures
    #[arg(
        short,
        long,
        value_name = "BUNDLE",
        required_unless_present = "config",
        conflicts_with = "config"
    )]
    bundle: Option<PathBuf>,
    /// Configuration to measure: its bundle, on the first pictures of its first camera
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Total number of frames through the pipeline
    #[arg(long, value_name = "N", default_value = "500")]
    frames: NonZeroUsize,
    /// Rounds in which the pipeline and a bare session loop take turns
    #[arg(long, value_name = "N", default_value = "10")]
    rounds: NonZeroUsize,
    /// Cameras that the frames come from in turn
    #[arg(long, value_name = "N", default_value = "1")]
    cameras: NonZeroUsize,
    /// Threads for inference; 0 uses every core
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "config")]
    threads: usize,
    /// Execution providers in order of preference: cpu, cuda, tensorrt, openvino
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "cpu",
        conflicts_with = "config"
    )]
    provider: Vec<Provider>,
    /// Write verdicts to a journal and keep pictures, as `flawd run` does
    #[arg(long)]
    record: bool,
    /// Also publish the verdicts to the configured broker, from a journal
    #[arg(long, requires = "config")]
    publish: bool,
    /// Write the measurement as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Size of the synthetic pictures: that of a small camera.
const PICTURE: Size = Size::new(480, 640);

/// Measures and prints the results.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: BenchArgs) -> Outcome {
    let json = args
        .json
        .as_deref()
        .map(|path| OutputFile::create(path, Content::Json))
        .transpose()?;
    let state = tempfile::tempdir().context("cannot make a folder for the measurement")?;
    let daemon = match (&args.config, &args.bundle) {
        (Some(config), _) => Daemon::prepare(config),
        (None, Some(bundle)) => on_synthetic_pictures(bundle, state.path(), &args),
        (None, None) => unreachable!("clap requires one of the two"),
    }
    .map_err(|error| Failure::new(error.kind(), error))?;
    let options = Options {
        frames: args.frames.get(),
        rounds: args.rounds.get(),
        cameras: args.cameras.get(),
        record: args.record,
        publish: args.publish,
    };
    let measurement = benchmark::run(&daemon, options).map_err(|error| match error {
        BenchmarkError::Daemon(error) => Failure::new(error.kind(), error),
        error @ BenchmarkError::Preprocess(_) if args.bundle.is_some() => {
            Failure::config(anyhow::Error::new(error).context(format!(
                "the bundle does not fit the synthetic pictures of {PICTURE}; measure it with -c \
                 and a configuration whose first camera gives its pictures"
            )))
        }
        other => Failure::from(other),
    })?;
    print(&measurement);
    if let Some(json) = json {
        json.write_json(&measurement)?;
    }
    Ok(())
}

/// Sets up a daemon for a bundle alone, with the configuration that its operator would write.
fn on_synthetic_pictures(
    bundle: &Path,
    state: &Path,
    args: &BenchArgs,
) -> Result<Daemon, DaemonError> {
    let camera = Camera {
        synthetic: Some(Synthetic {
            size: Some(PICTURE),
            ..Synthetic::default()
        }),
        ..Camera::default()
    };
    let config = Config {
        station: Station {
            name: Some("bench".to_owned()),
            state: Some(state.to_owned()),
            ..Station::default()
        },
        inference: Inference {
            bundle: Some(bundle.to_owned()),
            providers: args.provider.iter().map(ToString::to_string).collect(),
            threads: args.threads,
            ..Inference::default()
        },
        camera: [("bench".to_owned(), camera)].into(),
        ..Config::default()
    };
    Daemon::open(
        Path::new(""),
        config.validate(&Document::new("", ""), &BTreeMap::new())?,
    )
}

fn print(measurement: &Measurement) {
    let Measurement {
        frames,
        rounds,
        cameras,
        pipeline_fps,
        session_fps,
        ratio,
        latency_ms,
        resident_kib,
        model,
        picture,
        cores,
    } = measurement;
    println!(
        "{} {} on {}, pictures of {picture}, {cores} cores, {frames} frames of {cameras} cameras in \
         {rounds} rounds",
        model.name, model.version, model.provider
    );
    println!("\n{:<12}{:>10}{:>10}", "latency, ms", "p50", "p99");
    for (step, Percentiles { p50, p99 }) in [
        ("capture", latency_ms.capture),
        ("queue", latency_ms.queue),
        ("preprocess", latency_ms.preprocess),
        ("infer", latency_ms.infer),
        ("total", latency_ms.total),
    ] {
        println!("{step:<12}{p50:>10.3}{p99:>10.3}");
    }
    println!("\npipeline     {pipeline_fps:>9.2} frames/s");
    println!("bare session {session_fps:>9.2} frames/s");
    println!("ratio        {ratio:>9.3}");
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "\nresident memory, MiB: start {:.1}, middle {:.1}, end {:.1}, peak {:.1}",
        mib(resident_kib.start),
        mib(resident_kib.middle),
        mib(resident_kib.end),
        mib(resident_kib.peak)
    );
}
