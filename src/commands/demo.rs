//! `flawd demo`: the whole workflow without any hardware.
//!
//! ```text
//! synthetic line ─ good parts ─► train ─► bundle ─┐
//!       └─ unseen parts ─► flawd run (a child) ◄──┘ ─ MQTT ─► broker ─► subscriber ─► table
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use flawd_core::anomaly::MapKind;
use flawd_core::calibration::Calibration;
use flawd_core::event::VerdictData;
use flawd_core::image::Size;
use flawd_core::preprocess::Geometry;
use flawd_core::verdict::Verdict;
use flawd_onnx::{FeatureChoice, Runtime};
use flawd_train::settings::FlowSettings;

use super::args::runtime::RuntimeArgs;
use super::failure::{Failure, Outcome};
use crate::bundle::Bundle;
use crate::bundle::scorer::Scorer;
use crate::demo::{DaemonProcess, EmbeddedBroker, Promise, Sighting, Subscriber, Tally};
use crate::lab::calibration;
use crate::lab::features::FeaturePlan;
use crate::lab::training::{HoldOut, TrainingPlan, TrainingProgress, train};
use crate::line::config::{Camera, Config, Inference, Mqtt, Station, Synthetic};
use crate::logging::{self, Log};
use crate::pictures::heatmap::save_overlay;
use crate::synthetic::dataset::{DatasetOptions, write_dataset};
use crate::synthetic::{SyntheticLine, SyntheticOptions};

const SIZE: Size = Size::new(256, 256);

/// Good parts for training, some of them for calibration.
const GOOD_PARTS: u64 = 400;

/// Share of the good parts used for calibration: enough for [`FALSE_REJECT_RATE`].
const HOLD_OUT: f64 = 0.25;

const FALSE_REJECT_RATE: f64 = 0.02;

const DEFECT_RATE: f64 = 0.3;

const STATION: &str = "demo";

const CAMERA: &str = "line";

/// The generated configuration.
const CONFIG_FILE: &str = "flawd.toml";

/// A folder with this file belongs to a demo and may be overwritten. No other program or person
/// creates such a file, as they do a `flawd.toml`.
const MARK: &str = ".flawd-demo";

/// Folder of the overlays in the output folder.
const HEATMAPS: &str = "heatmaps";

/// Longest silence on the connection before the demo gives up.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How long verdicts may be in transit after the daemon has ended.
const LAST_VERDICT_LIMIT: Duration = Duration::from_secs(5);

/// How often the daemon is checked while nothing arrives.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `flawd demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything that the demo creates
    #[arg(long, value_name = "DIR", default_value = "flawd-demo")]
    out: PathBuf,
    /// Seed for the parts and the training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Parts on the line
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    parts: u64,
    /// Parts per second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// Training passes over the good parts
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Only write a data set of synthetic parts in the MVTec AD layout, then stop
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "parts", "rate", "epochs"])]
    write: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(args: DemoArgs) -> Outcome {
    if let Some(folder) = &args.write {
        return write_only(folder, args.seed);
    }
    let start = Instant::now();
    // The log of the broker and the training is of no interest here; the daemon has its own log
    // file.
    logging::configure(&Log {
        level: "error,rumqttd=off".to_owned(),
        ..Log::default()
    });
    let runtime = Runtime::load(args.runtime.onnxruntime.as_deref()).map_err(Failure::config)?;
    prepare(&args.out)?;

    println!(
        "1. {GOOD_PARTS} good parts of a synthetic line → {}",
        args.out.join("parts").display()
    );
    let parts = DatasetOptions {
        size: SIZE,
        seed: args.seed,
        train_good: GOOD_PARTS,
        test_good: 0,
        test_each_defect: 0,
    };
    write_dataset(&args.out.join("parts"), &parts)?;

    println!("2. Training on them, on features of flawd's own filter bank");
    let calibration = train_on_parts(&args, &runtime)?;
    println!("   promise: {}", calibration.promise());

    let line = SyntheticLine::new(SyntheticOptions {
        size: SIZE,
        // A separate line: none of these parts was trained on.
        seed: args.seed.wrapping_add(1),
        defect_rate: DEFECT_RATE,
    })?;
    let tally = watch_line(&args, line)?;

    let overlays = draw_overlays(&args, &runtime, &tally)?;
    let report = tally.report();
    println!("\n{report}");
    println!(
        "  heatmaps           {overlays:>6} in {}",
        args.out.join(HEATMAPS).display()
    );
    println!(
        "  took               {:>6.0} s",
        start.elapsed().as_secs_f64()
    );
    let failures = report.failures(Promise::from(&calibration));
    if failures.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!("the demo failed: {}", failures.join("; ")).into())
}

/// `--write`: writes a data set for trying the other commands.
fn write_only(folder: &Path, seed: u64) -> Outcome {
    let options = DatasetOptions {
        size: SIZE,
        seed,
        // One fifth of them, which `flawd train` holds out, is enough for its default promise.
        train_good: 500,
        test_good: 100,
        test_each_defect: 20,
    };
    write_dataset(folder, &options)?;
    println!("{}: a data set in the MVTec AD layout", folder.display());
    Ok(())
}

/// Creates the output folder, unless it holds something other than a demo.
fn prepare(out: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut entries =
        fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    let mark = out.join(MARK);
    if entries.next().is_some() && !mark.exists() {
        bail!(
            "{} holds other things; give an empty folder with --out, or that of an earlier demo, \
             which has a file {MARK}",
            out.display()
        );
    }
    fs::write(
        &mark,
        "Made by `flawd demo`, which writes over this folder.\n",
    )
    .with_context(|| format!("cannot write {}", mark.display()))
}

/// Trains, exports and calibrates; the bundle is written to `OUT/bundle`.
fn train_on_parts(args: &DemoArgs, runtime: &Runtime) -> anyhow::Result<Calibration> {
    let edge = FlowSettings::edge(args.seed);
    let plan = TrainingPlan {
        images: args.out.join("parts"),
        features: FeaturePlan {
            backbone: None,
            choice: FeatureChoice::default(),
            size: SIZE,
            geometry: Geometry::default(),
            depth: None,
            cache: args.out.join("cache"),
        },
        map: MapKind::default(),
        flow: FlowSettings {
            hidden: 48,
            kernels: vec![3; 3],
            training: edge.training.with_epochs(args.epochs as usize),
            ..edge
        },
        hold_out: HoldOut::Share(HOLD_OUT),
        promise: calibration::PromiseTarget {
            false_reject_rate: FALSE_REJECT_RATE,
            accept_achievable: false,
        },
        // The training pictures of a synthetic line are all of good parts.
        selection: calibration::Selection {
            accept_outliers: true,
            ..calibration::Selection::default()
        },
        fresh: false,
        out: args.out.join("bundle"),
        name: "demo".to_owned(),
    };
    let summary = train(
        &plan,
        runtime.with(&args.runtime.session_options()),
        &mut |progress| {
            show(&progress);
            Ok(())
        },
    )?;
    Ok(summary.calibration)
}

fn show(progress: &TrainingProgress) {
    match progress {
        TrainingProgress::Split {
            training,
            held_out,
            parameters,
        } => println!(
            "   {training} parts train {parameters} parameters, {held_out} calibrate and never train"
        ),
        TrainingProgress::Epoch { report, of, left }
            if report.epoch % 5 == 0 || report.epoch == *of =>
        {
            println!(
                "   epoch {:>3} of {of}  loss {:>7.3}  {:>3} s left",
                report.epoch,
                report.loss,
                left.as_secs()
            );
        }
        _ => {}
    }
}

/// Starts broker and daemon and prints the verdicts as they arrive.
fn watch_line(args: &DemoArgs, line: SyntheticLine) -> anyhow::Result<Tally> {
    let broker = EmbeddedBroker::start()?;
    println!("3. An MQTT broker on {}", broker.address());
    let config = args.out.join(CONFIG_FILE);
    let text = toml::to_string(&daemon_config(args, &line, &broker))
        .context("cannot write the configuration as TOML")?;
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;

    let mut subscriber = Subscriber::connect(broker.address(), &format!("flawd/{STATION}"))?;
    let mut daemon = DaemonProcess::start(&config, &args.out.join("daemon.log"))?;
    println!(
        "4. flawd run -c {} (process {}) watches {} unseen parts; a subscriber sees:",
        config.display(),
        daemon.id(),
        args.parts
    );
    let mut tally = Tally::new(line, args.parts);
    let mut last_seen = Instant::now();
    while !tally.is_complete() {
        if let Some(data) = subscriber.next_verdict(LOOK_INTERVAL)? {
            let sighting = sighting(&data)?;
            println!("{}", describe(&data, &tally, &sighting));
            tally.add(sighting);
            last_seen = Instant::now();
        } else {
            let limit = if daemon.has_ended()? {
                LAST_VERDICT_LIMIT
            } else {
                SILENCE_LIMIT
            };
            if last_seen.elapsed() > limit {
                break;
            }
        }
    }
    if tally.is_complete() || daemon.has_ended()? {
        daemon.wait()?;
        return Ok(tally);
    }
    bail!(
        "no verdict for {SILENCE_LIMIT:?}; the daemon's log is {}",
        args.out.join("daemon.log").display()
    )
}

/// Draws overlays that show where parts are unusual: one detected part per kind of defect, and the
/// first good part.
fn draw_overlays(args: &DemoArgs, runtime: &Runtime, tally: &Tally) -> anyhow::Result<usize> {
    let bundle = Bundle::open(&args.out.join("bundle"))?;
    let mut scorer = Scorer::open(&bundle, runtime.with(&args.runtime.session_options()))?;
    let examples = tally.examples();
    for &(index, truth) in &examples {
        let part = tally.line().part(index);
        let map = scorer.score(&part.image)?.anomaly_map;
        let name = truth.map_or("good", |kind| kind.name());
        let path = args
            .out
            .join(HEATMAPS)
            .join(format!("{name}-{index:06}.png"));
        let threshold = bundle.calibration().threshold();
        save_overlay(&path, &part.image, scorer.geometry(), &map, threshold)?;
    }
    Ok(examples.len())
}

/// Returns the daemon's configuration: the synthetic line, the bundle and the broker.
fn daemon_config(args: &DemoArgs, line: &SyntheticLine, broker: &EmbeddedBroker) -> Config {
    let SyntheticOptions {
        size,
        seed,
        defect_rate,
    } = *line.options();
    let source = Synthetic {
        seed,
        rate: Some(args.rate),
        parts: Some(args.parts),
        defect_rate: Some(defect_rate),
        size: Some(size),
        ..Synthetic::default()
    };
    let camera = Camera {
        synthetic: Some(source),
        ..Camera::default()
    };
    Config {
        station: Station {
            name: Some(STATION.to_owned()),
            // Relative paths are relative to the configuration's folder.
            state: Some("state".into()),
            ..Station::default()
        },
        inference: Inference {
            bundle: Some("bundle".into()),
            onnxruntime: args.runtime.onnxruntime.as_deref().map(absolute),
            providers: args
                .runtime
                .provider
                .iter()
                .map(ToString::to_string)
                .collect(),
            threads: args.runtime.threads,
            ..Inference::default()
        },
        camera: [(CAMERA.to_owned(), camera)].into(),
        mqtt: Mqtt {
            host: broker.address().ip().to_string(),
            port: Some(broker.address().port()),
            required_at_start: true,
            ..Mqtt::default()
        },
        log: Log::default(),
        ..Config::default()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn sighting(data: &VerdictData) -> anyhow::Result<Sighting> {
    let part = data.part_id.as_deref().context("a verdict names no part")?;
    let index = part
        .parse()
        .with_context(|| format!("the part id `{part}` is not a number"))?;
    Ok(Sighting {
        seq: data.seq,
        index,
        verdict: data.verdict,
        latency_ms: data.latency_ms.total,
    })
}

/// Returns a line for one verdict, with the truth beside it.
fn describe(data: &VerdictData, tally: &Tally, sighting: &Sighting) -> String {
    let truth = tally.truth(sighting.index);
    let truth_text = truth.map_or_else(|| "good part".to_owned(), |kind| kind.to_string());
    let mark = match (data.verdict, truth) {
        (Verdict::Ng, None) => "  false reject",
        (Verdict::Ok, Some(_)) => "  escaped",
        (Verdict::NoDecision(_), _) => "  undecided",
        (Verdict::Ok, None) | (Verdict::Ng, Some(_)) => "",
    };
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    format!(
        "   {:>5}  {:<4} score {:>8}  p {:>6}  {:>5.0} ms   {truth_text}{mark}",
        data.seq,
        data.verdict,
        number(data.score.map(f64::from)),
        number(data.p_value),
        data.latency_ms.total
    )
}
